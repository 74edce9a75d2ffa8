"""Objects that are defined several times: the API server has room for one of each name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rlhf_operator.cli.findings import Finding
from rlhf_operator.cli.manifests import is_ours


@dataclass(frozen=True, kw_only=True, slots=True)
class Name:
    """What there can be only one of in a cluster."""

    kind: str
    namespace: str
    """Empty where the namespace is the one that it is applied to."""
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """One object that is defined more than once."""

    of: Name
    files: tuple[str, ...]
    """Each file that defines it, in the order in which they were read."""
    times: int

    @property
    def told(self) -> str:
        """Return how often it is defined, and where."""
        return f"defined {self.times} times: in {', '.join(self.files)}"


def repeated(read: Iterable[tuple[str, list[Any]]]) -> tuple[Repeated, ...]:
    """Return what files define more than once; `read` has each file with its objects."""
    found: dict[Name, list[str]] = {}
    for file, objects in read:
        for raw in objects:
            name = raw["metadata"].get("name") if is_ours(raw) else None
            if name:
                namespace = str(raw["metadata"].get("namespace") or "")
                of = Name(kind=raw["kind"], namespace=namespace, name=str(name))
                found.setdefault(of, []).append(file)
    return tuple(
        Repeated(of=of, files=tuple(dict.fromkeys(files)), times=len(files))
        for of, files in found.items()
        if len(files) > 1
    )


def advice(found: Iterable[Repeated], file: str) -> Iterator[Finding]:
    """Yield what is to be said of it in one of the files."""
    for each in found:
        if file in each.files:
            yield Finding(
                gravity="advice",
                about=f"{each.of.kind} {each.of.name}",
                message=f"it is {each.told}; where all are applied the last one wins",
            )

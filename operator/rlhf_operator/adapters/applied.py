"""What was applied last, so that a pass that changes nothing sends nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from sys import intern
from typing import Any

Raw = Mapping[str, Any]
Address = tuple[str, str, str]
"""Kind, namespace and name."""

UNWATCHED = ("ConfigMap", "NetworkPolicy")
"""What is applied and brought by no watch; a sweep compares it with `mark`."""


class Refusals:
    """What the API server refuses now, by the model that it was for. Mutable; one loop's own."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], dict[Address, str]] = {}

    def note(self, manifest: Raw, why: str) -> None:
        """Remember why an object was refused."""
        self._said.setdefault(_model_of(manifest), {})[_address(manifest)] = why

    def end(self, manifest: Raw) -> None:
        """Forget a refusal: the object was applied."""
        said = self._said.get(_model_of(manifest))
        if said is not None:
            said.pop(_address(manifest), None)
            if not said:
                del self._said[_model_of(manifest)]

    def of(self, namespace: str, model: str) -> str | None:
        """Return all that is refused of a model's objects, as one sentence."""
        said = self._said.get((namespace, model), {})
        return "; ".join(f"{kind} {name}: {why}" for (kind, _, name), why in said.items()) or None


def _model_of(manifest: Raw) -> tuple[str, str]:
    metadata = manifest["metadata"]
    owners = [each["name"] for each in metadata.get("ownerReferences") or ()]
    return metadata["namespace"], owners[0] if owners else ""


def mark(metadata: Raw) -> object:
    """Return what changes when someone changes an object's content."""
    return metadata.get("generation") or metadata.get("resourceVersion")


def digest(manifest: Raw) -> bytes:
    """Return what changes when the manifest does."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).digest()[:16]


class Applied:
    """The manifests that were applied, and whether they stand. Mutable; owned by one loop."""

    def __init__(self, known: Callable[[str, str, str], object]) -> None:
        """Compare with what `known` says is an object's mark now; None where there is none."""
        self._known = known
        self._last: dict[Address, tuple[bytes, object]] = {}
        self._sets: dict[tuple[str, str], tuple[str, tuple[Address, ...]]] = {}

    def note(self, manifest: Raw, stored: Raw) -> None:
        """Remember what was applied, and the mark of what the server made of it."""
        self._last[_address(manifest)] = (digest(manifest), mark(stored["metadata"]))

    def forget(self, address: Address) -> None:
        """Take an object for one that was never applied."""
        self._last.pop(address, None)

    def stands(self, manifest: Raw) -> bool:
        """Return whether just this was applied last, and nobody has changed it since."""
        address = _address(manifest)
        last = self._last.get(address)
        return last is not None and last[0] == digest(manifest) and self._is_unchanged(address)

    def note_set(self, owner: tuple[str, str], token: str, manifests: Collection[Raw]) -> None:
        """Remember that all that `token` stands for was applied."""
        self._sets[owner] = (token, tuple(_address(each) for each in manifests))

    def set_stands(self, owner: tuple[str, str], token: str) -> bool:
        """Return whether all that `token` stands for was applied last, and is unchanged."""
        last = self._sets.get(owner)
        return last is not None and last[0] == token and all(map(self._is_unchanged, last[1]))

    def compare(self, kind: str, marks: Mapping[tuple[str, str], object]) -> None:
        """Forget what is not as it was applied; `marks` has every object of an unwatched kind."""
        for address, (_, last) in list(self._last.items()):
            if address[0] == kind and marks.get(address[1:]) != last:
                del self._last[address]

    def _is_unchanged(self, address: Address) -> bool:
        last = self._last.get(address)
        if last is None or address[0] in UNWATCHED:
            return last is not None
        found = self._known(*address)
        return found is not None and found == last[1]


def _address(manifest: Raw) -> Address:
    metadata = manifest["metadata"]
    return manifest["kind"], intern(metadata["namespace"]), intern(metadata["name"])

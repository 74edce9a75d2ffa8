"""What was applied last, so that a pass that changes nothing sends nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

Raw = Mapping[str, Any]
Address = tuple[str, str, str]
"""Kind, namespace and name."""

UNWATCHED = ("ConfigMap", "NetworkPolicy")
"""What is applied and brought by no watch; a sweep compares it with `mark`."""


def mark(metadata: Raw) -> object:
    """Return what changes when someone changes an object's content."""
    return metadata.get("generation") or metadata.get("resourceVersion")


def digest(manifest: Raw) -> bytes:
    """Return what changes when the manifest does."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).digest()[:16]


class Applied:
    """The manifests that were applied, and whether they stand. Mutable; owned by one loop."""

    def __init__(self, known: Callable[[str, str, str], Raw | None]) -> None:
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
        stored = self._known(*address)
        return stored is not None and mark(stored["metadata"]) == last[1]


def _address(manifest: Raw) -> Address:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata["namespace"], metadata["name"]

"""Stored objects: as they are while they are in use, else packed to a twentieth."""

from __future__ import annotations

import zlib
from collections import OrderedDict

from pydantic_core import from_json, to_json

from rlhf_operator.adapters.applied import mark
from rlhf_operator.reconcile.objects import Stored
from rlhf_operator.reconcile.ports import Raw


class Kept:
    """One object: as it is while it is in use, else as compressed JSON."""

    __slots__ = ("_like", "_packed", "mark", "raw", "uid", "version")

    def __init__(self, raw: Raw) -> None:
        self.raw: Stored | None = Stored(raw)
        self._packed = self._like = b""
        self.uid = raw["metadata"].get("uid")
        self.version = raw["metadata"].get("resourceVersion")
        self.mark = mark(raw["metadata"])

    def text(self) -> bytes:
        """Return it as JSON."""
        return to_json(self.raw)

    def pack(self, like: bytes) -> None:
        """Keep it small: as what differs from the text of another object of its kind."""
        if not self._packed:
            packing = zlib.compressobj(1, zdict=like)
            self._packed, self._like = packing.compress(self.text()) + packing.flush(), like
        self.raw = None

    def unpacked(self) -> Raw:
        """Return it, and keep it as it is; to pack it again then costs nothing."""
        if self.raw is None:
            text = zlib.decompressobj(zdict=self._like).decompress(self._packed)
            self.raw = Stored(from_json(text, cache_strings="keys"))
        return self.raw


class Unpacked(OrderedDict[tuple[str, tuple[str, str]], Kept]):
    """The objects that were used last, up to a number, by kind and address."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._like: dict[str, bytes] = {}

    def use(self, at: tuple[str, tuple[str, str]], kept: Kept) -> None:
        """Note that an object is used; those that were not for longest are packed."""
        self[at] = kept
        self.move_to_end(at)
        while len(self) > self._most:
            (kind, _), oldest = self.popitem(last=False)
            # The first text of a kind says most of what all others say: names and numbers differ.
            if kind not in self._like:
                self._like[kind] = oldest.text()
            oldest.pack(self._like[kind])

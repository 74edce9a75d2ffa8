"""Which votes were counted: one per answer and kind, in memory that does not grow."""

from __future__ import annotations

from collections import OrderedDict


class Votes:
    """Remembers the latest votes; beyond `most` the oldest are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, nonce: str, kind: str) -> bool:
        """Return whether this is the first vote of its kind on this answer."""
        if (nonce, kind) in self._seen:
            return False
        self._seen[nonce, kind] = None
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return True

    def __len__(self) -> int:
        return len(self._seen)

"""Which users had which kind of event, or voted: once counted, they do not count again.

A user is a keyed hash that only guards of this namespace can make; a new run makes other hashes,
and in each of its steps all count anew. Kept in memory alone, which does not grow.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable

_BYTES = 16
_VOTER_BYTES = 8


def pseudonym(key: bytes, *, model: str, run: str, user: str) -> bytes:
    """Return what stands for a user during one run; `run` is empty where none is going."""
    said = "\0".join(("user", model, run, user)).encode("utf-8", "surrogatepass")
    return hmac.digest(key, said, hashlib.sha256)[:_BYTES]


def voter(key: bytes, user: bytes) -> str:
    """Return what stands for a user in response ids, as 16 digits.

    Samples hold a user's pseudonym; ids, which clients keep, hold another that tells none of it.
    """
    return hmac.digest(key, b"voter\0" + user, hashlib.sha256)[:_VOTER_BYTES].hex()


class Users:
    """Remembers whose events were counted; beyond `most` the oldest are forgotten, and told."""

    def __init__(self, most: int, forgotten: Callable[[], None]) -> None:
        self._most = most
        self._forgotten = forgotten
        self._seen: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def had(self, kind: str, user: bytes | None) -> bool:
        """Tell whether this user had such an event; one who is not known never had."""
        return (kind, user) in self._seen

    def add(self, kind: str, user: bytes | None) -> bool:
        """Return whether this is the user's first event of the kind, and remember it."""
        if user is None:
            return True
        if (kind, user) in self._seen:
            return False
        self._seen[kind, user] = None
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
            self._forgotten()
        return True

    def __len__(self) -> int:
        return len(self._seen)

"""Which guard counts a vote: one of the model's, whichever of them is asked.

A guard remembers votes in its own memory, so one vote must not reach the memories of two. All
guards of a model stand under one DNS name. Each vote belongs to the guard whose address has the
highest keyed hash with its subject: the user to whom a run's answer went, where that is known, so
that one guard sees all votes of a user; else the answer. The others pass it on, once, with a
signature.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from rlhf_operator.guard.config import Setup

HEADER = "x-rlhf-vote"
"""Signs a vote that another guard passes on."""

_FRESH_SECONDS = 5.0

Address = tuple[str, int]
Lookup = Callable[[str, int], Awaitable[frozenset[Address]]]


class Unreachable(Exception):  # noqa: N818 - it names what is, not that something is wrong
    """The guard to which a vote belongs gives no answer now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What another guard answered."""

    status: int
    body: bytes


async def lookup(name: str, port: int) -> frozenset[Address]:
    """Return the addresses under a name. Raises OSError where there are none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return frozenset((str(address[0]), int(address[1])) for *_, address in found)


def owner(key: bytes, subject: str, addresses: Collection[Address]) -> Address:
    """Return to which of some guards the votes on a subject belong.

    All that know the same guards say the same; one that comes or goes moves only its own share.
    """

    def rank(address: Address) -> bytes:
        host, port = address
        return hmac.digest(key, f"votes\0{subject}\0{host}\0{port}".encode(), hashlib.sha256)

    return max(addresses, key=rank)


def sign(key: bytes, *, model: str, body: bytes) -> str:
    """Return the signature of a vote that is passed on."""
    return hmac.digest(key, b"vote\0" + model.encode() + b"\0" + body, hashlib.sha256).hex()


@dataclass(kw_only=True, slots=True)
class Peers:
    """All guards of the model, as one of them knows them."""

    session: aiohttp.ClientSession
    lookup: Lookup = lookup
    seconds: float = 3.0
    """How long another guard, or the list of guards, is waited for."""
    _known: frozenset[Address] = field(default_factory=frozenset)
    _since: float | None = None

    async def elsewhere(self, setup: Setup, subject: str, here: Address) -> Address | None:
        """Return the other guard to which the votes on a subject belong; None where it is `here`.

        Raises Unreachable where nobody says which guards there are.
        """
        name = setup.config.peers
        if name is None:
            return None
        found = owner(setup.key, subject, await self._addresses(name, setup.config.port))
        return None if found == here else found

    async def pass_on(
        self,
        setup: Setup,
        to: Address,
        body: bytes,
        headers: list[tuple[str, str]],
        *,
        is_secure: bool,
    ) -> Reply:
        """Return what another guard answers to a vote. Raises Unreachable where it does not.

        Who serves HTTPS asks others by HTTPS. Their certificate is for users, who know no
        addresses; that a vote comes from a guard says the signature.
        """
        host, port = to
        scheme = "https" if is_secure else "http"
        signature = sign(setup.key, model=setup.config.model, body=body)
        sent = [("Content-Type", "application/json"), (HEADER, signature), *headers]
        try:
            async with (
                asyncio.timeout(self.seconds),
                self.session.post(
                    URL.build(scheme=scheme, host=host, port=port, path="/v1/feedback"),
                    data=body,
                    headers=sent,
                    allow_redirects=False,
                    ssl=False,
                ) as reply,
            ):
                return Reply(status=reply.status, body=await reply.read())
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._since = None  # who is asked again sees who is there now
            raise Unreachable(type(error).__name__) from None

    async def _addresses(self, name: str, port: int) -> frozenset[Address]:
        now = time.monotonic()
        if self._since is None or now - self._since > _FRESH_SECONDS:
            try:
                async with asyncio.timeout(self.seconds):
                    self._known = await self.lookup(name, port)
            except (OSError, TimeoutError) as error:
                raise Unreachable(type(error).__name__) from None
            self._since = now
        return self._known


def is_passed_on(setup: Setup, signature: str | None, body: bytes) -> bool:
    """Tell whether another guard of the model passes this vote on."""
    expected = sign(setup.key, model=setup.config.model, body=body)
    return signature is not None and hmac.compare_digest(
        signature.encode("utf-8", "replace"), expected.encode()
    )

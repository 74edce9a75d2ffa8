"""Leader election on a Lease, and the epoch by which a new leader fences the old one.

Time is monotonic and the leader gives up before the Lease can be taken: it compares no clocks
of two machines. Winning raises `leaseTransitions`, which is the epoch that every record
carries; a leader that sees a higher epoch in a record writes nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from rlhf_operator.api.errors import Transient
from rlhf_operator.api.schema import format_time


class Api(Protocol):
    """The two requests that an election needs."""

    async def read(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Return an object, fresh."""
        ...

    async def put_lease(self, lease: Mapping[str, Any], *, exists: bool) -> bool:
        """Create or replace the Lease at its resourceVersion; False when another was first."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How an election goes, in seconds; `renew` is shorter than `duration`."""

    namespace: str
    name: str
    identity: str
    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0

    @property
    def pace(self) -> float:
        """Return after how long a leader renews: what is left allows several more tries."""
        return max(self.retry, self.renew * 0.4)


class Elector:
    """Holds or waits for one Lease."""

    def __init__(
        self,
        api: Api,
        terms: Terms,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._terms = terms
        self._clock = clock
        self._now = now
        self._renewed = float("-inf")
        self._seen: tuple[Any, float] = (None, clock())
        self.epoch = 0

    @property
    def is_leader(self) -> bool:
        """Whether this process may write now, by its own monotonic clock."""
        return self._clock() < self._renewed + self._terms.renew

    async def win(self) -> None:
        """Wait until this process leads."""
        while not await self._try():
            await asyncio.sleep(self._terms.retry)

    async def keep(self) -> None:
        """Renew until the leadership is lost; returns then.

        A renewal that failed is tried again sooner than one that is due.
        """
        renewed = True
        while self.is_leader:
            await asyncio.sleep(self._terms.pace if renewed else self._terms.retry)
            renewed = await self._try()

    async def release(self) -> None:
        """Give the Lease back, so that the next leader need not wait."""
        if not self.is_leader:
            return
        self._renewed = float("-inf")
        try:
            stored = await self._api.read("Lease", self._terms.namespace, self._terms.name)
            if stored and stored["spec"].get("holderIdentity") == self._terms.identity:
                spec = {**stored["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.put_lease({**stored, "spec": spec}, exists=True)
        except Transient:
            return

    async def _try(self) -> bool:
        asked = self._clock()
        try:
            epoch = await self._ask()
        except Transient:
            return False
        if epoch is None:
            return False
        # Counted from before the request: the server cannot have seen it earlier. And only a
        # winner's epoch is one: a loser's would fence the true leader out.
        self._renewed, self.epoch = asked, epoch
        return True

    async def _ask(self) -> int | None:
        """Ask for the Lease; return the epoch if it is ours."""
        terms = self._terms
        stored = await self._api.read("Lease", terms.namespace, terms.name)
        if stored is None:
            # A Lease that was deleted must not lead to an epoch that records have passed.
            return await self._put(None, int(self._now().timestamp()))
        spec = stored["spec"]
        mark = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        answered = self._clock()
        if mark != self._seen[0]:
            # Counted from after the answer: the holder may have renewed just before it.
            self._seen = (mark, answered)
        holder, transitions = spec.get("holderIdentity"), int(spec.get("leaseTransitions") or 0)
        if holder == terms.identity:
            return await self._put(stored, max(1, transitions))
        waited = answered - self._seen[1]
        if holder and waited < float(spec.get("leaseDurationSeconds", terms.duration)):
            return None
        return await self._put(stored, transitions + 1)

    async def _put(self, stored: Mapping[str, Any] | None, epoch: int) -> int | None:
        lease = self._lease(stored, epoch)
        return epoch if await self._api.put_lease(lease, exists=stored is not None) else None

    def _lease(self, stored: Mapping[str, Any] | None, epoch: int) -> dict[str, Any]:
        terms, moment = self._terms, format_time(self._now())
        same = stored is not None and stored["spec"].get("holderIdentity") == terms.identity
        acquired = stored["spec"].get("acquireTime") if stored is not None and same else moment
        metadata = stored["metadata"] if stored else {"name": terms.name}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "namespace": terms.namespace},
            "spec": {
                "holderIdentity": terms.identity,
                "leaseDurationSeconds": max(1, round(terms.duration)),
                "acquireTime": acquired,
                "renewTime": moment,
                "leaseTransitions": epoch,
            },
        }

"""The sampler: takes in exchanges and votes, and lets serving wait for nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from rlhf_operator.guard.config import Setup
from rlhf_operator.guard.sampling import choice
from rlhf_operator.guard.sampling.counts import SampleCounts
from rlhf_operator.guard.sampling.exchange import Chosen, Exchange, Timing, Vote
from rlhf_operator.guard.sampling.origin import Origin, consents
from rlhf_operator.guard.sampling.plan import Plan, Prepare, plan
from rlhf_operator.guard.sampling.sender import Pause, Sender


class Sampler:
    """Owned by one loop; what it holds is in memory alone, and bounded."""

    def __init__(
        self, counts: SampleCounts, prepare: Prepare, *, pause: Pause = asyncio.sleep
    ) -> None:
        self._counts = counts
        self._prepare = prepare
        self._plan: Plan | None = None
        self._sender = Sender(counts, pause)

    def take(self, setup: Setup) -> None:
        """Work by another setup from now on; what waits goes where that one says."""
        self._plan = plan(setup, self._prepare)
        self._sender.plan = self._plan

    def offer(
        self, exchange: Exchange, origin: Origin, *, user: bytes | None, timing: Timing
    ) -> None:
        """Take in an answer that has left, if it is to be sampled."""
        wanted = self._plan
        if wanted is None:
            return
        config = wanted.setup.config
        probability = choice.probability(wanted.share, origin.arms, config.version)
        if not choice.is_chosen(
            wanted.setup.key,
            model=config.model,
            response_id=exchange.response_id,
            probability=probability,
        ):
            return
        if not consents(origin.headers, wanted.sampling.consent_header):
            self._counts.samples("no_consent")
            return
        chosen = Chosen(
            exchange=exchange,
            place=origin.arms.place_of(config.version) if origin.arms else None,
            probability=probability,
            user=user,
            at=datetime.now(UTC),
            timing=timing,
        )
        self._sender.add(chosen, most=wanted.sampling.queue)

    def tell(self, vote: Vote, origin: Origin) -> bool:
        """Take in a vote that was counted, and tell whether it waits for the sink now."""
        wanted = self._plan
        if wanted is None:
            return False
        if not consents(origin.headers, wanted.sampling.consent_header):
            self._counts.feedback("no_consent")
            return False
        return self._sender.add(vote, most=wanted.sampling.queue)

    async def close(self) -> None:
        """Send what is left, within a bound; then nothing more."""
        await self._sender.close()

"""What a team wants to be sampled, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlhf_operator.api.sampling import Sampling
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.stages import Recognizer
from rlhf_operator.guard.config import Setup
from rlhf_operator.guard.sampling.redaction import Find
from rlhf_operator.guard.sampling.sink import Sink, sink

Prepare = Callable[[Sequence[Recognizer]], Find]
"""Returns what finds all that these recognisers know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is sampled, how it is cleaned, and where it goes."""

    setup: Setup
    sampling: Sampling
    share: float
    find: Find
    sink: Sink | None
    """None where the provider that is named is not listed."""
    seconds: float
    """How long an event may wait for its batch to fill."""


def plan(setup: Setup, prepare: Prepare) -> Plan | None:
    """Return what a setup wants; None where it samples nothing."""
    sampling = setup.config.guard.sampling
    if sampling is None:
        return None
    return Plan(
        setup=setup,
        sampling=sampling,
        share=float(sampling.share),
        find=prepare(sampling.redact),
        sink=sink(setup.config, sampling),
        seconds=parse_duration(sampling.max_delay).total_seconds(),
    )

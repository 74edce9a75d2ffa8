"""Approvals: which step of a plan waits for people, and what a record knows of the waiting."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.schema import GROUP, ApiType, Duration, Time, parse_duration, rule

CHANGED_BY_ANNOTATION = f"{GROUP}/changed-by"
"""On a model: the person who made the newest change of its spec."""

GateName = Literal["Leave", "Enter"]


class Approval(ApiType):
    """People who must agree before a run goes on."""

    gate: GateName = "Leave"
    """Enter: before this step's weight is declared. Leave: before the run goes on from it."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """How many different people."""
    not_author: bool = False
    """Whether the person who made the change does not count. The model's annotation
    rlhf.dev/changed-by says who that is; without it no run starts."""
    timeout: Duration | None = None
    """After waiting so long the run rolls back without blame; for ever when unset."""

    @rule(
        "!has(self.timeout) || duration(self.timeout) > duration('0s')",
        "timeout must be above 0",
    )
    def timeout_is_positive(self) -> bool:
        """Return whether anybody has time to approve."""
        return self.timeout is None or parse_duration(self.timeout).total_seconds() > 0


class Awaiting(ApiType):
    """The gate at which a run waits for people."""

    step: Annotated[int, Field(ge=0, le=64)]
    """The step of the plan, from 0."""
    gate: GateName
    """Which of its gates."""
    since: Time
    """When the waiting began."""

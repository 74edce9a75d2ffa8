"""Which PromQL of a team is accepted, and how far back it looks."""

from __future__ import annotations

from datetime import timedelta

from rlhf_operator.api.policy import Query


def problem(query: Query) -> str | None:
    """Return why a query is refused and what to write instead; None when it is fine."""
    raise NotImplementedError


def longest_range(promql: str) -> timedelta:
    """Return how far back the expression looks."""
    raise NotImplementedError

"""What the headers of a request tell of a run and of consent. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rlhf_operator.api.arms import Arms, read_arms
from rlhf_operator.api.guard import ARMS_HEADER
from rlhf_operator.api.sampling import CONSENT_HEADER

_YES = frozenset({"yes", "true"})
_NO = frozenset({"no", "false"})


class Headers(Protocol):
    """The headers of a request, by names in any case."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Return all values of one header."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a request comes from."""

    arms: Arms | None = None
    """The arms of the run; None where nothing is tried, or where nobody tells."""
    headers: Headers


def origin(headers: Headers) -> Origin:
    """Return what a request's headers tell."""
    told = headers.getall(ARMS_HEADER, ())
    # The router sets the header once; several are not its own.
    return Origin(arms=read_arms(told[0]) if len(told) == 1 else None, headers=headers)


def consents(headers: Headers, needed: str | None) -> bool:
    """Return whether an answer may be sampled; where headers contradict each other it may not.

    `needed` names the header that must say yes; None where silence is consent.
    """
    if _said(headers, CONSENT_HEADER) & _NO:
        return False
    if needed is None:
        return True
    said = _said(headers, needed)
    return bool(said) and said <= _YES


def _said(headers: Headers, name: str) -> set[str]:
    return {value.strip().lower() for value in headers.getall(name, ())}

"""What the router tells the guards of a run: which version is tried, and how much of the traffic.

The operator writes it into the route beside the weights; guards read it from each request.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Arm = Literal["canary", "stable"]

_VERSION = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_PERCENT = r"(?:0|[1-9][0-9]?|100)"
_RUN = r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?"
_HEADER = re.compile(
    rf"(?P<tested>{_VERSION}={_PERCENT}(?:,{_VERSION}={_PERCENT}){{0,6}})"
    r";step=(?P<step>0|[1-9][0-9]?)"
    rf";run=(?P<run>{_RUN})"
    r"(?P<copies>;copies)?",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where in a run an answer was made."""

    run: str
    """Name of the RLHFRollout."""
    step: int
    """The step of its plan, from 0."""
    arm: Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Arms:
    """The arms of a run as the route in force has them."""

    canary: str
    """Name of the version that is tried; what is not tried is stable's arm."""
    percent: int
    """What the canary gets of the traffic, 0 to 100."""
    step: int
    """The step of the plan, from 0, as in the status of the RLHFRollout."""
    run: str
    """Name of the RLHFRollout."""
    others: tuple[tuple[str, int], ...] = ()
    """Further versions that a test tries at the same time, and what each gets of the traffic."""
    is_copied: bool = False
    """The canary gets copies, and stable answers everything: strategy Shadow."""

    @property
    def header(self) -> str:
        """Return the value of ARMS_HEADER, for instance `support-v8=5;step=1;run=support-7`."""
        copies = ";copies" if self.is_copied else ""
        shares = ",".join(f"{version}={percent}" for version, percent in self.tested.items())
        return f"{shares};step={self.step};run={self.run}{copies}"

    @property
    def tested(self) -> dict[str, int]:
        """Return what each tried version gets of the traffic, in percent."""
        return {self.canary: self.percent, **dict(self.others)}

    def arm_of(self, version: str) -> Arm:
        """Return the arm of which a version is."""
        return "canary" if version in self.tested else "stable"

    def place_of(self, version: str) -> Place:
        """Return where in the run an answer of a version is made."""
        return Place(run=self.run, step=self.step, arm=self.arm_of(version))

    @property
    def shares(self) -> tuple[float, ...]:
        """Return the shares of all requests, 0 to 1: stable's, and that of each tried version."""
        stable = 1.0 if self.is_copied else (100 - sum(self.tested.values())) / 100
        return (stable, *(percent / 100 for percent in self.tested.values()))

    def share_of(self, version: str) -> float:
        """Return the share of all requests that a version answers, 0 to 1."""
        stable, *_ = self.shares
        tested = self.tested.get(version)
        return stable if tested is None else tested / 100

    def probability(self, share: float, version: str) -> float:
        """Return with which probability an answer of a version is sampled, if `share` of all is.

        Scores cost by the answer: equal numbers of all arms are expected, as far as each has them.
        """
        if min(self.shares) == 0:
            return share
        return min(1.0, most_of_each(share, self.shares) / self.share_of(version))


def most_of_each(share: float, shares: Iterable[float]) -> float:
    """Return the most that each arm gives, so that all together give `share` of the requests.

    shares: what the arms answer, as shares of the requests. One that has less gives all it has,
    and the others give that much more.
    """
    left, arms = share, sorted(shares)
    for place, own in enumerate(arms):
        even = left / (len(arms) - place)
        if own >= even:
            return even
        left -= own
    return arms[-1]


def token_of(arm_token: str, run: str) -> str:
    """Return what keeps a client on an arm in one run; what an earlier run gave out differs.

    arm_token: the fixed token of the arm, which never leaves guard and operator. The router names
    the run on each request, so a pod that has long been there gives out the new one too.
    """
    return hashlib.sha256(f"{arm_token}/{run}".encode()).hexdigest()[:32]


def read_arms(header: str | None) -> Arms | None:
    """Return what a header says; None where there is none or it is not exactly in our form."""
    found = _HEADER.fullmatch(header or "")
    if found is None:
        return None
    pairs = (each.split("=") for each in found["tested"].split(","))
    (canary, percent), *others = ((version, int(percent)) for version, percent in pairs)
    if len({canary, *dict(others)}) <= len(others) or percent + sum(dict(others).values()) > 100:
        return None
    return Arms(
        canary=canary,
        percent=percent,
        others=tuple(others),
        step=int(found["step"]),
        run=found["run"],
        is_copied=found["copies"] is not None,
    )

"""What the router tells the guards of a run: which version is tried, and how much of the traffic.

The operator writes it into the route beside the weights; guards read it from each request.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

Arm = Literal["canary", "stable"]

_VERSION = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_RUN = r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?"
_HEADER = re.compile(
    rf"(?P<canary>{_VERSION})"
    r"=(?P<percent>0|[1-9][0-9]?|100)"
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
    """The two arms of a run as the route in force has them."""

    canary: str
    """Name of the version that is tried; every other version is stable's arm."""
    percent: int
    """What the canary gets of the traffic, 0 to 100."""
    step: int
    """The step of the plan, from 0, as in the status of the RLHFRollout."""
    run: str
    """Name of the RLHFRollout."""
    is_copied: bool = False
    """The canary gets copies, and stable answers everything: strategy Shadow."""

    @property
    def header(self) -> str:
        """Return the value of ARMS_HEADER, for instance `support-v8=5;step=1;run=support-7`."""
        copies = ";copies" if self.is_copied else ""
        return f"{self.canary}={self.percent};step={self.step};run={self.run}{copies}"

    def arm_of(self, version: str) -> Arm:
        """Return the arm of which a version is."""
        return "canary" if version == self.canary else "stable"

    def place_of(self, version: str) -> Place:
        """Return where in the run an answer of a version is made."""
        return Place(run=self.run, step=self.step, arm=self.arm_of(version))

    def share_of(self, arm: Arm) -> float:
        """Return the share of all requests that an arm answers, 0 to 1."""
        if arm == "canary":
            return self.percent / 100
        return 1.0 if self.is_copied else (100 - self.percent) / 100


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
    return Arms(
        canary=found["canary"],
        percent=int(found["percent"]),
        step=int(found["step"]),
        run=found["run"],
        is_copied=found["copies"] is not None,
    )

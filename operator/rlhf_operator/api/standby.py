"""The previous stable version, kept warm after a promotion, and its share as a control arm."""

from __future__ import annotations

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.evidence import Message, ReasonWord
from rlhf_operator.api.schema import ApiType, Percent, Time


class Release(ApiType):
    """How a control arm lost its traffic."""

    at: Time
    """When."""
    reason: ReasonWord
    """One word."""
    message: Message
    """A sentence with numbers."""


class StandbyRecord(ApiType):
    """The previous stable version, kept warm."""

    version: VersionRef
    """Which one."""
    until: Time
    """Until when."""
    weight: Percent = 0
    """Percent of the traffic that it keeps as a control arm."""
    released: Release | None = None
    """How it lost that."""

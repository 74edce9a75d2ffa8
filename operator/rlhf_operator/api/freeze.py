"""Weekly times in which nothing is raised and nothing starts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.schema import ApiType, Name

ClockTime = Annotated[str, Field(max_length=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class FreezeWindow(ApiType):
    """A weekly time in which no weight is raised and no run starts."""

    name: Name
    """A name for messages."""
    days: Annotated[
        tuple[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], ...],
        Field(min_length=1, max_length=7),
    ]
    """The days on which the window opens."""
    start: ClockTime
    """When it opens, HH:MM."""
    end: ClockTime
    """When it closes; at or before `start` means on the next day."""
    time_zone: Annotated[str, Field(max_length=64)] | None = None
    """An IANA time zone; UTC when unset."""

"""Freeze windows: weekly, in any time zone, over midnight and over a change of the clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from rlhf_operator.api.freeze import FreezeWindow
from rlhf_operator.core import freeze


def window(**changes: Any) -> FreezeWindow:
    return FreezeWindow.model_validate(
        {"name": "w", "days": ["Fri"], "start": "18:00", "end": "08:00"} | changes
    )


@pytest.mark.parametrize(
    ("moment", "changes", "is_open"),
    [
        pytest.param("2026-01-09T17:59:59+00:00", {}, False, id="before it opens"),
        pytest.param("2026-01-09T18:00:00+00:00", {}, True, id="when it opens"),
        pytest.param("2026-01-10T07:59:59+00:00", {}, True, id="on the next morning"),
        pytest.param("2026-01-10T08:00:00+00:00", {}, False, id="when it closes"),
        pytest.param("2026-01-10T19:00:00+00:00", {}, False, id="on another day"),
        pytest.param("2026-01-09T12:00:00+00:00", {"start": "09:00", "end": "17:00"}, True,
                     id="within one day"),
        pytest.param("2026-01-10T08:30:00+00:00", {"start": "09:00", "end": "09:00"}, True,
                     id="a whole day round"),
        pytest.param("2026-01-09T23:30:00+00:00", {"timeZone": "America/New_York"}, True,
                     id="by the clock of another place"),
        pytest.param("2026-01-09T22:30:00+00:00", {"timeZone": "America/New_York"}, False,
                     id="not yet by the clock of another place"),
        pytest.param("2026-03-29T05:30:00+00:00",
                     {"days": ["Sat"], "end": "08:00", "timeZone": "Europe/Berlin"}, True,
                     id="in the night when the clock goes forward"),
        pytest.param("2026-03-29T06:30:00+00:00",
                     {"days": ["Sat"], "end": "08:00", "timeZone": "Europe/Berlin"}, False,
                     id="closed an hour earlier after the clock went forward"),
    ],
)  # fmt: skip
def test_when_a_window_is_open(moment: str, changes: dict[str, Any], is_open: bool) -> None:
    found = freeze.open_window([window(**changes)], datetime.fromisoformat(moment))
    assert found == ("w" if is_open else None)


@pytest.mark.parametrize(
    ("zone", "unknown"), [("Europe/Berlin", None), (None, None), ("Mars/Olympus", "Mars/Olympus")]
)
def test_a_zone_that_does_not_exist_is_named(zone: str | None, unknown: str | None) -> None:
    assert freeze.unknown_zone([window(timeZone=zone)]) == unknown

"""Freeze windows: weekly times in which nothing is advanced."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rlhf_operator.api.freeze import FreezeWindow

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def open_window(windows: Iterable[FreezeWindow], now: datetime) -> str | None:
    """Return the name of a window that is open now; one in an unknown time zone is not."""
    known = [window for window in windows if unknown_zone([window]) is None]
    return next((window.name for window in known if _is_open(window, now)), None)


def unknown_zone(windows: Iterable[FreezeWindow]) -> str | None:
    """Return a time zone that does not exist, if one is named."""
    for window in windows:
        try:
            ZoneInfo(window.time_zone or "UTC")
        except (ZoneInfoNotFoundError, ValueError):
            return window.time_zone
    return None


def _is_open(window: FreezeWindow, now: datetime) -> bool:
    zone = ZoneInfo(window.time_zone) if window.time_zone else UTC
    local = now.astimezone(zone)
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    for day in (local.date(), local.date() - timedelta(days=1)):
        if _DAYS[day.weekday()] not in window.days:
            continue
        opens = datetime.combine(day, start, tzinfo=zone)
        closes = datetime.combine(day, end, tzinfo=zone)
        if closes <= opens:
            closes += timedelta(days=1)
        if opens <= local < closes:
            return True
    return False

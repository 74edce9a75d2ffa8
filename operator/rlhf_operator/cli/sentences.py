"""How times, lengths and faults are told to people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from rlhf_operator.api.evidence import SLOResult
from rlhf_operator.api.rollout import ArmRecord
from rlhf_operator.core.objective import short


def clock(moment: datetime) -> str:
    """Return an instant as people write it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def length(span: timedelta) -> str:
    """Return a length with its two largest units: `3 d 4 h`, `2 min 5 s`, `9.8 s`."""
    seconds = max(0.0, span.total_seconds())
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + " s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, size in units:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def age(since: datetime | None, now: datetime) -> str:
    """Return how long ago something was, as `kubectl get` shows it."""
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size * 2:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def faults(error: ValidationError, most: int = 20) -> tuple[str, ...]:
    """Return one sentence for each fault that the API types find, with the field's path."""
    return tuple(_fault(entry["loc"], entry["msg"]) for entry in error.errors()[:most])


def _fault(place: Iterable[object], message: str) -> str:
    path = ""
    for part in place:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return f"{path.removeprefix('.') or 'the object'}: {message[:1].lower()}{message[1:]}"


def number(text: str | None) -> str:
    """Return a number of the record to four digits; a dash where there is none."""
    return "-" if text is None else short(float(text))


def count(number: int, word: str) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def objective(result: SLOResult, results: Iterable[SLOResult]) -> str:
    """Return an objective's name, with its version where several are told of."""
    several = len({each.version for each in results}) > 1
    return f"{result.version} {result.name}" if several else result.name


def shares(found: Mapping[str, int]) -> str:
    """Return what each version gets of the traffic."""
    return ", ".join(f"{name} {part} %" for name, part in found.items())


def dropped(arm: ArmRecord) -> str:
    """Return why a version is out of its test."""
    why = (arm.message or "").removeprefix(arm.version).removeprefix(":").strip()
    return f"{arm.version}: {arm.reason}, {why}"

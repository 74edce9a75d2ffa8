"""The contract that kstatus, Flux, Argo CD and kubectl read: a linter for stored statuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Raw = Mapping[str, Any]
ABNORMAL = ("Reconciling", "Stalled")


def lint(before: Raw | None, after: Raw) -> list[str]:
    """Return what is wrong with a status that the operator wrote."""
    return [
        f"{after['kind']} {after['metadata']['name']}: {text}" for text in _faults(before, after)
    ]


def _faults(before: Raw | None, after: Raw) -> Iterator[str]:
    status = after.get("status") or {}
    generation = after["metadata"].get("generation", 0)
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    if len(conditions) < len(status.get("conditions", ())):
        yield "a condition stands twice"
    if "observedGeneration" not in status:
        yield "observedGeneration is missing"
    if status.get("observedGeneration", 0) > generation:
        yield "observedGeneration is ahead of the generation"
    if status.get("observedGeneration", -1) < 0:
        return  # nobody has looked at it yet
    if "Ready" not in conditions:
        yield "Ready is missing"
    yield from _abnormal(conditions)
    for condition in conditions.values():
        if condition.get("observedGeneration", 0) > generation:
            yield f"{condition['type']} is ahead of the generation"
        if "observedGeneration" not in condition:
            yield f"{condition['type']} has no observedGeneration"
        if not condition.get("reason") or not condition.get("message"):
            yield f"{condition['type']} does not say why"
        yield from _moved(condition, before)


def _abnormal(conditions: Mapping[str, Raw]) -> Iterator[str]:
    present = [kind for kind in ABNORMAL if kind in conditions]
    for kind in present:
        if conditions[kind]["status"] != "True":
            yield f"{kind} stands without being True"
    if len(present) > 1:
        yield "Reconciling and Stalled stand together"
    ready = conditions.get("Ready", {}).get("status")
    if ready == "True" and present:
        yield f"Ready is True beside {present[0]}"


def _moved(condition: Raw, before: Raw | None) -> Iterator[str]:
    earlier = ((before or {}).get("status") or {}).get("conditions", ())
    was = next((each for each in earlier if each["type"] == condition["type"]), None)
    if was is None:
        return
    moved = was["lastTransitionTime"] != condition["lastTransitionTime"]
    if moved and was["status"] == condition["status"]:
        yield f"{condition['type']} moves its transition time without a transition"
    if condition["lastTransitionTime"] < was["lastTransitionTime"]:
        yield f"{condition['type']} moves its transition time back"

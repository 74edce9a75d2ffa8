"""What can be used of a model's spec that this operator does not fully understand.

That is so when a newer operator's kinds are installed. What runs must go on, and traffic must
be able to flee; nothing new starts and no pod is rendered from half a spec.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.schema import STORED, ApiType
from rlhf_operator.api.traffic import Traffic
from rlhf_operator.reconcile.ports import Raw

Part = TypeVar("Part", bound=ApiType)


def model_spec(raw: Raw) -> ModelSpec | None:
    """Return the spec without the fields that are not known; None where more is wrong."""
    return _understood(ModelSpec, raw.get("spec"))


def traffic(raw: Raw) -> Traffic | None:
    """Return how traffic is routed, the one part by which a canary loses its own."""
    spec = raw.get("spec")
    return _understood(Traffic, spec.get("traffic", {}) if isinstance(spec, Mapping) else None)


def _understood(kind: type[Part], data: Any) -> Part | None:
    try:
        return kind.model_validate(data, context=STORED)
    except ValidationError as error:
        unknown = [each["loc"] for each in error.errors() if each["type"] == "extra_forbidden"]
        if len(unknown) < error.error_count():
            return None
    try:
        return kind.model_validate(_without(data, unknown), context=STORED)
    except ValidationError:
        return None  # a rule between fields was broken only now


def _without(data: Any, fields: list[tuple[str | int, ...]]) -> Any:
    kept = copy.deepcopy(data)
    for *way, last in fields:
        place = kept
        for step in way:
            place = place[step]
        del place[last]
    return kept

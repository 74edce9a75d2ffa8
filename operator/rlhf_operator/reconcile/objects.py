"""From stored objects to typed ones, each parsed once."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from rlhf_operator.api.approval import CHANGED_BY_ANNOTATION
from rlhf_operator.api.common import Failure, Object
from rlhf_operator.api.model import ModelSpec, RLHFModel
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import RLHFRollout, RolloutStatus
from rlhf_operator.api.schema import STORED
from rlhf_operator.core import history
from rlhf_operator.core.observed import Run
from rlhf_operator.reconcile.ports import Raw

Typed = TypeVar("Typed", bound=Object[Any, Any])
_LONGEST_NAME = 253


class Stored(dict[str, Any]):
    """An object as the API server keeps it, which nobody changes, and what it was parsed to."""

    __slots__ = ("typed",)

    def __init__(self, raw: Raw) -> None:
        super().__init__(raw)
        self.typed: Any = None


def parse(kind: type[Typed], raw: Raw) -> Typed:
    """Return the typed object; raises ValidationError where the spec cannot be understood."""
    if not isinstance(raw, Stored):
        return kind.model_validate(raw, context=STORED)
    if not isinstance(raw.typed, kind):
        raw.typed = kind.model_validate(raw, context=STORED)
    return raw.typed


def run_of(raw: Raw) -> Run | None:
    """Return a rollout record; one that cannot be read is None, since we alone write them."""
    try:
        rollout = parse(RLHFRollout, raw)
    except ValidationError:
        return None
    return Run(
        name=rollout.metadata.name,
        resource_version=rollout.metadata.resource_version,
        uid=rollout.metadata.uid,
        model_uid=rollout.metadata.labels.get(history.MODEL_UID_LABEL, ""),
        spec=rollout.spec,
        status=rollout.status or RolloutStatus(),
    )


def changed_by(raw: Raw) -> str | None:
    """Return who made the newest change of a model's spec, as far as it says."""
    name = str((raw["metadata"].get("annotations") or {}).get(CHANGED_BY_ANNOTATION, ""))
    return name if 0 < len(name) <= _LONGEST_NAME else None


def sentence(error: ValidationError) -> str:
    """Return a validation error as one line that names each field."""
    return "; ".join(
        f"{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}"
        for entry in error.errors()[:5]
    )


def model_spec(raw: Raw) -> tuple[ModelSpec | None, Failure | None]:
    """Return a model's spec, or why it cannot be understood."""
    try:
        return parse(RLHFModel, raw).spec, None
    except ValidationError as error:
        return None, Failure(reason=Reason.SPEC_INVALID, message=sentence(error)[:1024])

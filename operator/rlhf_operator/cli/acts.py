"""What a person can decide: one row for each action of `RLHFDecision`, from which come commands.

A new action takes one row here; a test compares the rows with what the API has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from rlhf_operator.api.decision import DecisionSpec
from rlhf_operator.cli import sentences
from rlhf_operator.cli.state import State, status_of

Needs = Literal["nothing", "version", "identity"]


class Unfit(Exception):  # noqa: N818 - it is told to the user as it stands
    """Why this cannot be decided as it was asked, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActKind:
    """One command: its name, the action it asks for, and what it takes beside the model."""

    command: str
    action: str
    help: str
    needs: Needs = "nothing"
    argument_help: str = ""


ACTS: tuple[ActKind, ...] = (
    ActKind(
        command="abort",
        action="Abort",
        help="End the run that is going on; the stable version gets all traffic.",
    ),
    ActKind(
        command="pause",
        action="Pause",
        help="Raise no weight until `resume`. A Safety rollback still happens.",
    ),
    ActKind(command="resume", action="Resume", help="Let a paused run go on."),
    ActKind(
        command="rollback",
        action="RollBackTo",
        help="Go back to a version at once.",
        needs="version",
        argument_help="the version; the stable one before the newest promotion when left out",
    ),
    ActKind(
        command="lift",
        action="LiftQuarantine",
        help="Let a quarantined artefact run again, under every name that it has.",
        needs="identity",
        argument_help="the quarantined version by name, or its identity sha256:…",
    ),
    ActKind(
        command="restart",
        action="Restart",
        help="Make the pods anew from today's spec, one by one, judged like a step.",
    ),
)


def specify(
    kind: ActKind,
    model: str,
    argument: str | None,
    *,
    author: str,
    reason: str,
    expires_at: datetime | None,
    lookup: Callable[[], State],
) -> DecisionSpec:
    """Return the decision to write; raises Unfit where it makes no sense.

    lookup: reads the namespace; called only where a name has to be found out.
    """
    fields: dict[str, Any] = {
        "action": kind.action,
        "model": model,
        "author": author,
        "reason": reason,
        "expiresAt": expires_at,
    }
    match kind.needs:
        case "version":
            fields["version"] = argument or previous_stable(lookup(), model)
        case "identity":
            fields["identity"] = _identity(argument or "", lookup)
        case "nothing":
            assert argument is None, "its command takes the model alone"
    try:
        return DecisionSpec.model_validate(fields)
    except ValidationError as error:
        raise Unfit("; ".join(sentences.faults(error))) from error


def previous_stable(state: State, model: str) -> str:
    """Return what served before the version that serves now, by the records."""
    newest = state.newest(model)
    serving = status_of(newest).stable if newest else None
    if serving is None:
        raise Unfit(f"{model} has no version that serves yet; name the version")
    for record in reversed(state.records(model)):
        before = record.spec.from_
        if before not in (None, serving) and status_of(record).stable == serving:
            assert before is not None, "excluded by the line above"
            return before.name
    raise Unfit(f"nothing served before {serving.name}; name the version")


def _identity(argument: str, lookup: Callable[[], State]) -> str:
    if argument.startswith("sha256:"):
        return argument
    version = lookup().version(argument)
    if version is None:
        raise Unfit(f"no RLHFModelVersion {argument} here; name the identity sha256:… instead")
    return version.spec.identity()


def outcome_sentence(phase: str | None, message: str) -> str:
    """Return what became of a decision, for a person."""
    said = f": {message}" if message else ""
    match phase:
        case "Applied":
            return f"carried out{said}"
        case "NotApplicable":
            return f"not carried out{said}"
        case "Expired":
            return f"too late{said}"
        case _:
            return "written; the operator has not answered yet"

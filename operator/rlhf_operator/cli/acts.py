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
from rlhf_operator.core import contenders

Needs = Literal["nothing", "version", "identity", "canary", "slo"]
"""What stands beside the model: a version; an identity; one that is the canary's when left out;
an objective."""


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
    takes_step: bool = False

    @property
    def is_optional(self) -> bool:
        """Return whether the argument can be found out where it is left out."""
        return self.needs in ("version", "canary")


_CANARY_HELP = "The version by name or its identity; what is under test when left out"

ACTS: tuple[ActKind, ...] = (
    ActKind(
        command="approve",
        action="Approve",
        help="Agree to a version, at a step that waits for people or ahead of it.",
        needs="canary",
        argument_help=_CANARY_HELP,
        takes_step=True,
    ),
    ActKind(
        command="veto",
        action="Veto",
        help="Take a version out at once and keep its artefact out, under every name.",
        needs="canary",
        argument_help=_CANARY_HELP,
    ),
    ActKind(
        command="promote",
        action="Promote",
        help="End the steps now: the version under test becomes stable.",
    ),
    ActKind(
        command="retry",
        action="Retry",
        help="Start again what failed without blame, such as pods that were not ready.",
    ),
    ActKind(
        command="override",
        action="Override",
        help="Take one objective out of this run's judgement until --expires-in is over.",
        needs="slo",
        argument_help="The objective by name; never one of class Safety",
    ),
    ActKind(
        command="repin",
        action="Repin",
        help="Judge this run by today's plan and policies instead of those at its start.",
    ),
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
        argument_help="The version; what served before the present one when left out",
    ),
    ActKind(
        command="lift",
        action="LiftQuarantine",
        help="Let a quarantined artefact run again, under every name that it has.",
        needs="identity",
        argument_help="The quarantined version by name, or its identity sha256:…",
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
    via: str | None = None,
    step: int | None = None,
) -> DecisionSpec:
    """Return the decision to write; raises Unfit where it makes no sense.

    lookup: reads the namespace; called only where a name has to be found out.
    """
    fields: dict[str, Any] = {
        "action": kind.action,
        "model": model,
        "author": author,
        "via": via,
        "reason": reason,
        "expiresAt": expires_at,
        "step": step,
    }
    match kind.needs:
        case "version":
            fields["version"] = argument or previous_stable(lookup(), model)
        case "identity":
            fields["identity"] = _identity(argument or "", lookup)
        case "canary":
            fields["identity"] = (
                _identity(argument, lookup) if argument else _under_test(lookup(), model)
            )
        case "slo":
            fields["slo"] = argument
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


def _under_test(state: State, model: str) -> str:
    newest = state.newest(model)
    canary = status_of(newest).canary if newest else None
    if newest is None or canary is None:
        raise Unfit(f"{model} has no version under test; name the version")
    if status_of(newest).testing:
        names = ", ".join(contenders.shares(status_of(newest)))
        raise Unfit(f"{model} has several versions under test, {names}; name one")
    return canary.identity


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

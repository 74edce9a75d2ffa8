"""The commands by which a person decides: made from the rows of `acts.ACTS`.

Each writes one `RLHFDecision` under the user's own name; the operator carries it out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import click

from rlhf_operator.api.decision import DecisionSpec
from rlhf_operator.cli import acts, clock, cluster, options, terminal
from rlhf_operator.cli.acts import ActKind

_LOOK_EVERY = 0.5


def command_of(kind: ActKind) -> click.Command:
    """Return the command of one row."""

    def run(**given: Any) -> None:
        _decide(kind, **given)

    made: Callable[..., Any] = run
    made = click.option(
        "-m", "--reason", required=True, help="Why, for the record. Everybody can read it."
    )(made)
    made = click.option(
        "--author",
        help="Who decides, where you write on somebody's behalf; you yourself when left out.",
    )(made)
    made = click.option(
        "--expires-in",
        type=options.Length(),
        help="Not to be carried out after this, for instance 10m.",
    )(made)
    made = click.option(
        "--wait",
        type=options.Length(),
        default="30s",
        show_default=True,
        help="Wait for the outcome; 0s: don't.",
    )(made)
    made = click.option(
        "--dry-run", is_flag=True, help="Let the API server check it, keep nothing."
    )(made)
    made = options.access(options.form(made))
    if kind.takes_step:
        made = click.option(
            "--step", type=click.IntRange(min=1), help="Only this step, from 1; all when left out."
        )(made)
    if kind.needs != "nothing":
        made = _argument(kind)(made)
    made = options.model(made)
    text = kind.help + (f"\n\n{kind.argument_help}." if kind.argument_help else "")
    return click.command(kind.command, help=text, short_help=kind.help)(made)


def _argument(kind: ActKind) -> Callable[..., Any]:
    """Return what stands beside the model."""
    shown = {"version": "[VERSION]", "canary": "[VERSION|IDENTITY]", "slo": "OBJECTIVE"}
    return click.argument(
        "argument",
        metavar=shown.get(kind.needs, "VERSION|IDENTITY"),
        required=not kind.is_optional,
        shell_complete=None if kind.needs == "slo" else options.complete_version,
    )


def _decide(
    kind: ActKind,
    *,
    model: str,
    reason: str,
    author: str | None,
    expires_in: timedelta | None,
    wait: timedelta,
    dry_run: bool,
    form: str,
    access: cluster.Access,
    argument: str | None = None,
    step: int | None = None,
) -> None:
    asked = cluster.Cluster(access)
    sender = asked.whoami()
    spec = acts.specify(
        kind,
        model,
        argument,
        author=author or sender,
        via=sender if author not in (None, sender) else None,
        step=step,
        reason=reason,
        expires_at=clock.now() + expires_in if expires_in else None,
        lookup=lambda: asked.state(clock.now()),
    )
    name = asked.decide(spec, dry_run=dry_run)
    shown = terminal.console()
    if dry_run:
        body = cluster.decision_body(asked.namespace, spec)
        terminal.show(shown, body, f"would write: {_told(spec)}", cast(terminal.Form, form))
        return
    became = _became(asked, name, wait)
    answer = {"decision": name, "phase": became[0], "message": became[1], "spec": spec}
    text = f"{name}: {_told(spec)}\n{acts.outcome_sentence(*became)}"
    terminal.show(shown, answer, text, cast(terminal.Form, form))
    if became[0] in ("NotApplicable", "Expired"):
        raise SystemExit(1)


def _told(spec: DecisionSpec) -> str:
    about = spec.version or spec.identity or spec.slo
    who = f"{spec.author} via {spec.via}" if spec.via else spec.author
    return f"{who}: {spec.action} {spec.model}{f' {about}' if about else ''}"


def _became(asked: cluster.Cluster, name: str, limit: timedelta) -> tuple[str | None, str]:
    """Return what became of a decision, as soon as the operator says so."""
    until = clock.now() + limit
    while clock.now() < until:
        status = asked.decision(name).get("status") or {}
        if status.get("phase"):
            conditions = status.get("conditions") or [{}]
            return str(status["phase"]), str(conditions[0].get("message") or "")
        time.sleep(_LOOK_EVERY)
    return None, ""


COMMANDS = tuple(command_of(kind) for kind in acts.ACTS)

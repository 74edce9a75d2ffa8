"""Options and arguments that many commands share, and how names are completed."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from rlhf_operator.api.schema import parse_duration
from rlhf_operator.cli import clock, cluster

DURATION = r"([0-9]{1,5}(h|m|s|ms)){1,4}"
Command = TypeVar("Command", bound=Callable[..., Any])


class Length(click.ParamType[timedelta]):
    """A length of time such as 10m or 1h30m, as the API writes it."""

    name = "duration"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> timedelta:
        """Return the length; what cannot be read is refused."""
        if isinstance(value, timedelta):
            return value
        if not re.fullmatch(DURATION, str(value)):
            self.fail(f"{value!r} is no length of time; write for instance 90s or 1h30m")
        return parse_duration(str(value))


def access(command: Callable[..., None]) -> Callable[..., None]:
    """Add how the cluster is reached, as kubectl has it; the command gets it as `access`."""

    @functools.wraps(command)
    def reached(
        *, kubeconfig: str | None, context_name: str | None, namespace: str | None, **others: Any
    ) -> None:
        command(access=access_of(kubeconfig, context_name, namespace), **others)

    made: Callable[..., None] = reached
    for option in (
        click.option("--kubeconfig", type=click.Path(), help="Path to the kubeconfig file."),
        click.option("--context", "context_name", help="The context of the kubeconfig."),
        click.option("-n", "--namespace", help="The namespace; the context's own when left out."),
    ):
        made = option(made)
    return made


def everywhere(command: Command) -> Command:
    """Add -A."""
    return click.option(
        "-A", "--all-namespaces", "everywhere", is_flag=True, help="All namespaces."
    )(command)


def form(command: Command) -> Command:
    """Add -o."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(["text", "json", "yaml"]),
        default="text",
        help="The form of the answer.",
    )(command)


def access_of(
    kubeconfig: str | None, context_name: str | None, namespace: str | None
) -> cluster.Access:
    """Return how these options reach a cluster."""
    return cluster.Access(kubeconfig=kubeconfig, context=context_name, namespace=namespace)


def complete_model(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Return the models that begin so; nothing where the cluster cannot be asked."""
    return _complete(context, begun, lambda state: [each.metadata.name for each in state.models])


def complete_version(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Return the versions that begin so; only the chosen model's where one was given."""
    model = context.params.get("model")
    return _complete(
        context,
        begun,
        lambda state: [
            each.metadata.name
            for each in state.versions
            if not isinstance(model, str) or each.spec.model == model
        ],
    )


def _complete(
    context: click.Context, begun: str, names: Callable[[Any], list[str]]
) -> list[CompletionItem]:
    given = context.params
    try:
        reached = access_of(
            given.get("kubeconfig"), given.get("context_name"), given.get("namespace")
        )
        found = cluster.Cluster(reached).state(clock.now())
    except cluster.Problem:
        return []  # a shell that is completing has no place for an error
    return [CompletionItem(name) for name in sorted(names(found)) if name.startswith(begun)]


model = click.argument("model", shell_complete=complete_model)

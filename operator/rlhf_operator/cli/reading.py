"""The commands that only read: get, tree, watch, history, why, diff."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rlhf_operator.api.model import RLHFModel
from rlhf_operator.api.rollout import RLHFRollout
from rlhf_operator.api.version import RLHFModelVersion
from rlhf_operator.cli import (
    chronicle,
    clock,
    cluster,
    difference,
    evidence,
    listing,
    live,
    options,
    terminal,
    tree,
)
from rlhf_operator.cli.state import State


def chosen_model(state: State, name: str, namespace: str) -> RLHFModel:
    """Return a model by name, or tell which there are."""
    model = state.model(name)
    if model is not None:
        return model
    known = ", ".join(each.metadata.name for each in state.models) or "none"
    raise cluster.Problem(f"no RLHFModel {name} in namespace {namespace}; there: {known}")


def chosen_version(state: State, name: str, namespace: str) -> RLHFModelVersion:
    """Return a version by name, or tell which there are."""
    version = state.version(name)
    if version is not None:
        return version
    known = ", ".join(each.metadata.name for each in state.versions) or "none"
    raise cluster.Problem(f"no RLHFModelVersion {name} in namespace {namespace}; there: {known}")


def chosen_record(state: State, name: str, revision: int | None, namespace: str) -> RLHFRollout:
    """Return a record by its own name, or a model's newest one, or one of its revisions."""
    by_name = [each for each in state.rollouts if each.metadata.name == name]
    if by_name and revision is None:
        return by_name[0]
    chosen_model(state, name, namespace)
    records = state.records(name)
    found = [each for each in records if revision in (None, each.spec.revision)]
    if not found:
        known = ", ".join(str(each.spec.revision) for each in records) or "none"
        raise cluster.Problem(f"{name} has no such rollout record; its revisions: {known}")
    return found[-1]


@click.command()
@click.argument("models", nargs=-1, shell_complete=options.complete_model)
@options.everywhere
@options.form
@options.access
def get(
    models: tuple[str, ...],
    everywhere: bool,
    form: str,
    access: cluster.Access,
) -> None:
    """List models with what each does now."""
    asked = cluster.Cluster(access)
    state = asked.models(clock.now(), everywhere=everywhere)
    for name in models:
        chosen_model(state, name, asked.namespace)
    found = listing.listing(state, models)
    text = listing.render(found, everywhere=everywhere)
    terminal.show(terminal.console(), found, text, cast(terminal.Form, form))


@click.command("tree")
@options.model
@options.form
@options.access
def show_tree(
    model: str,
    form: str,
    access: cluster.Access,
) -> None:
    """Show a model, its versions, its newest rollout and its pods."""
    asked = cluster.Cluster(access)
    state = asked.state(clock.now())
    found = tree.tree(state, chosen_model(state, model, asked.namespace))
    terminal.show(terminal.console(), found, tree.render(found), cast(terminal.Form, form))


@click.command()
@options.model
@click.option("--interval", type=click.FloatRange(min=0.5), default=2.0, help="Seconds.")
@click.option("--once", is_flag=True, help="Show one frame and end.")
@options.form
@options.access
def watch(
    model: str,
    interval: float,
    once: bool,
    form: str,
    access: cluster.Access,
) -> None:
    """Follow a rollout: weights, objectives against bounds, time to decision."""
    asked = cluster.Cluster(access)
    shown = terminal.console()

    def look() -> live.Frame:
        state = asked.state(clock.now())
        return live.frame(state, chosen_model(state, model, asked.namespace))

    found = look()
    if once or form != "text":
        terminal.show(shown, found, live.render(found), cast(terminal.Form, form))
        return
    try:
        if shown.is_terminal:
            _renew(shown, found, look, interval)
        else:
            _tell(shown, found, look, interval)
    except KeyboardInterrupt:
        return  # the user has seen enough


Look = Callable[[], live.Frame]


def _renew(shown: Console, found: live.Frame, look: Look, interval: float) -> None:
    """Show frames for ever in one place; while the API server is away, the last one."""
    with Live(live.render(found), console=shown, auto_refresh=False) as moving:
        while True:
            time.sleep(interval)
            try:
                found = look()
                moving.update(live.render(found), refresh=True)
            except cluster.Problem as problem:
                trouble = Text(f"{problem}; trying again", "wait")
                moving.update(Group(live.render(found), trouble), refresh=True)


def _tell(shown: Console, found: live.Frame, look: Look, interval: float) -> None:
    """Write for ever each frame that tells something new, as a log wants it."""
    shown.print(live.render(found))
    while True:
        shown.file.flush()
        time.sleep(interval)
        before = found
        try:
            found = look()
        except cluster.Problem as problem:
            shown.print(f"{problem}; trying again", markup=False)
            continue
        if live.tells_more(before, found):
            shown.print(live.render(found))


@click.command()
@options.model
@options.form
@options.access
def history(
    model: str,
    form: str,
    access: cluster.Access,
) -> None:
    """Tell what was live when, why, and by whom. Also for a model that was deleted."""
    asked = cluster.Cluster(access)
    state = asked.state(clock.now())
    if not state.records(model):
        chosen_model(state, model, asked.namespace)
    found = chronicle.chronicle(state, model)
    terminal.show(terminal.console(), found, chronicle.render(found), cast(terminal.Form, form))


@click.command()
@click.argument("model", metavar="MODEL|ROLLOUT", shell_complete=options.complete_model)
@click.option("--revision", type=int, help="Which record; the newest when left out.")
@options.form
@options.access
def why(
    model: str,
    revision: int | None,
    form: str,
    access: cluster.Access,
) -> None:
    """Explain a decision: its rule, its numbers, its queries."""
    asked = cluster.Cluster(access)
    state = asked.state(clock.now())
    record = chosen_record(state, model, revision, asked.namespace)
    newest = state.newest(record.spec.model)
    is_newest = newest is not None and newest.metadata.name == record.metadata.name
    about = next((each for each in state.models if each.metadata.name == record.spec.model), None)
    found = evidence.explain(record, listing.cautions(about) if is_newest else ())
    terminal.show(terminal.console(), found, evidence.render(found), cast(terminal.Form, form))


@click.command()
@click.argument("left", metavar="VERSION", shell_complete=options.complete_version)
@click.argument("right", metavar="VERSION", shell_complete=options.complete_version)
@click.option("--all", "everything", is_flag=True, help="Also the fields that agree.")
@options.form
@options.access
def diff(
    left: str,
    right: str,
    everything: bool,
    form: str,
    access: cluster.Access,
) -> None:
    """Compare two versions: artefact, lineage, engine, and what was measured of each."""
    asked = cluster.Cluster(access)
    state = asked.state(clock.now())
    one, two = (chosen_version(state, name, asked.namespace) for name in (left, right))
    found = difference.difference(state, one, two)
    text = difference.render(found, everything=everything)
    terminal.show(terminal.console(), found, text, cast(terminal.Form, form))


COMMANDS = (get, show_tree, watch, history, why, diff)

"""The commands that check: lint, verify, digest."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import click

from rlhf_operator.cli import (
    asking,
    clock,
    cluster,
    duplicates,
    findings,
    fitting,
    manifests,
    options,
    reading,
    state,
    terminal,
    verification,
)
from rlhf_operator.cli.findings import Finding, Report, Source
from rlhf_operator.cli.verification import Verification
from rlhf_operator.serving import artifact


@click.command()
@click.argument("files", nargs=-1, type=click.Path(allow_dash=True))
@click.option("--live", "live", help="A stored model instead of files.", metavar="MODEL")
@click.option(
    "--prometheus",
    metavar="URL|NAMESPACE/SERVICE:PORT",
    help="Try each query there; a Service is asked through the API server.",
)
@options.form
@options.access
def lint(
    files: tuple[str, ...],
    live: str | None,
    prometheus: str | None,
    form: str,
    access: cluster.Access,
) -> None:
    """Say what is wrong with files or with a live model. Ends with 1 where there is an error."""
    if bool(files) == bool(live):
        raise click.UsageError("name files, or one model with --live")
    ask = _ask(prometheus, access)
    report = Report(sources=(_of_live(live, access, ask),)) if live else _of_files(files, ask)
    terminal.show(terminal.console(), report, findings.render(report), cast(terminal.Form, form))
    if report.errors:
        raise SystemExit(1)


def _ask(prometheus: str | None, access: cluster.Access) -> asking.Ask | None:
    if prometheus is None:
        return None
    if prometheus.startswith(("http://", "https://")):
        return asking.by_url(prometheus)
    if "/" not in prometheus:
        raise click.UsageError("--prometheus takes a URL or NAMESPACE/SERVICE:PORT")
    return asking.by_service(cluster.Cluster(access), prometheus)


def _of_files(names: tuple[str, ...], ask: asking.Ask | None) -> Report:
    read = list(manifests.documents(names))
    every = manifests.readable(each for _, objects in read for each in objects)
    across = list(fitting.together(every))
    repeated = duplicates.repeated(read)
    sources = []
    for name, objects in read:
        mine = manifests.readable(objects)
        found = [finding for each in objects for finding in findings.of_object(each)]
        about = {f"RLHFModel {model.metadata.name}" for model in mine.models}
        found += [finding for finding in across if finding.about in about]
        found += duplicates.advice(repeated, name)
        sources.append(_with_queries(name, len(objects), found, mine, ask))
    return Report(sources=tuple(sources))


def _of_live(name: str, access: cluster.Access, ask: asking.Ask | None) -> Source:
    asked = cluster.Cluster(access)
    everything = asked.state(clock.now())
    model = reading.chosen_model(everything, name, asked.namespace)
    wanted = {each.name for each in model.spec.policies}
    policies = tuple(each for each in everything.policies if each.metadata.name in wanted)
    mine = tuple(each for each in everything.versions if each.spec.model == name)
    part = replace(everything, models=(model,), versions=mine, policies=policies)
    objects = [("RLHFModel", model)]
    found = [
        finding
        for kind, typed in (
            ("RLHFModel", part.models),
            ("RLHFModelVersion", part.versions),
            ("AlignmentPolicy", part.policies),
        )
        for each in typed
        for finding in findings.of_parsed(f"{kind} {each.metadata.name}", each)
    ]
    found += [*fitting.together(part), *findings.of_live(part, model)]
    count = len(objects) + len(mine) + len(policies)
    return _with_queries(f"{asked.namespace}/{name}", count, found, part, ask)


def _with_queries(
    name: str, count: int, found: list[Finding], read: state.State, ask: asking.Ask | None
) -> Source:
    queries = list(findings.texts(read))
    for policy, slo, text in queries if ask else ():
        assert ask is not None, "nothing is asked without it"
        wrong = asking.complaint(*ask(text))
        if wrong is not None:
            message = f"slos.{slo}: {text}: {wrong[1]}"
            about = f"AlignmentPolicy {policy}"
            found.append(Finding(gravity=wrong[0], about=about, message=message))
    return Source(
        name=name,
        objects=count,
        queries=len(queries),
        tried=len(queries) if ask else 0,
        findings=tuple(dict.fromkeys(found)),
    )


@click.command()
@click.argument("models", nargs=-1, shell_complete=options.complete_model)
@options.everywhere
@click.option(
    "--looks",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Looks before something counts as broken: objects are read one after the other.",
)
@click.option("--pause", type=options.Length(), default="2s", show_default=True, help="Between.")
@options.form
@options.access
def verify(
    models: tuple[str, ...],
    everywhere: bool,
    looks: int,
    pause: timedelta,
    form: str,
    access: cluster.Access,
) -> None:
    """Check the invariants on a live cluster. Ends with 1 where one is broken.

    Broken is what breaks at every look: a route that is read a moment after its record may
    have moved meanwhile.
    """
    asked = cluster.Cluster(access)
    found, unreadable = _verified(asked, models, everywhere)
    for _ in range(looks - 1):
        if all(each.is_fine for each in found):
            break
        time.sleep(pause.total_seconds())
        again, unreadable = _verified(asked, models, everywhere)
        found = verification.still_broken(found, again)
    text = verification.render_all(found, everywhere=everywhere)
    terminal.show(terminal.console(), found, text, cast(terminal.Form, form))
    for name in unreadable:
        click.echo(f"cannot be read: {name}", err=True)
    if unreadable or not all(each.is_fine for each in found):
        raise SystemExit(1)


def _verified(
    asked: cluster.Cluster, models: tuple[str, ...], everywhere: bool
) -> tuple[tuple[Verification, ...], tuple[str, ...]]:
    """Return one look at the invariants, and what could not be read."""
    now = clock.now()
    states = asked.by_namespace(now) if everywhere else (asked.state(now),)
    for name in models if not everywhere else ():
        reading.chosen_model(states[0], name, asked.namespace)
    found = tuple(
        verification.verify(each, model)
        for each in states
        for model in each.models
        if not models or model.metadata.name in models
    )
    return found, tuple(name for each in states for name in each.unreadable)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def digest(folder: Path) -> None:
    """Print an artefact's digest, as `spec.artifact.digest` wants it (not for oci://)."""
    try:
        click.echo(artifact.digest(folder))
    except artifact.Unacceptable as error:
        raise cluster.Problem(f"{folder} cannot be served: {error}") from error


COMMANDS = (lint, verify, digest)

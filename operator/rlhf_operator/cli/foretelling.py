"""The command that foretells: simulate. It needs no cluster."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from math import inf, isfinite
from typing import Any, cast

import click

from rlhf_operator.cli import duplicates, manifests, odds, options, prospects, scene, terminal
from rlhf_operator.cli.assumptions import Assumptions, Rates, Spread


class Share(click.ParamType[Rates]):
    """One rate for both versions, or CANARY:STABLE."""

    name = "rate"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Rates:
        """Return the rates; what is no share of answers is refused."""
        if isinstance(value, Rates):
            return value
        both, others = _of_versions(str(value))
        canary, _, stable = both.partition(":")
        try:
            found = Rates(
                canary=float(canary),
                stable=float(stable or canary),
                others={version: float(rate) for version, rate in others.items()},
            )
        except ValueError:
            self.fail(f"{value!r} is no rate; write for instance 0.02 or 0.02:0.01")
        if not all(0 <= each <= 1 for each in (found.canary, found.stable, *found.others.values())):
            self.fail(f"{value!r} is no share of answers; it lies between 0 and 1")
        return found


def _of_versions(given: str) -> tuple[str, dict[str, str]]:
    """Return what is given for canary and stable, and what for further versions by name."""
    first, *more = given.split(",")
    pairs = (each.partition("=") for each in more)
    return first, {name: number for name, _, number in pairs}


class NamedShare(click.ParamType[tuple[str, Rates]]):
    """An objective's name with its rates: NAME=CANARY[:STABLE]."""

    name = "objective"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, Rates]:
        """Return name and rates."""
        if isinstance(value, tuple):
            return value
        name, sign, rates = str(value).partition("=")
        if not sign:
            self.fail(f"{value!r} names no rate; write for instance errors=0.01")
        return name, Share().convert(rates, parameter, context)


class NamedSpread(click.ParamType[tuple[str, Spread]]):
    """An objective's name with how its values are spread: NAME=MEAN:DEVIATION[:SHIFT]."""

    name = "values"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, Spread]:
        """Return name and spread; what is no deviation is refused."""
        if isinstance(value, tuple):
            return value
        name, _, given = str(value).partition("=")
        numbers, others = _of_versions(given)
        try:
            mean, deviation, *shift = map(float, numbers.split(":"))
            found = Spread(
                mean=mean,
                deviation=deviation,
                shift=float(*shift),
                others={version: float(each) for version, each in others.items()},
            )
        except (TypeError, ValueError):
            self.fail(f"{value!r} names no values; write for instance reward=0.4:1:-0.1")
        shifts = (found.shift, *found.others.values())
        if not (all(map(isfinite, (mean, *shifts))) and 0 < deviation < inf):
            self.fail(f"{value!r} has no deviation above 0")
        return name, found


class NamedPart(click.ParamType[tuple[str, float]]):
    """An objective's name with a share of answers above 0: NAME=SHARE."""

    name = "part"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> tuple[str, float]:
        """Return name and share."""
        if isinstance(value, tuple):
            return value
        name, _, share = str(value).partition("=")
        try:
            found = float(share)
        except ValueError:
            self.fail(f"{value!r} names no share; write for instance thumbs=0.05")
        if not 0 < found <= 1:
            self.fail(f"{value!r} is no share of answers; it lies above 0 and not above 1")
        return name, found


class Reply(click.ParamType["timedelta | None"]):
    """A length of time, or never."""

    name = "reply"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> timedelta | None:
        """Return the length; None where nobody ever replies."""
        return None if value == "never" else options.Length().convert(value, parameter, context)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--model", help="Which model, where the files have several.")
@click.option("--from", "from_", help="What is stable before; the fallback when left out.")
@click.option("--traffic", type=click.FloatRange(min=0), default=5.0, show_default=True,
              help="Answers a second, of all versions together.")  # fmt: skip
@click.option("--flag-rate", type=Share(), required=True, metavar="CANARY[:STABLE][,VERSION=RATE]",
              help="The share of answers that the guard flags: the bad ones. One number is "
              "for all versions; those of abTest.others may have one each.")  # fmt: skip
@click.option("--rate", "rates", type=NamedShare(), multiple=True,
              metavar="NAME=CANARY[:STABLE][,VERSION=RATE]",
              help="The same for one objective; what is not told is assumed to hold. The "
              "primary of a test needs it.")  # fmt: skip
@click.option("--mean", "means", type=NamedSpread(), multiple=True,
              metavar="NAME=MEAN:DEVIATION[:SHIFT][,VERSION=SHIFT]",
              help="The values of an objective on a mean: stable's mean, the standard deviation of "
              "single values, and by how much the canary's mean is higher.")  # fmt: skip
@click.option("--sampled", type=NamedPart(), multiple=True, metavar="NAME=SHARE",
              help="The share of answers that an objective counts: on which somebody votes, or "
              "which are scored.")  # fmt: skip
@click.option("--runs", type=click.IntRange(min=1, max=100000), default=100, show_default=True)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The same seed, the same odds."
)
@click.option("--ready-after", type=options.Length(), default="1m", show_default=True,
              help="How long the canary's pods take to become ready.")  # fmt: skip
@click.option("--lag", type=options.Length(), default="5s", show_default=True,
              help="From an answer to what the rules see, and to the router.")  # fmt: skip
@click.option("--approve-after", type=Reply(), default="0s", show_default=True,
              metavar="DURATION|never",
              help="How long people take to approve where the plan asks for it.")  # fmt: skip
@click.option("--limit", type=options.Length(), default="72h", show_default=True,
              help="After this a run is left as it is.")  # fmt: skip
@click.option("--start", type=click.DateTime(), default="2026-01-05T10:00:00", show_default=True,
              help="When it begins, in UTC; for freeze windows.")  # fmt: skip
@options.form
def simulate(
    files: tuple[str, ...], model: str | None, from_: str | None, form: str, **given: Any
) -> None:
    r"""Foretell what a policy and a plan would do: chances, time, bad answers. Needs no cluster.

    The rollout that these files would begin is played --runs times, by whichever strategy they
    ask for, with the operator's own rules and verdicts. Only the answers are made up: how many
    there are, how many of them the guard flags, and what the other objectives count.

    \b
    Examples:
      kubectl rlhf simulate support.yaml --flag-rate 0.04:0.01
      kubectl rlhf simulate test.yaml --flag-rate 0.01 --rate thumbs=0.1:0.15 --sampled thumbs=0.05
      kubectl rlhf simulate support.yaml --flag-rate 0.01 --mean reward=0.4:1:-0.1
    """
    documents = list(manifests.documents(files))
    read = manifests.readable(each for _, objects in documents for each in objects)
    chosen = scene.only_model(read, model, duplicates.repeated(documents))
    assumed = Assumptions(
        traffic=given["traffic"],
        flags=given["flag_rate"],
        rates=dict(given["rates"]),
        means=dict(given["means"]),
        sampled=dict(given["sampled"]),
        start=cast(datetime, given["start"]).replace(tzinfo=UTC),
        ready_after=cast(timedelta, given["ready_after"]),
        lag=cast(timedelta, given["lag"]),
        approve_after=cast("timedelta | None", given["approve_after"]),
        limit=cast(timedelta, given["limit"]),
    )
    played = scene.scene(read, chosen, assumed, from_=from_)
    with click.progressbar(
        length=given["runs"], label="playing", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        found = odds.simulate(played, given["runs"], given["seed"], lambda _: bar.update(1))
    terminal.show(terminal.console(), found, prospects.render(found), cast(terminal.Form, form))


COMMANDS = (simulate,)

"""The command that foretells: simulate. It needs no cluster."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click

from rlhf_operator.cli import manifests, odds, options, scene, terminal
from rlhf_operator.cli.scene import Rates


class Share(click.ParamType[Rates]):
    """One rate for both versions, or CANARY:STABLE."""

    name = "rate"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Rates:
        """Return the rates; what is no share of answers is refused."""
        if isinstance(value, Rates):
            return value
        canary, _, stable = str(value).partition(":")
        try:
            found = Rates(canary=float(canary), stable=float(stable or canary))
        except ValueError:
            self.fail(f"{value!r} is no rate; write for instance 0.02 or 0.02:0.01")
        if not (0 <= found.canary <= 1 and 0 <= found.stable <= 1):
            self.fail(f"{value!r} is no share of answers; it lies between 0 and 1")
        return found


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


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--model", help="Which model, where the files have several.")
@click.option("--from", "from_", help="What is stable before; the fallback when left out.")
@click.option("--traffic", type=click.FloatRange(min=0), default=5.0, show_default=True,
              help="Answers a second, of all versions together.")  # fmt: skip
@click.option("--flag-rate", type=Share(), required=True, metavar="CANARY[:STABLE]",
              help="The share of answers that the guard flags: the bad ones.")  # fmt: skip
@click.option("--rate", "rates", type=NamedShare(), multiple=True, metavar="NAME=CANARY[:STABLE]",
              help="The same for one objective; others are assumed to hold.")  # fmt: skip
@click.option("--runs", type=click.IntRange(min=1, max=100000), default=100, show_default=True)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The same seed, the same odds."
)
@click.option("--ready-after", type=options.Length(), default="1m", show_default=True,
              help="How long the canary's pods take to become ready.")  # fmt: skip
@click.option("--lag", type=options.Length(), default="5s", show_default=True,
              help="From an answer to what the rules see, and to the router.")  # fmt: skip
@click.option("--limit", type=options.Length(), default="72h", show_default=True,
              help="After this a run is left as it is.")  # fmt: skip
@click.option("--start", type=click.DateTime(), default="2026-01-05T10:00:00", show_default=True,
              help="When it begins, in UTC; for freeze windows.")  # fmt: skip
@options.form
def simulate(
    files: tuple[str, ...], model: str | None, from_: str | None, form: str, **given: Any
) -> None:
    """Foretell what a policy and a plan would do: chances, time, bad answers. Needs no cluster."""
    read = manifests.readable(each for _, objects in manifests.documents(files) for each in objects)
    assumed = scene.Assumptions(
        traffic=given["traffic"],
        flags=given["flag_rate"],
        rates=dict(given["rates"]),
        start=cast(datetime, given["start"]).replace(tzinfo=UTC),
        ready_after=cast(timedelta, given["ready_after"]),
        lag=cast(timedelta, given["lag"]),
        limit=cast(timedelta, given["limit"]),
    )
    played = scene.scene(read, scene.only_model(read, model), assumed, from_=from_)
    with click.progressbar(
        length=given["runs"], label="playing", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        found = odds.simulate(played, given["runs"], given["seed"], lambda _: bar.update(1))
    terminal.show(terminal.console(), found, odds.render(found), cast(terminal.Form, form))


COMMANDS = (simulate,)

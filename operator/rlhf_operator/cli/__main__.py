"""Entry points: `kubectl-rlhf`, and `kubectl_complete-rlhf`, which kubectl asks on TAB."""

from __future__ import annotations

import os
import sys

import click
from click.shell_completion import ShellComplete

from rlhf_operator.cli import acts, assumptions, checking, cluster, deciding, foretelling, reading

_COMPLETE = "_KUBECTL_RLHF_COMPLETE"
_NO_FILES = ":4"  # what kubectl takes as: complete no file names


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rlhf-operator", prog_name="kubectl rlhf")
def app() -> None:
    """See, explain, check and decide what the RLHF operator does."""


for command in (*reading.COMMANDS, *checking.COMMANDS, *foretelling.COMMANDS, *deciding.COMMANDS):
    app.add_command(command)


def main() -> None:
    """Run one command; what goes wrong is told in one line."""
    name = "kubectl-rlhf" if _COMPLETE in os.environ else "kubectl rlhf"
    try:
        app(prog_name=name, complete_var=_COMPLETE)
    except (cluster.Problem, acts.Unfit, assumptions.Unplayable) as error:
        click.echo(f"kubectl rlhf: {error}", err=True)
        sys.exit(1)


def complete() -> None:
    """Print what may stand in place of the last argument, as kubectl asks its plugins."""
    *before, begun = sys.argv[1:] or [""]
    shell = ShellComplete(app, {}, "kubectl rlhf", _COMPLETE)
    for item in shell.get_completions(before, begun):
        click.echo(f"{item.value}\t{item.help}" if item.help else item.value)
    click.echo(_NO_FILES)


if __name__ == "__main__":
    main()

"""The plugin's page shows what the commands print, and every command that there is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rlhf_operator.cli.__main__ import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/kubectl-plugin.md"
_BLOCK = re.compile(r"<!-- (tests/golden/\S+) -->\n```text\n(.*?)```\n", re.DOTALL)


def shown(path: str) -> str:
    return f"<!-- {path} -->\n```text\n{(ROOT / path).read_text()}```\n"


def test_the_page_shows_what_the_commands_print():
    text = PAGE.read_text()
    wanted = _BLOCK.sub(lambda block: shown(block[1]), text)
    if os.environ.get("GOLDEN") == "write":
        PAGE.write_text(wanted)
    assert len(_BLOCK.findall(text)) >= 8
    assert text == wanted or os.environ.get("GOLDEN") == "write", "run with GOLDEN=write"


@pytest.mark.parametrize("name", sorted(app.commands))
def test_every_command_stands_on_the_page(name):
    assert f"`kubectl rlhf {name} " in PAGE.read_text()

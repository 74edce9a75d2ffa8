"""Pages show what the commands print, and the plugin's own one every command that there is."""

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


@pytest.mark.parametrize(
    ("page", "least"),
    [
        pytest.param(PAGE, 11, id="the plugin's page"),
        pytest.param(ROOT / "README.md", 1, id="the first page"),
    ],
)
def test_a_page_shows_what_the_commands_print(page, least):
    text = page.read_text()
    wanted = _BLOCK.sub(lambda block: shown(block[1]), text)
    if os.environ.get("GOLDEN") == "write":
        page.write_text(wanted)
    assert len(_BLOCK.findall(text)) >= least
    assert text == wanted or os.environ.get("GOLDEN") == "write", "run with GOLDEN=write"


@pytest.mark.parametrize("name", sorted(app.commands))
def test_every_command_stands_on_the_page(name):
    assert f"`kubectl rlhf {name} " in PAGE.read_text()

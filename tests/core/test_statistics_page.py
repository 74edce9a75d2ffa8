"""The worked numbers of docs/statistics.md are what the code answers."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from rlhf_operator.core import statistics

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"


def test_each_worked_number_is_the_codes_answer() -> None:
    sessions = "\n".join(re.findall(r"```pycon\n(.*?)```", PAGE.read_text(), re.DOTALL))
    test = doctest.DocTestParser().get_doctest(sessions, {}, PAGE.name, str(PAGE), 0)
    report: list[str] = []
    result = doctest.DocTestRunner().run(test, out=report.append)
    assert result.attempted > 30
    assert result.failed == 0, "".join(report)


def test_each_method_is_on_the_page() -> None:
    text = PAGE.read_text()
    functions = [name for name in statistics.__all__ if name[0].islower()]
    assert [name for name in functions if name not in text] == []

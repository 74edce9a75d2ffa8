"""One row of a decision table: a sentence, the rule that should answer, and its answer."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import rollout
from rlhf_operator.core.decision import Action, Decision
from tests.builders import make_observed


def row(sentence: str, rule: str, action: Action, reason: Reason, /, **changes: Any) -> Any:
    """A picture by its difference from the plain one, and what should be decided."""
    return pytest.param(rule, action, reason, changes, id=sentence)


def check(rule: str, action: Action, reason: Reason, changes: dict[str, Any]) -> Decision:
    decision = rollout.decide(make_observed(**changes))
    told = (decision.rule, decision.action, decision.reason)
    assert told == (rule, action, reason), decision.message
    assert decision.message
    return decision

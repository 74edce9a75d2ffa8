"""What no guard can show is told, and never taken for none."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.api.measure import Indicator
from rlhf_operator.api.policy import SLO
from rlhf_operator.core import unseen
from rlhf_operator.core.indicators import measure

NOTHING: dict[str, Any] = {}
WORDS = {
    "name": "words",
    "type": "Rules",
    "appliesTo": ["Output"],
    "action": "Flag",
    "rules": [{"category": "bias", "keywords": ["slur"]}],
}
INPUT = WORDS | {"appliesTo": ["Input"]}


def outside(contract: str, **more: Any) -> dict[str, Any]:
    external = {"service": {"name": "m", "port": 80}, "contract": contract, **more}
    return {"name": "m", "type": "External", "appliesTo": ["Output"], "action": "Flag",
            "external": external}  # fmt: skip


OPENAI = outside("OpenAIModeration")
MAPPED = {"text": "/text", "flagged": "/bad"}


@pytest.mark.parametrize(
    ("guard", "asked", "said"),
    [
        pytest.param(NOTHING, ("RefusalRate",), "refusalPatterns is empty", id="no pattern"),
        pytest.param({"refusalPatterns": ["^no"]}, ("RefusalRate",), None, id="a pattern"),
        pytest.param(NOTHING, ("UnsafeServedRate",), "no stage of the guard looks", id="no stage"),
        pytest.param({"stages": [INPUT]}, ("UnsafeServedRate",), "looks at", id="only prompts"),
        pytest.param({"stages": [WORDS]}, ("UnsafeServedRate",), None, id="a stage"),
        pytest.param(
            {"stages": [WORDS]}, ("UnsafeServedCount", "bias", "csae"), "known to find csae; found "
            "are bias", id="a category that no stage finds",
        ),
        pytest.param({"stages": [WORDS]}, ("UnsafeGeneratedRate", "bias"), None, id="one it finds"),
        pytest.param({"stages": [OPENAI]}, ("UnsafeServedRate", "sexual-minors"), None,
                     id="a service by its own names"),
        pytest.param({"stages": [OPENAI]}, ("UnsafeServedRate", "csae"), "known to find csae",
                     id="a name that the service does not have"),
        pytest.param({"stages": [outside("JSON", mapping=MAPPED | {"categories": "/what"})]},
                     ("UnsafeServedRate", "csae"), None, id="names that only the service knows"),
        pytest.param(NOTHING, ("GuardBypassRate",), None, id="what is counted always"),
    ],
)  # fmt: skip
def test_an_objective_that_no_guard_can_serve_is_told(
    guard: dict[str, Any], asked: tuple[str, ...], said: str | None
) -> None:
    kind, *categories = asked
    indicator = Indicator.model_validate({"type": kind, "categories": categories})
    found = unseen.why(GuardSpec.model_validate(guard), indicator)
    assert found is None if said is None else said in (found or "")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("RefusalRate",), "guard.refusalPatterns is empty"),
        (("UnsafeServedRate",), "no stage of the guard looks at answers"),
        (("UnsafeServedRate", "csae"), "known to find csae"),
        (("UnsafeGeneratedRate", "bias", "csae"), "known to find bias or csae"),
        (("ErrorRate",), None),
    ],
)
def test_a_series_that_is_missing_beside_others_has_a_reason(
    asked: tuple[str, ...], said: str | None
) -> None:
    kind, *categories = asked
    slo = {"name": "x", "class": "Quality", "max": "1",
           "indicator": {"type": kind, "categories": categories}}  # fmt: skip
    found = unseen.guess(measure(SLO.model_validate(slo)))
    assert found is None if said is None else said in (found or "")

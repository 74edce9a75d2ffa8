"""What is exported at 0 is what something can raise; of all else there is no series."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.guard.judge import Judged
from rlhf_operator.guard.metrics import Instruments
from rlhf_operator.guard.rules import compile_guard
from rlhf_operator.guard.verdict import Hit, Verdict
from tests.guard.world import MakeWorld, a_stage

BOTH = {"stages": [a_stage()], "refusalPatterns": ["^no"]}
REFUSED = {"refused_total", "over_refused_total", "first_events_total:refused"}
UNSAFE = {
    f"unsafe_{which}{rest}"
    for which in ("generated", "served")
    for rest in ("_responses_total", "_total:bias", "_sets_total:bias")
} | {"first_events_total:unsafe_served", "first_events_total:unsafe_generated"}
COUNTED = REFUSED | UNSAFE


def instruments(**guard: Any) -> Instruments:
    spec = GuardSpec.model_validate(guard)
    return Instruments(spec, compile_guard(spec), version="v1")


def exported(made: Instruments) -> dict[str, float]:
    return {
        ":".join((sample.name.removeprefix("rlhf_guard_"), *sample.labels.values())): sample.value
        for family in made.registry.collect()
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("guard", "there"),
    [
        pytest.param({}, set(), id="nothing looks"),
        pytest.param({"refusalPatterns": ["^no"]}, REFUSED, id="patterns of refusals"),
        pytest.param({"stages": [a_stage()]}, UNSAFE, id="a stage that sees answers"),
        pytest.param({"stages": [a_stage(appliesTo=["Input"])]}, set(), id="only prompts"),
        pytest.param(BOTH, COUNTED, id="both"),
    ],
)
def test_counters_are_there_where_something_can_raise_them(
    guard: dict[str, Any], there: set[str]
) -> None:
    seen = exported(instruments(**guard))
    assert {name for name in COUNTED if seen.get(name) == 0} == there
    assert COUNTED - seen.keys() == COUNTED - there
    assert seen["generated_responses_total"] == seen["first_events_total:error"] == 0


def test_rules_that_change_take_their_counters_with_them_and_begin_anew() -> None:
    made = instruments(**BOTH)
    hit = Hit(stage="words", category="bias", action="Flag")
    answer = Judged(text="", asked=Verdict(), made=Verdict(hits=(hit,)), is_refusal=True, length=1)
    for guard, there in ((BOTH, 1), ({}, None), (BOTH, 0)):
        spec = GuardSpec.model_validate(guard)
        made.take(spec, compile_guard(spec))
        if there == 1:
            made.count_generated(answer)
            made.count_served(answer)
        seen = exported(made)
        assert {seen.get(name) for name in COUNTED} == {there}


FOUND = [
    a_stage("first", appliesTo=["Input", "Output"]),
    a_stage("second", rules=[{"category": "violence", "keywords": ["bomb"]}]),
]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_is_found_counts_by_stage_direction_and_category(
    make_world: MakeWorld, is_stream: bool
) -> None:
    world = await make_world(guard={"stages": FOUND})
    said = "a bomb for those people, a bomb"
    world.triton.text = said
    if is_stream:
        world.triton.stream(*said)
    await (await world.complete("a slur", stream=is_stream)).read()
    seen = await world.metrics()
    assert {name: value for name, value in seen.items() if name.startswith("found_total")} == {
        f'found_total{{category="{category}",direction="{direction}",stage="{stage}"}}': value
        for stage, direction, category, value in (
            ("first", "input", "bias", 1),
            ("first", "input", "violence", 0),
            ("first", "output", "bias", 1),
            ("first", "output", "violence", 1),
            ("second", "output", "violence", 1),
        )
    }

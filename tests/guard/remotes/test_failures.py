"""An error is never an allow: each way to fail, through the whole guard.

And what was redacted does not leave for a service that stands behind.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from rlhf_operator.guard.remotes.breaker import Circuit
from rlhf_operator.guard.remotes.inquiry import Inquiry
from rlhf_operator.guard.verdict import Unjudged
from tests.guard.remotes.conftest import MakeService
from tests.guard.remotes.services import OPENAI, StubService, litellm, openai
from tests.guard.remotes.test_inquiry import a_stage
from tests.guard.world import MakeWorld, World
from tests.guard.world import a_stage as a_rules_stage

WITHHELD = "I'm sorry, but I can't answer that right now."
ANSWER = "A fine answer."


async def failing(
    make_world: MakeWorld, service: StubService, how: Unjudged, **changes: Any
) -> World:
    """Return a world whose one stage fails in this way."""
    given: dict[str, Any] = litellm()
    stage: dict[str, Any] = {"timeout": "5s", **changes}
    budget = "10s"
    match how:
        case Unjudged.TIMEOUT:
            service.is_dead, stage["timeout"] = True, "30ms"
        case Unjudged.NO_BUDGET:
            service.is_dead, budget = True, "30ms"
        case Unjudged.UNREACHABLE:
            service.status = 503
        case Unjudged.REFUSED:
            service.status = 401
        case Unjudged.BAD_ANSWER:
            service.answer = lambda _: {"action": "ALLOW"}
        case Unjudged.NOT_SET_UP:
            given = litellm(credentials={"secretName": "gone", "key": "gone"})
        case Unjudged.CIRCUIT_OPEN:
            pass
    stages = [a_stage(given, service.port, **stage)]
    world = await make_world(guard={"stages": stages, "budget": budget})
    if how is Unjudged.CIRCUIT_OPEN:
        remote = world.guard.pipeline.steps[0].check
        assert isinstance(remote, Inquiry)
        remote.circuit = Circuit(opened=1, open_until=remote.clock() + 3600)
    return world


TABLE = list(
    product(Unjudged, ("Closed", "Open"), ("Input", "Output"), ("Block", "Redact", "Flag"))
)


@pytest.mark.parametrize(("how", "policy", "direction", "action"), TABLE)
async def test_what_a_failure_does(
    make_world: MakeWorld, service: StubService,
    how: Unjudged, policy: str, direction: str, action: str,
) -> None:  # fmt: skip
    world = await failing(
        make_world, service, how, failurePolicy=policy, appliesTo=[direction], action=action
    )
    reply = await world.complete()
    body = await reply.json()
    metrics = await world.metrics()
    opens = policy == "Open"
    assert body["choices"][0]["text"] == (ANSWER if opens else WITHHELD)
    assert reply.headers["x-rlhf-verdict"] == ("ok" if opens else "withheld")
    assert len(world.triton.asked) == (1 if opens or direction == "Output" else 0)
    decided = (
        f'stage_decisions_total{{decision="%s",direction="{direction.lower()}",stage="asked"}}'
    )
    assert {
        "responses": metrics["responses_total"],
        "withheld": metrics["withheld_total"],
        "bypassed answers": metrics["bypassed_responses_total"],
        "bypasses": metrics['bypasses_total{stage="asked"}'],
        "errors": metrics[f'stage_errors_total{{reason="{how.value}",stage="asked"}}'],
        "decided error": metrics[decided % "error"],
        "decided allowed": metrics[decided % "allowed"],
        "blocked": metrics["blocked_responses_total"],
    } == {
        "responses": 1, "withheld": 1 - opens, "bypassed answers": opens, "bypasses": opens,
        "errors": 1, "decided error": 1, "decided allowed": 0, "blocked": 0,
    }  # fmt: skip
    all_errors = sum(n for name, n in metrics.items() if name.startswith("stage_errors_total"))
    assert all_errors == 1


@pytest.mark.parametrize("how", [Unjudged.TIMEOUT, Unjudged.BAD_ANSWER])
async def test_an_answer_that_passed_two_stages_unjudged_is_bypassed_once(
    make_world: MakeWorld, service: StubService, how: Unjudged
) -> None:
    world = await failing(make_world, service, how, failurePolicy="Open")  # prompt and answer
    assert (await world.complete()).headers["x-rlhf-verdict"] == "ok"
    metrics = await world.metrics()
    assert metrics['bypasses_total{stage="asked"}'] == 2
    assert metrics["bypassed_responses_total"] == metrics["responses_total"] == 1


@pytest.mark.parametrize("how", Unjudged)
async def test_where_all_is_blocked_no_stage_fails_open(
    make_world: MakeWorld, service: StubService, how: Unjudged
) -> None:
    world = await failing(make_world, service, how, failurePolicy="Open")
    world.guard.pipeline = replace(
        world.guard.pipeline,
        steps=tuple(
            replace(step, passes_failed=False, action="Block")
            for step in world.guard.pipeline.steps
        ),
    )
    reply = await world.complete()
    assert reply.headers["x-rlhf-verdict"] == "withheld"
    assert (await world.metrics())['bypasses_total{stage="asked"}'] == 0


async def test_what_was_found_before_an_error_blocks_also_where_errors_pass(
    make_world: MakeWorld, service: StubService
) -> None:
    def answer(asked: dict[str, Any]) -> Any:
        text = asked["inputs"][0]["data"][0]
        scores = {"name": "scores", "datatype": "FP32", "shape": [1, 1], "data": [0.9]}
        return {"outputs": [scores]} if "bomb" in text else {"error": "no"}

    service.answer = answer
    classifier = {
        "model": "m", "labels": ["harm"], "categories": [{"category": "harm", "atLeast": "0.5"}]
    }  # fmt: skip
    stage = a_stage(classifier, service.port, appliesTo=["Output"], failurePolicy="Open")
    world = await make_world(guard={"stages": [stage]})
    world.triton.text = "x " * 2000 + "bomb"
    assert (await world.complete()).headers["x-rlhf-verdict"] == "blocked"


async def test_a_service_is_not_shown_what_rules_redacted(
    make_world: MakeWorld, service: StubService
) -> None:
    stages = [
        a_rules_stage(appliesTo=["Input"], action="Redact"),
        a_stage(OPENAI, service.port, appliesTo=["Input"]),
    ]
    world = await make_world(guard={"stages": stages})
    await world.complete("A bomb for those people")
    (asked,) = service.asked
    assert "bomb" not in asked["input"] and "people" not in asked["input"]
    assert "[violence]" in asked["input"]


async def test_a_service_is_not_shown_what_its_neighbour_redacted(
    make_world: MakeWorld, make_service: MakeService
) -> None:
    redacts, judges = await make_service(), await make_service()
    redacts.answer = lambda asked: {
        "action": "GUARDRAIL_INTERVENED", "texts": [asked["texts"][0].replace("Ann", "[name]")]
    }  # fmt: skip
    stages = [
        a_stage(litellm(), redacts.port, name="redacts", action="Redact"),
        a_stage(OPENAI, judges.port, name="judges"),
    ]
    world = await make_world(guard={"stages": stages})
    world.triton.text = "Hello Ann"
    body = await (await world.complete("I am Ann")).json()
    assert [each["input"] for each in judges.asked] == ["I am [name]", "Hello [name]"]
    assert world.triton.asked[0]["text_input"] == "I am [name]"
    assert body["choices"][0]["text"] == "Hello [name]"


async def test_two_services_that_redact_both_have_their_say(
    make_world: MakeWorld, make_service: MakeService
) -> None:
    stages = []
    for word in ("Ann", "Bob"):
        stub = await make_service()
        stub.answer = lambda asked, word=word: {
            "action": "GUARDRAIL_INTERVENED", "texts": [asked["texts"][0].replace(word, "…")]
        }  # fmt: skip
        stages.append(a_stage(litellm(), stub.port, name=word.lower(), action="Redact"))
    world = await make_world(guard={"stages": stages})
    await world.complete("Ann and Bob")
    assert world.triton.asked[0]["text_input"] == "… and …"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param({"action": "BLOCKED", "blocked_reason": "x"}, "[other]", id="blocked"),
        pytest.param({"action": "GUARDRAIL_INTERVENED"}, "[other]", id="no text"),
        pytest.param({"action": "GUARDRAIL_INTERVENED", "texts": [""]}, "", id="nothing is left"),
        pytest.param({"action": "NONE"}, "Ann lives here", id="nothing found"),
    ],
)
async def test_what_is_left_of_a_text_that_a_service_redacts(
    make_world: MakeWorld, service: StubService, answer: Any, text: str
) -> None:
    service.answer = lambda _: answer
    stage = a_stage(litellm(), service.port, appliesTo=["Output"], action="Redact")
    world = await make_world(guard={"stages": [stage]})
    world.triton.text = "Ann lives here"
    body = await (await world.complete()).json()
    assert body["choices"][0]["text"] == text


async def test_what_a_service_finds_is_counted_by_its_category(
    make_world: MakeWorld, service: StubService
) -> None:
    service.answer = lambda _: openai("self-harm/intent")
    stage = a_stage(OPENAI, service.port, appliesTo=["Output"])
    world = await make_world(guard={"stages": [stage]})
    at_start = await world.metrics()
    assert at_start['unsafe_generated_total{category="self-harm-intent"}'] == 0
    assert (await world.complete()).headers["x-rlhf-verdict"] == "blocked"
    metrics = await world.metrics()
    assert metrics['blocked_total{category="self-harm-intent"}'] == 1
    assert metrics['unsafe_generated_total{category="self-harm-intent"}'] == 1


async def test_a_dead_service_keeps_no_neighbour_from_being_asked(
    make_world: MakeWorld, make_service: MakeService
) -> None:
    first, second = await make_service(), await make_service()
    first.is_dead = True
    stages = [
        a_stage(OPENAI, first.port, name="first", timeout="50ms", failurePolicy="Open",
                appliesTo=["Input"]),
        a_stage(OPENAI, second.port, name="second", appliesTo=["Input"]),
    ]  # fmt: skip
    world = await make_world(guard={"stages": stages})
    assert (await world.complete()).headers["x-rlhf-verdict"] == "ok"
    assert len(first.asked) == len(second.asked) == 1

"""Every way back is kept open, and tried: what users get when a version must be left."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

from e2e.harness import objects
from e2e.harness.kubectl import Object, condition, is_true
from e2e.harness.traffic import Answer, Answers
from e2e.harness.watch import Watch
from e2e.stories.world import TRIGGER, WORDS, Story, steps_of, weights_of

HALF = [{"weight": 50, "hold": "1s"}]
NO_WORSE: Object = {
    "name": "unsafe-answers",
    "class": "Safety",
    "indicator": {"type": "UnsafeServedRate"},
    "versusStable": {"ratio": "4"},
}


def test_the_version_before_keeps_a_share_and_takes_over_from_one_that_turns_bad(
    story: Story,
) -> None:
    """Nothing but the control arm can tell: there is no bound that stands by itself."""
    story.per_second = 12
    story.a_version("sft", share=0.2, seed=1)
    story.a_version("v1", share=0.2, seed=2)
    story.a_version("v2", share=0.2, seed=3, trigger=TRIGGER)
    story.a_policy(NO_WORSE, falseRollback="0.001")
    control = {"keep": "10m", "holdback": 20}
    story.a_model("sft", steps=HALF, guard=WORDS, standby=control)
    story.commit("v1")
    story.until_stable("v1")
    story.commit("v2")
    story.until_stable("v2")

    before = story.until("Ready", lambda model: story.ready(model, "True"))
    assert _weights(before) == story.routed() == {"v2": 80, "v1": 20}
    answers = story.until_answers("enough answers", lambda found: len(found.all) >= 60)
    assert 0.05 < answers.shares()["v1"] < 0.4, "about a fifth"

    story.users_say(TRIGGER)
    story.until_stable("v1")
    model = story.until_stalled("Quarantined")
    assert model["metadata"]["generation"] == before["metadata"]["generation"]
    assert story.kubectl.list("rlhfdecision") == []
    assert story.told()[-2:] == [("Rollout", "v2", "Promoted"), ("Rollback", "v1", "Promoted")]
    cause = story.history[-1]["spec"]["cause"]
    assert cause["reason"] == "SafetyFailed"
    (proof,) = cause["evidence"]
    assert float(proof["ratioLow"]) > 1, "worse than the control arm on the same traffic"
    story.every_answer_comes_from("v1")
    assert _weights(model) == story.routed() == {"v1": 100}
    story.nobody_was_turned_away()


def test_a_drill_proves_that_the_fallback_answers_users(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    drill = {"every": "1m", "percent": 20, "hold": "3s"}
    story.a_model("sft", steps=HALF, rollbackDrill=drill)
    story.commit("v1")
    story.until_stable("v1")
    model = story.until(
        "Ready, and not proven yet",
        lambda model: (
            story.ready(model, "True")
            and condition(model, "FallbackProven").get("status") == "Unknown"
        ),
    )
    assert "fallbackProvenAt" not in model["status"]
    watch = story.stack.enter_context(Watch(story.kubectl, "rlhfmodel"))

    story.until_weight("sft", 20)
    begun = time.time()
    model = story.until("it is proven", lambda found: is_true(found, "FallbackProven"))
    record = story.history[-1]
    assert story.told()[-2:] == [("Rollout", "v1", "Promoted"), ("Drill", "sft", "Proven")]
    assert model["status"]["fallbackProvenAt"] == record["status"]["finishedAt"]
    (count,) = (each for each in record["status"]["slos"] if each["name"] == "drill-answers")
    assert 0 < count["samples"] <= len(story.answers().since(begun - 2).of("sft").all)
    story.until_stable("v1")
    story.every_answer_comes_from("v1")
    seen = [change.object for change in watch.changes()]
    assert {each["status"]["stable"]["name"] for each in seen} == {"v1"}
    assert all(is_true(each, "Ready") for each in seen), "a drill is no change of what is live"
    story.nobody_was_turned_away()


def test_where_nothing_is_safe_users_are_refused_until_something_is(story: Story) -> None:
    story.a_version("sft", trigger=TRIGGER)
    story.a_version("v1", share=0.6)
    story.a_version("v2")
    story.a_policy()
    story.a_model("sft", steps=HALF, rollout={"whenNothingIsSafe": "Refuse"})
    story.commit("v1")
    story.until_stalled("Quarantined")
    story.nobody_was_turned_away()

    story.users_say(TRIGGER)
    story.until("it refuses", _refuses)
    story.until_answers(
        "every user is refused",
        lambda found: len(found.all) > 20 and all(each.status == 503 for each in found.all[-20:]),
    )
    status, headers, error = _ask_once(story)
    assert (status, error["code"], error["type"]) == (503, "nothing_safe", "server_error")
    assert int(headers["Retry-After"]) > 0
    story.throughout(
        6,
        "it refuses with pods that are ready",
        lambda model: _refuses(model) and _has_ready_pod(model, "sft"),
    )
    model = story.until_stalled("Quarantined")
    assert story.ready(model, "False")

    story.commit("v2")
    story.until_stable("v2")
    model = story.until("Ready", lambda found: story.ready(found, "True"))
    assert not condition(model, "Refusing")
    served = time.time()
    story.every_answer_comes_from("v2")
    failed = Answers(story.answers().failed)
    assert not failed.asked(served).all, "nobody is refused any more"
    assert all(each.status == 503 and "nothing_safe" in each.error for each in failed.all)


def test_all_users_change_at_once_and_come_back_to_pods_that_were_kept(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1")
    story.a_version("bad", share=0.6)
    story.a_policy()
    story.a_model(
        "sft",
        rollout={"strategy": "BlueGreen", "surge": "Full", "blueGreen": {"hold": "3s"}},
        serving={"replicas": 2, "podTemplate": objects.small_pods()},
    )
    watch = story.stack.enter_context(Watch(story.kubectl, "httproute"))
    story.commit("v1")
    story.until_stable("v1")
    story.until("Ready", lambda model: story.ready(model, "True"))
    story.every_answer_comes_from("v1")
    ((_, first), (switched, second)) = _routed(watch)
    assert (first, second) == ({"sft": 100}, {"v1": 100})
    answers = story.answers()
    # The gateway takes a moment to hear of its route.
    assert answers.asked(0, switched - 1).shares() == {"sft": 1.0}
    assert answers.asked(switched + 2).shares() == {"v1": 1.0}

    kept = story.pods("v1")
    assert len(kept) == 2
    story.commit("bad")
    story.until_stalled("Quarantined")
    story.every_answer_comes_from("v1")
    assert story.told()[-1] == ("Rollout", "bad", "RolledBack")
    assert steps_of(story.history[-1]) == [0, 100]
    there, back = [weights for _, weights in _routed(watch)[2:]]
    assert (there, back) == ({"bad": 100}, {"v1": 100}), "each way in one step"
    assert story.answers().of("bad").unsafe, "it was judged by what users got"
    assert story.pods("v1") == kept
    story.nobody_was_turned_away()


def test_where_the_model_is_not_to_blame_traffic_flees_only_once(story: Story) -> None:
    """Users begin to ask for something to which every version says the same."""
    story.a_version("sft", trigger=TRIGGER)
    story.a_version("v1", trigger=TRIGGER)
    story.a_policy()
    story.a_model("sft", steps=HALF)
    story.commit("v1")
    story.until_stable("v1")

    story.users_say(TRIGGER)
    model = story.until_stalled("NotTheModel")
    assert is_true(model, "NotTheModel")
    assert "sft fails like v1" in condition(model, "NotTheModel")["message"]
    fled = [("Rollout", "v1", "Promoted"), ("Fallback", "sft", "Promoted")]
    assert story.told()[1:] == fled
    story.throughout(
        10,
        "it is left to people",
        lambda found: is_true(found, "NotTheModel") and found["status"]["stable"]["name"] == "sft",
    )
    # The floor has nowhere to go to. That its guard blocks is no move.
    story.until_answers(
        "nobody reads what is unsafe any more",
        lambda found: len(found.all) > 20 and all(_is_blocked(each) for each in found.all[-20:]),
    )
    assert {each.version for each in story.answers().all[-20:]} == {"sft"}
    assert story.told()[1:] == fled
    story.nobody_was_turned_away()


def _weights(model: Object) -> dict[str, int]:
    """Return the percent of the traffic that each version gets, as the model's status says."""
    rows = model["status"]["versions"]
    return {row["name"]: row["weight"] for row in rows if row.get("weight")}


def _is_blocked(answer: Answer) -> bool:
    return answer.verdict == "blocked" and not answer.is_unsafe


def _refuses(model: Object) -> bool:
    return is_true(model, "Refusing")


def _has_ready_pod(model: Object, version: str) -> bool:
    rows = {row["name"]: row for row in model["status"]["versions"]}
    return bool(rows[version]["ready"] == "1/1")


def _ask_once(story: Story) -> tuple[int, Mapping[str, str], Object]:
    """Ask as any client does; return the status, the headers and what the body says of an error."""
    asked = {"messages": [{"role": "user", "content": "is anybody there"}], "max_tokens": 8}
    request = urllib.request.Request(
        f"{story.endpoints.gateway_url}/v1/chat/completions",
        data=json.dumps(asked).encode(),
        headers={"Host": story.host, "Content-Type": "application/json"},
    )
    # The gateway is on this machine or near: a proxy set in the environment is not for it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as reply:
            return reply.status, reply.headers, {}
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, json.load(refused)["error"]


def _routed(watch: Watch) -> list[tuple[float, dict[str, int]]]:
    """Return the weights that the route had one after the other, and when each was seen first."""
    found: list[tuple[float, dict[str, int]]] = []
    for change in watch.changes():
        weights = weights_of(change.object)
        if not found or found[-1][1] != weights:
            found.append((change.at, weights))
    return found

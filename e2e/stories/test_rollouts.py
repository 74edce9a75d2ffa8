"""What a team sees when it ships: promotion, rollback, and everything that may come between."""

from __future__ import annotations

import json
import time

from e2e.harness import objects
from e2e.harness.kubectl import condition
from e2e.stories.world import TRIGGER, Story, reason_of, steps_of

_BUCKETS = "rate(rlhf_guard_request_duration_seconds_bucket[8s])"
LATENCY = {
    "name": "p95-latency",
    "class": "Performance",
    "query": {
        "promQL": f"histogram_quantile(0.95, "
        f"sum by (namespace, rlhf_model, rlhf_version, le) ({_BUCKETS}))",
        "samples": "rlhf_guard_requests_total",
        "betterWhen": "Lower",
    },
    "max": "30",
    "failureLimit": 3,
}


def test_the_fallback_serves_first_and_a_good_version_is_promoted(story: Story) -> None:
    """And then somebody scales it, as an autoscaler would."""
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy(objects.safety_slo(max="0.2", minSamples=10), LATENCY)
    story.a_model("sft")
    story.every_answer_comes_from("sft")

    story.commit("v1")
    story.until_weight("v1", 25)
    story.until_answers("both arms answer", lambda found: len(found.shares()) == 2)
    story.until_stable("v1")
    story.until("Ready", lambda model: story.ready(model, "True"))
    story.every_answer_comes_from("v1")
    assert story.told() == [("Initial", "sft", "Promoted"), ("Rollout", "v1", "Promoted")]
    assert steps_of(story.history[-1]) == [0, 25, 50]
    evidence = {each["name"]: each for each in story.history[-1]["status"]["steps"][1]["slos"]}
    assert {each["verdict"] for each in evidence.values()} == {"Successful"}
    assert evidence["unsafe-answers"]["samples"] >= 10
    assert 0 < float(evidence["p95-latency"]["value"]) < 30

    story.kubectl.run("scale", "rlhfmodel/support", "--replicas=2")
    story.until("two pods", lambda model: model["status"]["replicas"] == 2)
    found = story.kubectl.run("get", "rlhfmodel/support", "--subresource=scale", "--output=json")
    scale = json.loads(found)
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (2, 2)
    counted = story.kubectl.list("pod", selector=scale["status"]["selector"])
    assert {pod["metadata"]["name"] for pod in counted} == story.pods("v1").keys()
    assert len(counted) == 2
    assert len(story.history) == 2, "more pods are no change of what is live"
    story.nobody_was_turned_away()


def test_an_unsafe_version_is_rolled_back_and_quarantined_under_any_name(story: Story) -> None:
    story.a_version("sft")
    story.a_version("bad", share=0.6)
    story.a_policy()
    story.a_model("sft")

    story.commit("bad")
    model = story.until_stalled("Quarantined")
    assert model["status"]["stable"]["name"] == "sft"
    assert story.told()[-1] == ("Rollout", "bad", "RolledBack")
    record = story.history[-1]["status"]
    assert record["reason"] == "SafetyFailed"
    assert "unsafe-answers" in record["message"]
    story.every_answer_comes_from("sft")

    story.a_version("bad-again", like="bad", share=0.6)
    story.commit("bad-again")
    story.until(
        "the new name is refused",
        lambda found: "bad-again" in condition(found, "Stalled").get("message", ""),
    )
    assert len(story.history) == 2
    story.nobody_was_turned_away()


def test_a_version_that_turns_unsafe_after_promotion_is_left(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1", trigger=TRIGGER)
    story.a_policy()
    story.a_model("sft", standby={"replicas": 1, "keep": "10m"})
    story.commit("v1")
    story.until_stable("v1")

    story.users_say(TRIGGER)
    story.until_stable("sft")
    story.until_stalled("Quarantined")
    story.every_answer_comes_from("sft")
    last = story.history[-1]
    assert last["spec"]["type"] in ("Rollback", "Fallback")
    assert last["spec"]["cause"]["reason"] == "SafetyFailed"
    story.nobody_was_turned_away()


def test_a_canary_that_never_gets_ready_gets_no_traffic(story: Story) -> None:
    story.a_version("sft")
    story.a_version("broken", breaks=True)
    story.a_policy()
    story.a_model("sft", rollout={"readyTimeout": "25s"})

    story.commit("broken")
    story.until_stalled("RolledBack")
    assert story.told()[-1] == ("Rollout", "broken", "RolledBack")
    assert story.history[-1]["status"]["reason"] == "NotReady"
    story.every_answer_comes_from("sft")
    assert "broken" not in story.traffic.snapshot().shares()
    story.nobody_was_turned_away()


def test_another_version_mid_run_starts_anew_against_the_old_stable(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1")
    story.a_version("v2")
    story.a_policy()
    story.a_model("sft", steps=[{"weight": 30, "hold": "60s"}])
    story.commit("v1")
    story.until_weight("v1", 30)

    story.commit("v2")
    story.until_weight("v2", 30)
    assert story.told()[1] == ("Rollout", "v1", "Superseded")
    assert story.history[-1]["spec"]["from"]["name"] == "sft"
    answers = story.until_answers("v2 answers", lambda found: "v2" in found.shares())
    assert "v2" in answers.shares()
    story.nobody_was_turned_away()


def test_stable_pods_are_lost_and_come_back(story: Story) -> None:
    """Until one is there again, who is sent to stable gets no answer: the rest get theirs."""
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model("sft", steps=[{"weight": 30, "hold": "25s"}])
    story.commit("v1")
    story.until_weight("v1", 30)
    story.until_answers("both arms answer", lambda found: len(found.shares()) == 2)
    story.nobody_was_turned_away()

    lost, since = story.pods("sft"), time.time()
    story.kubectl.run("delete", "pod", *lost, "--force", "--grace-period=0")
    story.until("the loss is told", lambda model: reason_of(model) == "StableNotServing")
    assert story.routed() == {"sft": 70, "v1": 30}
    story.until("stable is back", lambda model: reason_of(model) != "StableNotServing")
    assert not story.pods("sft").keys() & lost.keys()
    story.until_answers("stable answers again", lambda found: "sft" in found.shares())
    back = time.time()
    assert story.answers().asked(since, back).of("v1").all, "v1 answered all the time"

    story.until_stable("v1")
    assert steps_of(story.history[-1]) == [0, 30]
    assert story.told()[-1] == ("Rollout", "v1", "Promoted")
    story.every_answer_comes_from("v1")
    assert not story.answers().asked(back).failed

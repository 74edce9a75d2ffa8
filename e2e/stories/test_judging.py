"""How versions are judged by what users get. The models throw dice, so that nothing is certain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.harness import prometheus
from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Object, condition
from e2e.harness.person import Person
from e2e.harness.traffic import Opinions
from e2e.stories.world import HALF, MODEL, TRIGGER, WORDS, Story, reason_of, steps_of

UNSAFE: Object = {
    "name": "unsafe-answers",
    "class": "Safety",
    "indicator": {"type": "UnsafeServedRate"},
}
NO_WORSE = UNSAFE | {"versusStable": {"ratio": "2.0"}}
_KINDS = (
    "rlhfmodels,rlhfmodelversions,alignmentpolicies,rlhfrollouts,rlhfdecisions,"
    "pods,deployments,services,httproutes"
)


def test_a_version_three_times_as_bad_is_rolled_back(story: Story) -> None:
    story.a_version("sft", share=0.2, seed=1)
    story.a_version("worse", share=0.6, seed=2)
    story.a_policy(NO_WORSE)
    story.a_model("sft", steps=HALF, guard=WORDS)
    ann = _ann(story)

    with ann.follow("watch", MODEL) as watch:
        watch.until("sft serves all traffic")
        story.commit("worse")
        model = story.until_stalled("Quarantined")
        seen = watch.until("Quarantined: worse")
    assert model["status"]["stable"]["name"] == "sft"
    assert story.told()[-1] == ("Rollout", "worse", "RolledBack")
    record = story.history[-1]
    assert record["status"]["reason"] == "SafetyFailed"
    assert steps_of(record) == [0, 50]
    proof = _evidence(record)
    assert proof["verdict"] == "Failed"
    assert float(proof["harm"]) >= float(proof["harmProven"])
    assert float(proof["ratioLow"]) > 1
    story.every_answer_comes_from("sft")
    assert story.routed()["sft"] == 100

    answers = story.answers()
    assert len(answers.of("worse").unsafe) >= proof["events"], "more was counted than was read"
    shares = {each: _share_of_unsafe(story, each) for each in ("sft", "worse")}
    assert shares["worse"] > 1.5 * shares["sft"]
    story.nobody_was_turned_away()
    _keep(story, "worse", seen, ann.rlhf("why", MODEL))


def test_a_version_that_is_no_worse_is_promoted(story: Story) -> None:
    """In more than a minute, so that the record tells in between how far it has come."""
    story.per_second = 4
    story.a_version("sft", share=0.2, seed=3)
    story.a_version("v1", share=0.2, seed=4)
    story.a_policy(NO_WORSE)
    story.a_model("sft", steps=HALF, guard=WORDS, rollout={"maxHold": "5m"})
    ann = _ann(story)

    with ann.follow("watch", MODEL) as watch:
        watch.until("sft serves all traffic")
        story.commit("v1")
        story.until("the record is halfway", lambda _: _is_weighed(story.history[-1]))
        midway = ann.rlhf("watch", MODEL, "--once")
        _keep(story, "equal-midway", midway)
        story.until_stable("v1")
        seen = watch.until("v1 serves all traffic")
    assert story.told()[-1] == ("Rollout", "v1", "Promoted")
    record = story.history[-1]
    assert steps_of(record) == [0, 50]
    proof = _evidence(record)
    assert proof["verdict"] == "Successful"
    assert float(proof["good"]) >= float(proof["goodProven"])
    assert float(proof["ratio"]) < 2
    assert len(story.answers().of("v1").unsafe) >= proof["events"] > 0
    story.until("Ready", lambda model: story.ready(model, "True"))
    story.every_answer_comes_from("v1")
    story.nobody_was_turned_away()
    _keep(story, "equal", seen, ann.rlhf("why", MODEL))


def test_what_turns_bad_after_its_promotion_is_left_with_nobody_touching_anything(
    story: Story,
) -> None:
    """Users begin to ask for something; then v2 gives flagged answers to most, v1 never does."""
    story.a_version("sft", share=0.1, seed=5)
    story.a_version("v1", share=0.1, seed=6)
    story.a_version("v2", share=0.1, seed=7, trigger=TRIGGER, triggered=0.7)
    story.a_policy(UNSAFE | {"max": "0.3"})
    story.a_model("sft", steps=HALF, guard=WORDS)
    story.commit("v1")
    story.until_stable("v1")
    story.commit("v2")
    story.until_stable("v2")
    before = story.until("Ready", lambda model: story.ready(model, "True"))
    assert len(story.pods("v1")) == 1, "the version before is kept warm"

    story.users_say(TRIGGER)
    story.until_stable("v1")
    model = story.until_stalled("Quarantined")
    assert model["metadata"]["generation"] == before["metadata"]["generation"]
    assert story.kubectl.list("rlhfdecision") == []
    assert story.told()[-2:] == [("Rollout", "v2", "Promoted"), ("Rollback", "v1", "Promoted")]
    record = story.history[-1]
    assert record["spec"]["from"]["name"] == "v2"
    assert record["status"]["reason"] == record["spec"]["cause"]["reason"] == "SafetyFailed"
    assert "evidence" in record["status"]["message"]
    story.every_answer_comes_from("v1")
    story.nobody_was_turned_away()
    ann = _ann(story)
    _keep(story, "after-promotion", ann.rlhf("history", MODEL), ann.rlhf("why", MODEL))


def test_an_ab_test_finds_the_better_of_two(story: Story) -> None:
    """Users say of each answer whether it did their task."""
    users = story.opinions = Opinions(done={"sft": 0.35, "v1": 0.75, "v2": 0.35}, seed=8)
    for version in ("sft", "v1", "v2"):
        story.a_version(version)
    story.a_policy()
    primary = {"name": "tasks-done", "indicator": {"type": "TaskCompletionRate"}}
    plan = {"weight": 50, "minimum": "5s", "duration": "5m", "primary": primary}
    story.a_model("sft", rollout={"strategy": "ABTest", "abTest": plan})

    story.commit("v1")
    story.until_stable("v1")
    record = story.history[-1]
    assert story.told()[-1] == ("Rollout", "v1", "Promoted")
    assert steps_of(record) == [0, 50]
    found = _evidence(record, "tasks-done")
    assert float(found["ratioLow"]) > 1
    assert 0 < found["events"] <= users.said["v1", "done"]
    assert 0 < found["stableEvents"] <= users.said["sft", "done"]
    story.every_answer_comes_from("v1")

    story.commit("v2")
    story.until_stalled("RolledBack")
    record = story.history[-1]
    assert story.told()[-1] == ("Rollout", "v2", "RolledBack")
    assert record["status"]["reason"] == "LostABTest"
    assert float(_evidence(record, "tasks-done")["ratioHigh"]) < 1
    assert "quarantine" not in record["status"], "what is only worse is not to blame"
    story.every_answer_comes_from("v1")
    story.nobody_was_turned_away()
    _keep(story, "ab-test", _ann(story).rlhf("why", MODEL))


def test_a_test_of_three_drops_the_unsafe_one_and_finds_the_best(story: Story) -> None:
    """One is unsafe, one is as good as what serves, and one is better, which nobody asks for."""
    users = story.opinions = Opinions(
        done={"sft": 0.35, "equal": 0.35, "better": 0.75, "unsafe": 0.75}, seed=10
    )
    for version in ("sft", "equal", "better"):
        story.a_version(version)
    story.a_version("unsafe", share=0.7, seed=11)
    story.a_policy()
    primary = {"name": "tasks-done", "indicator": {"type": "TaskCompletionRate"}}
    others = [{"version": "unsafe", "weight": 25}, {"version": "better", "weight": 25}]
    plan = {
        "weight": 25, "others": others, "minimum": "5s", "duration": "150s", "primary": primary,
    }  # fmt: skip
    story.a_model("sft", guard=WORDS, rollout={"strategy": "ABTest", "abTest": plan})
    ann = _ann(story)

    story.commit("equal")
    story.until("the unsafe one is dropped", lambda _: "unsafe" in _dropped(story))
    assert _dropped(story)["unsafe"] == "SafetyFailed"
    story.until("the route is without it", lambda _: "unsafe" not in story.routed(), seconds=10)
    assert story.routed() == {"sft": 50, "equal": 25, "better": 25}
    seen = ann.rlhf("watch", MODEL, "--once")
    story.throughout(5, "it stays out", lambda _: "unsafe" not in story.routed())

    story.until_stable("better", seconds=330)
    record = story.history[-1]
    assert story.told()[-1] == ("Rollout", "equal", "Promoted")
    assert record["status"]["stable"]["name"] == "better"
    assert _dropped(story) == {"unsafe": "SafetyFailed", "equal": "OtherWon"}
    blamed = [each["version"] for each in record["status"]["vetoes"]]
    assert blamed == ["unsafe"], "who is only not the best is not to blame"
    found = _evidence(record, "tasks-done")
    assert found["version"] == "better"
    assert 0 < found["events"] <= users.said["better", "done"]
    story.every_answer_comes_from("better")
    assert not story.pods("unsafe") and not story.pods("equal")

    model = story.until_stalled("OtherWon")
    assert "set spec.version to better" in condition(model, "Stalled")["message"]
    assert len(story.history) == 2, "what has lost is not tested again"
    plan["others"] = []
    story.commit("better", rollout=story.model["spec"]["rollout"] | {"abTest": plan})
    story.until("Ready", lambda model: story.ready(model, "True"))
    story.nobody_was_turned_away()
    _keep(story, "ab-test-of-three", seen, ann.rlhf("why", MODEL), ann.rlhf("history", MODEL))


def test_a_shadow_never_answers_a_user(story: Story) -> None:
    story.a_version("sft")
    story.a_version("worse", share=0.7, seed=9)
    story.a_version("v1")
    story.a_policy()
    shadow = {"percent": 50, "hold": "8s", "approval": {"gate": "Leave"}}
    story.a_model("sft", guard=WORDS, rollout={"strategy": "Shadow", "shadow": shadow})

    story.commit("worse")
    story.until_stalled("Quarantined")
    record = story.history[-1]
    assert story.told()[-1] == ("Rollout", "worse", "RolledBack")
    assert record["status"]["reason"] == "SafetyFailed"
    assert _evidence(record)["events"] > 0
    assert story.answers().shares() == {"sft": 1.0}
    assert not story.answers().unsafe, "what was judged is what no user read"

    story.commit("v1")
    story.until("people are asked", lambda model: reason_of(model) == "AwaitingApproval")
    model = story.until("a half is copied", lambda found: found["status"].get("copied") == 50)
    assert (model["status"]["canary"]["name"], model["status"]["weight"]) == ("v1", 0)
    story.until_answers("enough answers", lambda found: len(found.all) > 40)
    assert story.answers().shares() == {"sft": 1.0}
    assert _asked_of(story, "worse") > 0
    assert _asked_of(story, "v1") > 20

    _ann(story).rlhf("approve", MODEL, "-m", "as good as the one that serves")
    story.until_stable("v1")
    story.every_answer_comes_from("v1")
    story.nobody_was_turned_away()


def test_people_decide_by_the_plugin_and_each_in_their_own_name(story: Story) -> None:
    for version in ("sft", "v1", "v2", "v3"):
        story.a_version(version)
    story.a_policy()
    story.a_model("sft", steps=[{"weight": 50, "hold": "3s", "approval": {"count": 1}}])
    ann = _ann(story)

    story.commit("v1")
    story.until("people are asked", _waits_for_people)
    with pytest.raises(HarnessError, match=f"author is bob via {ann.name}, but you are {ann.name}"):
        ann.rlhf("approve", MODEL, "--author", "bob", "-m", "bob has nothing against it")
    story.throughout(4, "it waits", _waits_for_people)
    assert story.kubectl.list("rlhfdecision") == [], "nothing was kept in bob's name"
    said = ann.rlhf("approve", MODEL, "-m", "I read forty answers, they are fine")
    assert "Approve support" in said
    story.until_stable("v1")
    assert _acts(story.history[-1]) == [("Approve", ann.name)]

    # Without a gate, but with a hold that nobody wants to wait for.
    plan = story.model["spec"]["rollout"] | {"canary": {"steps": [{"weight": 50, "hold": "10m"}]}}
    story.commit("v2", rollout=plan)
    story.until_weight("v2", 50)
    story.until("its safety is seen and she may promote it", lambda _: _promotes(ann))
    story.until_stable("v2")
    assert story.told()[-1] == ("Rollout", "v2", "Promoted")
    assert _acts(story.history[-1]) == [("Promote", ann.name)]

    story.commit("v3")
    story.until_weight("v3", 50)
    ann.rlhf("veto", MODEL, "-m", "it promises refunds")
    model = story.until_stalled("Quarantined")
    assert model["status"]["stable"]["name"] == "v2"
    assert story.told()[-1] == ("Rollout", "v3", "RolledBack")
    assert story.history[-1]["status"]["reason"] == "Vetoed"
    assert _acts(story.history[-1]) == [("Veto", ann.name)]
    story.every_answer_comes_from("v2")
    story.nobody_was_turned_away()
    _keep(story, "people", ann.rlhf("history", MODEL), ann.rlhf("why", MODEL))


def _ann(story: Story) -> Person:
    return Person.arrive(story.kubectl, "ann@example.com", story.folder)


def _promotes(person: Person) -> bool:
    """Promote, if the canary's safety can be seen by now."""
    try:
        person.rlhf("promote", MODEL, "-m", "the old one gives a wrong telephone number")
    except HarnessError as refused:
        if "its safety cannot be seen" not in str(refused):
            raise
        return False
    return True


def _is_weighed(record: Object) -> bool:
    """Tell whether a record keeps evidence of a step that goes on, or is over already."""
    status = record.get("status", {})
    return "outcome" in status or any("needs" in each for each in status.get("slos", ()))


def _waits_for_people(model: Object) -> bool:
    return reason_of(model) == "AwaitingApproval" and model["status"]["weight"] == 50


def _evidence(record: Object, name: str = "unsafe-answers") -> Object:
    """Return what an objective had shown when the record's last step ended."""
    (found,) = (each for each in record["status"]["steps"][-1]["slos"] if each["name"] == name)
    evidence: Object = found
    return evidence


def _dropped(story: Story) -> dict[str, str]:
    """Return the versions that the newest run has dropped, and why."""
    arms = story.history[-1].get("status", {}).get("arms", ())
    return {each["version"]: each["reason"] for each in arms if each["state"] == "Dropped"}


def _asked_of(story: Story, version: str) -> float:
    """Return how many requests the guards of a version have counted, by Prometheus."""
    labels = f'namespace="{story.kubectl.namespace}", rlhf_version="{version}"'
    url = story.endpoints.prometheus_url
    return prometheus.value(url, f"max_over_time(rlhf_guard_requests_total{{{labels}}}[5m])")


def _share_of_unsafe(story: Story, version: str) -> float:
    """Return which part of a version's answers, as users read them, was flagged."""
    answers = story.answers().of(version)
    return len(answers.unsafe) / len(answers.all)


def _acts(record: Object) -> list[tuple[str, str]]:
    return [(act["action"], act["author"]) for act in record["status"]["decisions"]]


def _keep(story: Story, name: str, *printed: str) -> None:
    """Keep what people saw in the folder RLHF_RECORD, for docs/kubectl-plugin.md, and of what.

    The states in tests/cli/states are made of the latter.
    """
    if folder := os.environ.get("RLHF_RECORD"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.txt").write_text("\n".join(printed))
        stored = story.kubectl.run("get", _KINDS, "--output=yaml")
        (Path(folder) / f"{name}.yaml").write_text(stored)

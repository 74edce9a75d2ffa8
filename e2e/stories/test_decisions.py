"""What a person may say, and that it is done, told and on record."""

from __future__ import annotations

from e2e.harness import objects
from e2e.harness.kubectl import Object, condition
from e2e.harness.watch import Watch
from e2e.stories.world import MODEL, TRIGGER, Story, reason_of, steps_of


def test_a_person_pauses_a_run_then_lets_it_go_on_and_then_aborts_it(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model("sft", steps=[{"weight": 25, "hold": "4s"}, {"weight": 50, "hold": "2m"}])
    story.commit("v1")
    story.until_weight("v1", 25)

    pause = story.decide("Pause")
    story.until("Paused", lambda model: model["status"]["phase"] == "Paused")
    story.throughout(
        8,
        "the weight stands still beyond its hold",
        lambda model: model["status"]["weight"] == 25 and reason_of(model) == "Paused",
    )
    story.until_answers("both arms answer", lambda found: len(found.shares()) == 2)
    resume = story.decide("Resume")
    story.until_weight("v1", 50)

    abort = story.decide("Abort")
    story.until_stable("sft")
    story.until_stalled("RolledBack")
    story.every_answer_comes_from("sft")
    record = story.history[-1]
    assert record["status"]["outcome"] == "Aborted"
    assert steps_of(record) == [0, 25, 50]
    assert story.person in record["status"]["message"]
    assert "quarantine" not in record["status"], "what a person ended may be tried again"
    acts = record["status"]["decisions"]
    assert [(act["name"], act["action"], act["author"]) for act in acts] == [
        (name, action, story.person)
        for name, action in ((pause, "Pause"), (resume, "Resume"), (abort, "Abort"))
    ]
    for name in (pause, resume, abort):
        told = story.until_decided(name)
        assert told["status"]["rollout"] == record["metadata"]["name"]
    story.nobody_was_turned_away()


def test_a_quarantine_is_lifted_and_later_a_person_goes_back(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1", trigger=TRIGGER)
    story.a_policy()
    story.a_model("sft")
    story.users_say(TRIGGER)
    story.commit("v1")
    story.until_stalled("Quarantined")
    story.users_say("how are you")

    # No edit of the spec ends a quarantine.
    story.commit("v1", history={"limit": 20})
    story.until("the edit is seen", lambda model: story.ready(model, "False"))
    story.throughout(4, "v1 is not tried", lambda model: _stalled(model) == "Quarantined")
    identity = _version(story, "v1")["identity"]
    assert _version(story, "v1")["quarantine"]["rollout"] == story.history[-1]["metadata"]["name"]

    lift = story.decide("LiftQuarantine", identity=identity)
    story.until_stable("v1")
    assert story.told()[1:] == [("Rollout", "v1", "RolledBack"), ("Rollout", "v1", "Promoted")]
    lifted = story.history[1]["status"]["quarantine"]["lifted"]
    assert (lifted["decision"], lifted["author"]) == (lift, story.person)
    assert "quarantine" not in _version(story, "v1")
    assert story.until_decided(lift)["status"]["rollout"] == story.history[1]["metadata"]["name"]

    back = story.decide("RollBackTo", version="sft")
    story.until_stable("sft")
    model = story.until_stalled("RolledBack")
    assert story.person in condition(model, "Stalled")["message"]
    story.every_answer_comes_from("sft")
    record = story.history[-1]
    assert (record["spec"]["type"], record["spec"]["from"]["name"]) == ("Rollback", "v1")
    assert record["spec"]["cause"]["reason"] == "RolledBackByPerson"
    assert record["spec"]["cause"]["decision"] == back
    assert record["spec"]["cause"]["author"] == story.person
    assert "quarantine" not in _version(story, "v1"), "a person's wish is no blame"

    again = story.until_decided(story.decide("RollBackTo", version="sft"), "NotApplicable")
    assert "serves already" in condition(again, "Ready")["message"]
    story.nobody_was_turned_away()


def test_a_restart_renews_the_pods_one_by_one(story: Story) -> None:
    story.a_version("sft")
    story.a_policy()
    story.a_model("sft", serving={"replicas": 2, "podTemplate": objects.small_pods()})
    story.until("both pods", lambda model: model["status"]["replicas"] == 2)
    before = story.pods("sft")
    watch = story.stack.enter_context(Watch(story.kubectl, "deployment"))

    restart = story.decide("Restart")
    told = story.until_decided(restart)
    story.until("it is done", lambda _: story.told()[-1] == ("Restart", "sft", "Promoted"))
    after = story.pods("sft")
    assert len(after) == 2
    assert not set(before.values()) & set(after.values())
    available = [
        each.object.get("status", {}).get("availableReplicas", 0) for each in watch.changes()
    ]
    assert len(available) > 2, "the change of pods was looked at"
    assert min(available) >= 2, "each new pod was ready before an old one went"
    record = story.history[-1]
    assert told["status"]["rollout"] == record["metadata"]["name"]
    assert record["spec"]["cause"]["decision"] == restart
    assert record["spec"]["cause"]["author"] == story.person
    story.until("Ready", lambda model: story.ready(model, "True"))
    story.every_answer_comes_from("sft")
    story.nobody_was_turned_away()


def _stalled(model: Object) -> str:
    return str(condition(model, "Stalled").get("reason", ""))


def _version(story: Story, name: str) -> Object:
    found = story.kubectl.get("rlhfmodelversion", name)
    assert found is not None and found["spec"]["model"] == MODEL
    status: Object = found["status"]
    return status

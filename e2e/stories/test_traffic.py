"""Who gets which arm: users who come back, and a split by nothing but the number of pods."""

from __future__ import annotations

import time

from e2e.harness import objects
from e2e.stories.world import Story, steps_of


def test_users_stay_on_their_arm_and_a_rollback_takes_them_home(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model(
        "sft",
        steps=[{"weight": 50, "hold": "10s"}, {"weight": 75, "hold": "2m"}],
        traffic={"stickiness": {"mode": "Arm"}},
    )
    regulars = story.a_crowd(12)

    story.commit("v1")
    story.until_weight("v1", 50)
    story.until_answers("both arms answer", lambda found: len(found.shares()) == 2)
    begun = time.time()
    newcomers = story.a_crowd(20)
    story.until_weight("v1", 75)
    story.until_answers("most come to v1", lambda found: found.shares().get("v1", 0) > 0.6)
    time.sleep(2 * newcomers.pause)

    left = time.time()
    story.decide("Abort")
    story.until_stable("sft")
    drawn = [each.asked(begun, left).shares() for each in regulars.by_user()]
    assert {"sft": 1.0} in drawn and {"v1": 1.0} in drawn, "who was there before is drawn too"
    kept = [each.asked(0, left).shares() for each in newcomers.by_user()]
    assert all(len(shares) == 1 for shares in drawn + kept), f"a user changed arms: {drawn + kept}"
    by_cookie, by_header = kept[::2], kept[1::2]
    assert {"v1": 1.0} in by_cookie and {"v1": 1.0} in by_header

    story.every_answer_comes_from("sft")
    home = time.time()
    time.sleep(2 * newcomers.pause)
    for crowd in (regulars, newcomers):
        assert crowd.snapshot().asked(home).shares() == {"sft": 1.0}
    story.nobody_was_turned_away()


def test_a_plain_service_splits_by_the_number_of_pods(story: Story) -> None:
    """No gateway: users have the model's Service, whose address this machine reaches."""
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model(
        "sft",
        steps=[{"weight": 50, "hold": "10s"}],
        traffic={"router": "Service", "parentRefs": [], "hostnames": []},
        serving={"replicas": 2, "podTemplate": objects.small_pods()},
    )
    story.every_answer_comes_from("sft")

    story.commit("v1")
    story.until_weight("v1", 50)
    story.until_answers("v1 answers", lambda found: "v1" in found.shares())
    story.until_answers(
        "about a half",
        lambda found: len(found.all) >= 40 and 0.25 < found.shares().get("v1", 0) < 0.75,
    )
    story.until_stable("v1")
    story.until("Ready", lambda model: story.ready(model, "True"))
    assert steps_of(story.history[-1]) == [0, 50]
    story.every_answer_comes_from("v1")
    assert story.kubectl.list("httproute") == []
    story.nobody_was_turned_away()

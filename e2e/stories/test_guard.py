"""The guard through the gateway: what leaves, what does not, and what is counted by version."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from e2e import scripted
from e2e.harness import artifacts, objects, prometheus
from e2e.harness.kubectl import Object, condition
from e2e.harness.streams import Stream, read_stream
from e2e.harness.traffic import Opinions
from e2e.stories.neighbours import Moderation, Sink
from e2e.stories.world import HALF, WORDS, Story

BLOCKED = "I'm sorry, but I can't help with that."
WITHHELD = "I'm sorry, but I can't answer that right now."
BYPASSES: Object = {
    "name": "bypasses", "class": "Safety", "indicator": {"type": "GuardBypassRate"}, "max": "0.01",
}  # fmt: skip
# A ConfigMap reaches a pod within the kubelet's own minute.
LIVE = 150.0


def test_unsafe_words_of_a_stream_never_reach_its_reader(story: Story) -> None:
    """Sixty harmless words come first, then what a rule blocks; the model is told to stop."""
    story.a_version("sft", streams=True, words=60, pause=0.02, share=1.0)
    story.a_policy()
    story.a_model("sft", guard=_blocking())

    read = [_stream(story) for _ in range(5)]
    for each in read:
        assert scripted.FLAGGED_WORD not in each.text, each.text
        assert each.finish == "content_filter" and each.is_whole
        assert len(each.text.split()) >= 20, "harmless words had left before"
        assert each.first_byte < each.seconds / 2, "it came all at once"
    _counted(story, "rlhf_guard_streams_total", 'end="blocked"', at_least=5)
    _counted(story, "rlhf_guard_unsafe_generated_responses_total", at_least=5)
    assert _count(story, "sft", "rlhf_guard_streams_escaped_total") == 0
    assert _count(story, "sft", "rlhf_guard_unsafe_served_responses_total") == 0


def test_who_leaves_a_stream_stops_the_model(story: Story) -> None:
    story.per_second = 0.2  # each answer takes long
    story.a_version("sft", streams=True, words=200, pause=0.05)
    story.a_policy()
    story.a_model("sft", guard={})
    for _ in range(3):
        assert _stream(story, leave_after=5).text
    _counted(story, "rlhf_guard_streams_total", 'end="client_gone"', at_least=3)
    left = _stream(story, scripted.HOW_MANY_LEFT)
    assert int(left.text.split()[-1]) >= 3, left.text
    assert _count(story, "sft", "rlhf_guard_errors_total") == 0


def test_a_moderation_service_that_is_down_withholds_or_is_bypassed(story: Story) -> None:
    """Closed: nobody reads what nobody judged. Open: users read it, and nothing is promoted."""
    moderation = Moderation(kubectl=story.kubectl, word=scripted.FLAGGED_WORD)
    moderation.open()
    story.a_version("sft", share=0.2)
    story.a_version("v1", share=0.2)
    story.a_policy(BYPASSES)
    story.a_model("sft", steps=HALF, guard={"stages": [moderation.stage()]})
    _until_texts(story, "the service blocks", lambda texts: BLOCKED in texts)
    assert not any(scripted.FLAGGED_WORD in each.text for each in story.answers().all)

    moderation.shut()
    _until_texts(story, "nothing is let through", lambda texts: set(texts) == {WITHHELD})
    _counted(story, "rlhf_guard_withheld_total", at_least=5)
    assert _count(story, "sft", "rlhf_guard_bypassed_responses_total") == 0

    story.commit("sft", guard={"stages": [moderation.stage(failurePolicy="Open")]})
    _until_texts(story, "users read again", lambda texts: WITHHELD not in texts, seconds=LIVE)
    _counted(story, "rlhf_guard_bypassed_responses_total", at_least=5)
    story.commit("v1")
    story.until("v1 failed", lambda _: story.told()[-1] == ("Rollout", "v1", "RolledBack"))
    assert "bypasses" in story.history[-1]["status"]["message"]
    story.nobody_was_turned_away()


def test_a_classifier_on_triton_blocks_what_it_scores_high(story: Story) -> None:
    """It is a model of its own, with its version and digest, beside the one that it judges."""
    story.a_version("sft", share=0.3)
    story.a_policy()
    service = _a_classifier(story, "toxicity")
    found = {"category": "toxicity", "label": "toxic", "atLeast": "0.8"}
    classifier = {"service": service, "model": "model", "labels": ["toxic"], "categories": [found]}
    stage = {
        "name": "toxicity", "type": "Model", "appliesTo": ["Output"], "action": "Block",
        "timeout": "10s", "model": classifier,
    }  # fmt: skip
    story.a_model("sft", guard={"stages": [stage]})
    _until_texts(story, "some are blocked, others not", lambda texts: len(set(texts)) == 2)
    assert not any(scripted.FLAGGED_WORD in each.text for each in story.answers().all)
    _counted(story, "rlhf_guard_blocked_total", 'category="toxicity"', at_least=3)
    assert _count(story, "sft", "rlhf_guard_stage_errors_total") == 0
    story.nobody_was_turned_away()


def test_rules_change_while_answers_are_on_their_way(story: Story) -> None:
    """No pod is made anew and no stream breaks; the next answer is judged by the new rules."""
    story.per_second = 0.2  # each answer takes long
    story.a_version("sft", streams=True, words=200, pause=0.05, share=1.0)
    story.a_policy()
    story.a_model("sft", guard={"stages": []})
    before = story.pods("sft")
    old = _digest(story, "sft")
    with story.streaming() as long:
        story.commit("sft", guard=_blocking())
        _until(lambda: _digest(story, "sft") not in ("", old), "the new rules are in force", LIVE)
    assert all(each.is_whole for each in long.all), "a stream that was under way broke off"
    assert _stream(story).finish == "content_filter"
    assert story.pods("sft") == before
    story.nobody_was_turned_away()


def test_a_sink_that_is_down_for_a_minute_costs_samples_and_no_answer(story: Story) -> None:
    sink = Sink(kubectl=story.kubectl)
    sink.open()
    story.a_version("sft")
    story.a_policy()
    story.a_model("sft", guard={"sampling": sink.sampling(queue=50)})
    story.users_say("my address is ann@example.org")
    taken = _until(sink.taken, "samples arrive", 60)
    sample = taken[-1]["data"]
    assert (sample["about"]["model"], sample["about"]["version"]) == ("support", "sft")
    assert sample["probability"] == 1
    assert sample["answer"] == "a kind and helpful answer"
    asked = [each["data"]["prompt"] for each in sink.taken()]
    assert not any("ann@example.org" in each for each in asked)

    sink.shut()
    time.sleep(60)
    story.nobody_was_turned_away()
    lost = _count(story, "sft", "rlhf_guard_samples_total", 'outcome=~"dropped|failed"')
    assert lost > 0, "what found no sink is counted"
    sink.open()
    _until(sink.taken, "samples arrive again", 60)
    story.nobody_was_turned_away()


def test_what_users_say_takes_a_version_back(story: Story) -> None:
    """Nothing but votes tells the two versions apart."""
    story.opinions = Opinions(done={"sft": 0.8, "v1": 0.2}, seed=11)
    story.a_version("sft")
    story.a_version("v1")
    tasks = {"name": "tasks-done", "class": "Quality", "indicator": {"type": "TaskCompletionRate"}}
    story.a_policy(tasks | {"versusStable": {"ratio": "1.5"}})
    story.a_model("sft", steps=HALF)
    story.commit("v1")
    story.until("v1 failed", lambda _: story.told()[-1] == ("Rollout", "v1", "RolledBack"))
    assert "tasks-done" in story.history[-1]["status"]["message"]
    said = {
        version: prometheus.value(
            story.endpoints.prometheus_url,
            f'sum(rlhf_guard_feedback_total{{namespace="{story.kubectl.namespace}",'
            f'about_version="{version}",kind="task"}})',
        )
        for version in ("sft", "v1")
    }
    assert all(count >= 10 for count in said.values()), said
    assert sum(said.values()) <= sum(story.opinions.said.values()), "a vote counted twice"
    story.nobody_was_turned_away()


def _a_classifier(story: Story, name: str) -> Object:
    """Serve a classifier as a model of its own, and return its Service as a stage names it."""
    kubectl = story.kubectl
    published = artifacts.publish(kubectl, scripted.write_classifier(story.folder), "classifier")
    made = {"backend": "repository", "engineArgs": {}}
    kubectl.apply(
        objects.version(f"{name}-v1", published, model=name, stage="SFT", **made),
        objects.model(
            story.endpoints, name=name, version=f"{name}-v1", fallback=f"{name}-v1",
            policies=["safe"], traffic={"router": "Service"}, guard={},
        ),
    )  # fmt: skip
    kubectl.wait_for(
        "rlhfmodel", name, lambda model: condition(model, "Ready").get("status") == "True",
        what=f"{name} is ready", seconds=150,
    )  # fmt: skip
    service = kubectl.get("service", name)
    assert service is not None
    return {"name": name, "port": service["spec"]["ports"][0]["port"]}


def _blocking() -> Object:
    return {"stages": [stage | {"action": "Block"} for stage in WORDS["stages"]]}


def _stream(story: Story, question: str = "tell me", leave_after: int | None = None) -> Stream:
    return read_stream(story.endpoints.gateway_url, story.host, question, leave_after=leave_after)


def _until_texts(
    story: Story, what: str, holds: Callable[[list[str]], bool], *, seconds: float = 30
) -> None:
    """Wait until the newest answers are as wanted."""

    def newest() -> bool:
        answers = [each for each in story.traffic.snapshot().all if not each.is_failed][-8:]
        return len(answers) == 8 and holds([each.text for each in answers])

    assert story.traffic is not None
    _until(newest, what, seconds)


def _until(happened: Callable[[], Any], what: str, seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, f"{what}: not in {seconds:.0f} s"
        time.sleep(0.5)
    return found


def _count(story: Story, version: str, metric: str, labels: str = "") -> float:
    chosen = f'namespace="{story.kubectl.namespace}",rlhf_version="{version}"'
    query = f"sum({metric}{{{','.join(filter(None, (chosen, labels)))}}})"
    return prometheus.value(story.endpoints.prometheus_url, query)


def _counted(story: Story, metric: str, labels: str = "", *, at_least: int) -> None:
    """Wait until Prometheus has so many of something of the version that serves."""
    _until(
        lambda: _count(story, "sft", metric, labels) >= at_least, f"{metric} {labels} counted", 30
    )


def _digest(story: Story, version: str) -> str:
    """Return the rules that a version's guards say are in force; empty where they differ."""
    found = prometheus.labels(
        story.endpoints.prometheus_url,
        f'rlhf_guard_info{{namespace="{story.kubectl.namespace}",rlhf_version="{version}"}}',
        "rules_digest",
    )
    return found.pop() if len(found) == 1 else ""

"""Bad input gets a sentence that a person can act on, and takes nothing away from users."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from e2e import scripted
from e2e.harness import artifacts, objects
from e2e.harness.kubectl import Object, condition
from e2e.stories.world import GUARD, Story

SCRIPTED: dict[str, Any] = {"backend": "repository", "engineArgs": {}}
LABELS = "namespace, rlhf_model, rlhf_version"


def _query(expression: str) -> Object:
    query = {"promQL": expression, "samples": "up", "betterWhen": "Lower"}
    return objects.policy(
        "x", {"name": "own", "class": "Quality", "query": query, "max": "1"}
    )["spec"]  # fmt: skip


# The name of each is what is wrong; what it changes in a good model; the reason and a word of
# the sentence that the person reads.
BEFORE_ANY_POD: dict[str, tuple[Object, str, str]] = {
    "no-such-version": ({"version": "v404"}, "VersionNotFound", "v404 does not exist"),
    "fallback-of-another": (
        {"fallback": {"version": "foreign"}}, "WrongModel", "version of somebody"
    ),
    "no-such-policy": ({"policies": [{"name": "p404"}]}, "PolicyNotFound", "p404"),
    "unknown-source": (
        {"policies": [{"name": "elsewhere"}]}, "UnknownMetricSource", "configuration has"
    ),
    "query-broken": ({"policies": [{"name": "broken"}]}, "QueryRefused", "not valid PromQL"),
    "query-mixes-models": (
        {"policies": [{"name": "mixing"}]}, "QueryRefused", "label_replace"
    ),
    "host-path": (
        {"serving": {"podTemplate": {"spec": {"hostNetwork": True}}}}, "SpecInvalid", "hostNetwork"
    ),
    "zone-unknown": (
        {"freeze": "Mars/Olympus"}, "SpecInvalid", "Mars/Olympus"
    ),
    "steps-unreachable": (
        {"traffic": {"router": "Service"}}, "StepsUnreachable", "raise serving.replicas"
    ),
}  # fmt: skip
WITH_PODS: dict[str, tuple[Object, str, str]] = {
    "image-absent": (
        {"serving": {"images": {"guard": "localhost/rlhf-absent:1"}}},
        "ImageNotPulled",
        "absent",
    ),
    "route-refused": ({"section": "no-such-listener"}, "RouteNotAccepted", "No listeners match"),
}


def test_each_mistake_is_named(story: Story) -> None:
    _versions(story)
    for name, (change, _, _) in (BEFORE_ANY_POD | WITH_PODS).items():
        story.kubectl.apply(_version_of(story, name), _model(story, name, change))
    for name, (_, reason, word) in (BEFORE_ANY_POD | WITH_PODS).items():
        model = story.kubectl.wait_for(
            "rlhfmodel", name, lambda found: bool(condition(found, "Stalled")),
            what=f"{name} is stalled", seconds=150,
        )  # fmt: skip
        said = condition(model, "Stalled")
        assert (said["reason"], word in said["message"]) == (reason, True), said
        assert condition(model, "Ready")["status"] == "False"
        assert not condition(model, "Reconciling")


def test_two_models_claim_one_host_and_the_older_keeps_it(story: Story) -> None:
    story.a_version("sft")
    story.a_policy()
    story.a_model("sft")
    second = copy.deepcopy(story.model)
    second["metadata"]["name"] = "late"
    second["spec"] |= {"version": "late-sft", "fallback": {"version": "late-sft"}}
    script = scripted.write(scripted.Script(name="sft"), story.folder)
    published = artifacts.publish(story.kubectl, script, "scripted-late")
    version = objects.version("late-sft", published, model="late", **SCRIPTED)
    story.kubectl.apply(version, second)
    late = story.kubectl.wait_for(
        "rlhfmodel", "late", lambda found: bool(condition(found, "Stalled")),
        what="the late one is stalled", seconds=150,
    )  # fmt: skip
    assert condition(late, "Stalled")["reason"] == "HostConflict"
    story.every_answer_comes_from("sft")
    story.nobody_was_turned_away()


def _versions(story: Story) -> None:
    published = _published(story.folder, story)
    story.a_policy()
    elsewhere = objects.policy("elsewhere")
    elsewhere["spec"]["metricSource"] = "nowhere"
    broken, mixing = objects.policy("broken"), objects.policy("mixing")
    broken["spec"] = _query("sum by (")
    mixing["spec"] = _query(f"sum by ({LABELS}) (label_replace(up, 'a', 'b', 'c', 'd'))")
    foreign = objects.version("foreign", published, model="somebody", **SCRIPTED)
    story.kubectl.apply(elsewhere, broken, mixing, foreign)


def _published(folder: Path, story: Story) -> artifacts.Published:
    script = scripted.write(scripted.Script(name="sft"), folder)
    return artifacts.publish(story.kubectl, script, f"scripted-{script.name}")


def _version_of(story: Story, model: str) -> Object:
    published = _published(story.folder, story)
    return objects.version(f"{model}-sft", published, model=model, **SCRIPTED)


def _model(story: Story, name: str, change: Object) -> Object:
    change = copy.deepcopy(change)
    own = f"{name}-sft"
    made: dict[str, Any] = objects.model(
        story.endpoints, name=name, version=own, fallback=own, policies=["safe"],
        host=f"{name}.example.com", steps=objects.steps(33, hold="3s"), guard=GUARD,
    )  # fmt: skip
    spec = made["spec"]
    if zone := change.pop("freeze", None):
        window = {"name": "w", "days": ["Mon"], "start": "10:00", "end": "11:00", "timeZone": zone}
        spec["rollout"]["freezeWindows"] = [window]
    if section := change.pop("section", None):
        spec["traffic"]["parentRefs"][0]["sectionName"] = section
    if change.get("traffic"):
        spec.pop("traffic")
    made["spec"] = spec | change
    return made

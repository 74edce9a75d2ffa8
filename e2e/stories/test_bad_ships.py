"""What is shipped, or edited, is bad: a person is told in a sentence, and stable goes on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from e2e import scripted
from e2e.harness import artifacts, objects
from e2e.harness.artifacts import Published
from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Object, condition
from e2e.stories.world import MODEL, Story, reason_of, steps_of

SCRIPTED: dict[str, Any] = {"backend": "repository", "engineArgs": {}}
ZEROS, ONES = ("sha256:" + digit * 64 for digit in "01")
COUNTER = "rlhf_guard_requests_total"
LABELS = "namespace, rlhf_model, rlhf_version"


def test_what_must_not_be_served_gets_no_traffic(story: Story) -> None:
    story.a_version("sft")
    story.a_policy()
    story.a_model("sft")
    altered = _altered(story)
    missing = Published(altered.uri.replace("altered", "nowhere"), ZEROS)
    unknown = Published("oci://localhost/models/nobody", ONES)
    story.kubectl.apply(
        objects.version("pickled", _pickled(story), model=MODEL),
        objects.version("altered", altered, model=MODEL, **SCRIPTED),
        objects.version("missing", missing, model=MODEL, **SCRIPTED),
        objects.version("unknown", unknown, model=MODEL, **SCRIPTED),
    )
    for version, reason, word in (
        ("pickled", "ArtifactMismatch", "pytorch_model.bin"),
        ("altered", "ArtifactMismatch", f"declares {altered.digest}"),
        ("missing", "ArtifactNotFound", "holds no files"),
    ):
        story.commit(version)
        model = story.until(f"{version} is refused", _is_refused(version))
        assert word in condition(model, "Stalled")["message"]
        assert story.told()[-1] == ("Rollout", version, "RolledBack")
        record = story.history[-1]["status"]
        assert (record["reason"], word in record["message"]) == (reason, True)
        assert steps_of(story.history[-1]) == [0]

    story.commit("unknown")
    model = story.until("the pull is told", lambda found: reason_of(found) == "ImageNotPulled")
    assert unknown.digest in condition(model, "Reconciling")["message"]
    assert model["status"]["weight"] == 0

    too_many = _gpus(story) + 1
    greedy = {"gpu": {"count": too_many, "resource": "nvidia.com/gpu"}}
    story.a_version("greedy", serving=greedy)
    story.commit("greedy")
    model = story.until_stalled("InsufficientGPU")
    assert f"needs {too_many} GPUs" in condition(model, "Stalled")["message"]
    assert story.told()[-1] == ("Rollout", "unknown", "Superseded"), "no run began"
    assert story.pods("greedy") == {}

    story.every_answer_comes_from("sft")
    story.nobody_was_turned_away()


def test_bad_edits_in_mid_run_stop_nothing_that_serves(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    here = {**story.gateway, "sectionName": _listener(story)}
    story.a_model(
        "sft",
        steps=[{"weight": 30, "hold": "10s"}, {"weight": 60, "hold": "3s"}],
        traffic={"parentRefs": [here]},
    )
    story.commit("v1")
    story.until_weight("v1", 30)

    # Only the gateway can judge this. The listener that exists goes on with the weights it has.
    nowhere = {**story.gateway, "sectionName": "no-such-listener"}
    story.commit("v1", traffic=_traffic(story, here, nowhere))
    model = story.until(
        "the gateway's word is told", lambda found: reason_of(found) == "RouteNotAccepted"
    )
    assert "No listeners match" in condition(model, "RouteDegraded")["message"]

    # And these the API server refuses by itself.
    plan = story.model["spec"]["rollout"]
    for change, sentence in (
        ({"verison": "v2"}, 'unknown field "(spec.)?verison"'),
        ({"rollout": plan | {"canary": {"steps": objects.steps(60, 30)}}}, "increase strictly"),
        ({"rollout": plan | {"strategy": "Recreate"}}, "Unsupported value"),
        ({"fallback": {}}, 'missing required field "version"|Required value'),
    ):
        edited = copy.deepcopy(story.model)
        edited["spec"] |= change
        with pytest.raises(HarnessError, match=sentence):
            story.kubectl.apply(edited)

    story.throughout(
        10,
        "the weight stays beyond its hold",
        lambda found: found["status"]["weight"] == 30 and reason_of(found) == "RouteNotAccepted",
    )
    story.until_answers("both arms answer", lambda found: len(found.shares()) == 2)
    story.commit("v1", traffic=_traffic(story, here))
    model = story.until_stable("v1")
    assert steps_of(story.history[-1]) == [0, 30, 60]
    assert not condition(model, "RouteDegraded")
    story.nobody_was_turned_away()


def test_queries_that_say_nothing_of_use_hold_and_blame_nobody(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1")
    story.a_version("v2")
    story.a_policy()
    story.kubectl.apply(
        _policy("nothing", f'{COUNTER}{{rlhf_version="nobody"}}'),
        _policy("several", "rlhf_guard_request_duration_seconds_bucket"),
        _policy("no-number", f"sum by ({LABELS}) ({COUNTER}) * 0 / 0"),
    )
    story.a_model("sft", steps=[{"weight": 30, "hold": "3s"}])

    story.commit("v1", policies=_named("safe", "nothing", "several"))
    model = story.until("both are told", lambda found: reason_of(found) == "MetricsUnavailable")
    said = condition(model, "Reconciling")["message"]
    assert "nothing/own: the query yields nothing for version sft" in said
    assert "several/own: the query yields several series for version sft" in said
    story.throughout(6, "no weight at all", lambda found: found["status"]["weight"] == 0)

    story.commit("v2", policies=_named("safe", "no-number"))
    story.until_weight("v2", 30)
    story.until(
        "the value is told", lambda found: "not a number" in found["status"].get("message", "")
    )
    story.throughout(
        6,
        "the first weight stays beyond its hold",
        lambda found: found["status"]["weight"] == 30 and reason_of(found) == "Inconclusive",
    )

    story.commit("v1", policies=_named("safe"))
    story.until_stable("v1")
    assert story.told()[1:] == [
        ("Rollout", "v1", "Superseded"),
        ("Rollout", "v2", "Superseded"),
        ("Rollout", "v1", "Promoted"),
    ]
    assert not any("quarantine" in record["status"] for record in story.history)
    story.nobody_was_turned_away()


def _is_refused(version: str) -> Callable[[Object], bool]:
    def is_refused(model: Object) -> bool:
        said = condition(model, "Stalled")
        return said.get("reason") == "RolledBack" and said["message"].startswith(f"{version} ")

    return is_refused


def _pickled(story: Story) -> Published:
    folder = story.folder / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return artifacts.publish(story.kubectl, folder, "scripted-pickled")


def _altered(story: Story) -> Published:
    """Publish an artefact, then change one of its files behind its back."""
    shelf = story.folder / "shelf"
    shelf.mkdir()
    volume = artifacts.offer_volume(story.kubectl, shelf)
    story.stack.callback(story.kubectl.delete, "persistentvolume", volume, wait=False)
    folder = scripted.write(scripted.Script(name="altered"), story.folder)
    declared = artifacts.into_volume(story.kubectl, folder, "altered")
    with (folder / "model" / "1" / "model.py").open("a") as file:
        file.write("# one line more\n")
    artifacts.into_volume(story.kubectl, folder, "altered")
    return declared


def _gpus(story: Story) -> int:
    nodes = story.kubectl.list("node")
    return sum(int(node["status"]["allocatable"].get("nvidia.com/gpu", 0)) for node in nodes)


def _listener(story: Story) -> str:
    found = story.kubectl.within(story.gateway["namespace"]).get("gateway", story.gateway["name"])
    assert found is not None
    return str(found["spec"]["listeners"][0]["name"])


def _traffic(story: Story, *parents: Object) -> Object:
    return {**story.model["spec"]["traffic"], "parentRefs": list(parents)}


def _policy(name: str, expression: str) -> Object:
    query = {"promQL": expression, "samples": COUNTER, "betterWhen": "Lower"}
    return objects.policy(name, {"name": "own", "class": "Quality", "query": query, "max": "1"})


def _named(*policies: str) -> list[Object]:
    return [{"name": each} for each in policies]

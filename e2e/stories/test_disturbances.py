"""What users notice when something around the operator fails: nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from e2e.cluster.endpoints import CURRENT
from e2e.conftest import FLAKY_NAMESPACE
from e2e.harness import objects
from e2e.harness.install import install
from e2e.harness.kubectl import Kubectl, condition
from e2e.stories.door import Door
from e2e.stories.world import Story, steps_of

OPERATOR = "app.kubernetes.io/name=rlhf-operator"


def test_prometheus_is_away_in_the_middle_of_a_step(story: Story) -> None:
    flaky = story.kubectl.within(FLAKY_NAMESPACE)
    flaky.apply(objects.namespace(FLAKY_NAMESPACE))
    address = urlsplit(story.endpoints.prometheus_url_in_cluster)
    door = Door(
        kubectl=flaky, name="prometheus", port=9090,
        to_host=str(address.hostname), to_port=address.port or 9090,
    )  # fmt: skip
    door.open()
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy(metricSource="flaky")
    story.a_model("sft", steps=[{"weight": 25, "hold": "15s"}])
    story.commit("v1")
    story.until_weight("v1", 25)

    door.shut()
    story.until(
        "the silence is told",
        lambda model: condition(model, "Reconciling").get("reason") == "MetricsUnavailable",
    )
    assert story.told()[-1] == ("Rollout", "v1", "")
    door.open()
    story.until_stable("v1")
    assert story.told()[-1] == ("Rollout", "v1", "Promoted")
    story.nobody_was_turned_away()


@pytest.mark.usefixtures("own_operator")
def test_the_operator_is_killed_in_every_step(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model("sft", steps=objects.steps(20, 40, 60, hold="4s"))
    system = story.kubectl.within(story.operator.namespace)

    story.commit("v1")
    _kill(system)
    for weight in (20, 40, 60):
        story.until_weight("v1", weight)
        _kill(system)
    story.until_stable("v1")
    assert steps_of(story.history[-1]) == [0, 20, 40, 60]
    assert story.told()[-1] == ("Rollout", "v1", "Promoted")
    epochs = {record["status"]["epoch"] for record in story.history}
    assert len(epochs) > 1
    story.nobody_was_turned_away()


@pytest.mark.usefixtures("own_operator")
def test_an_upgrade_of_the_operator_changes_nothing_that_runs(story: Story) -> None:
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model("sft", steps=[{"weight": 40, "hold": "5s"}])
    story.commit("v1")
    story.until_weight("v1", 40)
    story.commit("v1", suspend=True)  # an upgrade may take its time
    before = story.pods("sft") | story.pods("v1")

    mark = {"podLabels": {"rlhf.dev/upgraded": str(int(time.time()))}}
    install(story.endpoints, replace(story.operator, values={**story.operator.values, **mark}))
    time.sleep(3)
    assert story.pods("sft") | story.pods("v1") == before
    model = story.kubectl.get("rlhfmodel", "support")
    assert model is not None
    assert model["status"]["weight"] == 40
    story.commit("v1", suspend=False)
    story.until_stable("v1")
    story.nobody_was_turned_away()


def test_without_a_spare_gpu_stable_makes_room(story: Story) -> None:
    nodes = [node["status"]["allocatable"] for node in story.kubectl.list("node")]
    half = max(int(each.get("nvidia.com/gpu", 0)) for each in nodes) // 2
    if CURRENT and not half:
        pytest.skip("no node of this cluster has two of nvidia.com/gpu")
    assert half
    gpu = {"serving": {"gpu": {"count": half, "resource": "nvidia.com/gpu"}}}
    story.a_version("sft", **gpu)
    story.a_version("v1", **gpu)
    story.a_policy()
    serving = {"replicas": 2, "podTemplate": objects.small_pods()}
    story.a_model(
        "sft",
        steps=[{"weight": 50, "hold": "3s"}],
        serving=serving,
        rollout={"surge": "None"},
        standby={"replicas": 0, "keep": "1s"},
    )
    fallback = story.model["spec"]["fallback"] | {"replicas": 0}

    story.commit("v1", fallback=fallback)
    story.until_weight("v1", 50, seconds=120)
    story.until_stable("v1")
    story.until("both pods", lambda model: model["status"]["replicas"] == 2, seconds=120)
    assert story.told()[-1] == ("Rollout", "v1", "Promoted")
    story.nobody_was_turned_away()


def _kill(system: Kubectl) -> None:
    """End the operator's process at once, as SIGKILL does."""
    pods = [pod["metadata"]["name"] for pod in system.list("pod", selector=OPERATOR)]
    system.run("delete", "pod", *pods, "--force", "--grace-period=0", "--ignore-not-found")

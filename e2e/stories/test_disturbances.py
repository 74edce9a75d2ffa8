"""What users notice when something around the operator fails: nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from urllib.parse import urlsplit

import pytest

from e2e.cluster import store
from e2e.cluster.endpoints import CURRENT
from e2e.conftest import FLAKY_NAMESPACE
from e2e.harness import objects
from e2e.harness.install import Release, image, install
from e2e.harness.kubectl import Kubectl, Object
from e2e.harness.watch import Change, Watch
from e2e.stories.door import Door
from e2e.stories.world import Story, reason_of, steps_of, weights_of

OPERATOR = "app.kubernetes.io/name=rlhf-operator"
LEASE = "rlhf-operator"
SIGKILLED = 128 + 9
HALF_A_MINUTE = 30.0


def test_prometheus_is_away_in_the_middle_of_a_step(story: Story) -> None:
    """It is away for half a minute, twice as long as the step would have taken."""
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
    story.until("the silence is told", lambda model: reason_of(model) == "MetricsUnavailable")
    since = time.time()
    story.throughout(
        HALF_A_MINUTE,
        "the run is held where it is",
        lambda model: (
            reason_of(model) == "MetricsUnavailable"
            and model["status"]["weight"] == 25
            and model["status"]["stable"]["name"] == "sft"
        ),
    )
    assert story.routed() == {"sft": 75, "v1": 25}
    assert story.told()[-1] == ("Rollout", "v1", "")
    assert steps_of(story.history[-1]) == [0, 25]
    meanwhile = story.answers().since(since)
    assert meanwhile.shares().keys() == {"sft", "v1"}, "users notice nothing"
    story.nobody_was_turned_away()

    door.open()
    story.until_stable("v1")
    assert steps_of(story.history[-1]) == [0, 25]
    assert story.told() == [("Initial", "sft", "Promoted"), ("Rollout", "v1", "Promoted")]
    story.every_answer_comes_from("v1")
    story.nobody_was_turned_away()


@pytest.mark.usefixtures("own_operator")
def test_the_operator_is_killed_in_every_step(story: Story) -> None:
    """Of two operators the one that leads gets SIGKILL, and the other waits for its Lease's end.

    Where the containers are out of reach (CLUSTER=current) its pod is deleted by force instead:
    it gets SIGTERM and a moment, and may give the Lease back.
    """
    system, chosen = story.kubectl, f"--selector={OPERATOR}"
    system.run("scale", "deployment", chosen, "--replicas=2")
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model("sft", steps=objects.steps(20, 40, 60, hold="4s"))
    system.run("rollout", "status", "deployment", chosen, "--timeout=90s")
    before = _operators(system)

    with Watch(system, "lease") as leases:
        story.commit("v1")
        _kill_the_leader(system)
        for weight in (20, 40, 60):
            story.until_weight("v1", weight)
            _kill_the_leader(system)
        story.until_stable("v1")
    assert steps_of(story.history[-1]) == [0, 20, 40, 60]
    assert story.told() == [("Initial", "sft", "Promoted"), ("Rollout", "v1", "Promoted")]
    assert story.history[-1]["status"]["epoch"] == _lease(system)["leaseTransitions"]
    story.every_answer_comes_from("v1")
    story.nobody_was_turned_away()
    if not CURRENT:
        assert _operators(system) == before, "the pods are the same"
        waits = list(_waits(leases.changes()))
        assert len(waits) >= 4
        assert min(waits) >= _lease(system)["leaseDurationSeconds"], "a Lease was given back"


@pytest.mark.usefixtures("own_operator")
def test_an_upgrade_of_the_operator_changes_nothing_that_runs(story: Story) -> None:
    """The newer operator would make other pods: it has another guard image, and drains longer.

    There is no such image, so that a pod which is made anew would never be ready.
    """
    system = story.kubectl
    story.a_version("sft")
    story.a_version("v1")
    story.a_policy()
    story.a_model("sft", steps=[{"weight": 40, "hold": "100s"}])
    story.commit("v1")
    story.until_weight("v1", 40)
    story.until_answers("both arms answer", lambda found: len(found.shares()) == 2)
    serving, operators = story.pods("sft") | story.pods("v1"), _operators(system)
    epoch = _lease(system)["leaseTransitions"]

    with Watch(story.kubectl, "httproute") as routes:
        install(story.endpoints, _of_tomorrow(story.operator))
        _until_another_leads(system, operators.keys())
        assert story.routed() == {"sft": 60, "v1": 40}
    seen = [weights_of(change.object) for change in routes.changes()]
    assert seen and all(each == {"sft": 60, "v1": 40} for each in seen), seen
    assert story.pods("sft") | story.pods("v1") == serving
    assert steps_of(story.history[-1]) == [0, 40]

    story.until_stable("v1")
    story.every_answer_comes_from("v1")
    assert steps_of(story.history[-1]) == [0, 40]
    assert story.history[-1]["status"]["epoch"] > epoch, "the newer one went on"
    assert story.pods("sft") | story.pods("v1") == serving
    assert not any(
        container["restartCount"]
        for pod in story.kubectl.list("pod", selector="rlhf.dev/version")
        for container in pod["status"]["containerStatuses"]
    )
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


def _of_tomorrow(release: Release) -> Release:
    """Return an operator that would make other pods than the one that is there."""
    images = {name: image(name) for name in ("triton", "artifacts")}
    images["guard"] = "localhost/rlhf-guard:of-tomorrow"
    return replace(
        release,
        config={**release.config, "drain": "9s"},
        values={**release.values, "images": images},
    )


def _kill_the_leader(system: Kubectl) -> None:
    """End the process that leads, and wait until another one does."""
    name = _leader(_lease(system))
    pod = system.get("pod", name)
    assert pod is not None
    if CURRENT:
        system.run("delete", "pod", name, "--force", "--grace-period=0")
    else:
        (container,) = pod["status"]["containerStatuses"]
        killed = container["containerID"]
        store.kill(killed)
        found = system.wait_for(
            "pod", name, lambda found: _ended(found, killed) is not None,
            what="its end is seen", seconds=20,
        )  # fmt: skip
        assert _ended(found, killed) == SIGKILLED
    _until_another_leads(system, [name])


def _until_another_leads(system: Kubectl, those: Collection[str]) -> None:
    """Wait until the Lease is held, and by none of these pods."""
    system.wait_for(
        "lease", LEASE, lambda lease: _leader(lease["spec"]) not in {"", *those},
        what="another operator leads", seconds=60,
    )  # fmt: skip


def _waits(leases: Collection[Change]) -> Iterator[float]:
    """Yield how long after its last renewal a Lease was taken over, in seconds."""
    seen = [change.object["spec"] for change in leases]
    for before, after in pairwise(seen):
        if before.get("holderIdentity") != after.get("holderIdentity"):
            taken, renewed = after["acquireTime"], before["renewTime"]
            yield (datetime.fromisoformat(taken) - datetime.fromisoformat(renewed)).total_seconds()


def _lease(system: Kubectl) -> Object:
    found = system.get("lease", LEASE)
    assert found is not None
    spec: Object = found["spec"]
    return spec


def _leader(lease: Object) -> str:
    """Return the pod that holds a Lease; each process in it adds some letters of its own."""
    return str(lease.get("holderIdentity", "")).rpartition("-")[0]


def _operators(system: Kubectl) -> dict[str, str]:
    """Return the uid of each of the operator's pods by its name."""
    found = system.list("pod", selector=OPERATOR)
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}


def _ended(pod: Object, container: str) -> int | None:
    """Return the exit status of a container that ran in a pod; None while it runs."""
    (status,) = pod["status"]["containerStatuses"]
    for state in (status["state"], status["lastState"]):
        ended = state.get("terminated")
        if ended is not None and ended["containerID"] == container:
            return int(ended["exitCode"])
    return None

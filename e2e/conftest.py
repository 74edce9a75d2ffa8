"""One operator for all stories; one namespace for each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from e2e.cluster import Endpoints
from e2e.cluster import endpoints as find_endpoints
from e2e.harness import objects
from e2e.harness.install import Release, install
from e2e.harness.kubectl import Kubectl
from e2e.stories.door import Door
from e2e.stories.world import Story

SYSTEM = "rlhf-e2e-system"
FLAKY_NAMESPACE = "rlhf-e2e-flaky"
FLAKY_URL = f"http://prometheus.{FLAKY_NAMESPACE}:9090"


@pytest.fixture(scope="session")
def endpoints() -> Endpoints:
    return find_endpoints()


def namespace_of(test: str) -> str:
    """Return the namespace in which a story is told."""
    words = re.sub(r"[^a-z0-9]+", "-", test.lower()).strip("-")
    return f"story-{words.removeprefix('test-')}"[:50].rstrip("-")


def release(endpoints: Endpoints, watch: Sequence[str]) -> Release:
    """Return the operator under test: short times, scripted models, our namespaces alone."""
    config = _config(endpoints, watch)
    return Release(namespace=SYSTEM, name=SYSTEM, watch=tuple(watch), config=config)


def release_of_its_own(endpoints: Endpoints, namespace: str, api_server: Door) -> Release:
    """Return an operator that lives in one namespace, and nothing else of the cluster's."""
    values = {
        "rbac": {"scope": "Namespaces", "userRoles": False},
        "crds": {"enabled": False},
        "admissionPolicy": {"enabled": False},
        "extraEnv": [
            {"name": "KUBERNETES_SERVICE_HOST", "value": api_server.name},
            {"name": "KUBERNETES_SERVICE_PORT", "value": str(api_server.port)},
        ],
    }
    config = _config(endpoints, [namespace])
    config["leaderElection"] |= {"leaseDuration": "9s", "renewDeadline": "7s"}
    return Release(
        namespace=namespace, name="own", watch=(namespace,), config=config, values=values
    )


def _config(endpoints: Endpoints, watch: Sequence[str]) -> dict[str, Any]:
    sources = [
        {"name": "default", "url": endpoints.prometheus_url_in_cluster},
        {"name": "flaky", "url": FLAKY_URL, "timeout": "1s"},
    ]
    return {
        "allowCode": True,
        # Four stories at a time on two cores: a gateway may take seconds to hear of new weights.
        "drain": "6s",
        "maxConcurrentRollouts": 50,
        "metricSources": sources,
        "userQueryNamespaces": list(watch),
        "leaderElection": {
            "enabled": True, "leaseName": "rlhf-operator", "leaseDuration": "12s",
            "renewDeadline": "9s", "retryPeriod": "1s",
        },
    }  # fmt: skip


@pytest.fixture(scope="session")
def operator(
    request: pytest.FixtureRequest,
    endpoints: Endpoints,
    tmp_path_factory: pytest.TempPathFactory,
) -> Release:
    """Install the operator once, however many processes run the stories."""
    # Never none: an operator that is told no namespace works in all of them.
    watch = {SYSTEM, *(namespace_of(item.name) for item in _shared(request.session.items))}
    wanted = release(endpoints, sorted(watch))
    if "PYTEST_XDIST_WORKER" not in os.environ:
        install(endpoints, wanted)
        return wanted
    shared = tmp_path_factory.getbasetemp().parent
    with FileLock(shared / "operator.lock"):
        if not (shared / "operator.done").exists():
            install(endpoints, wanted)
            (shared / "operator.done").touch()
    return wanted


def _shared(items: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield the stories that are told with the operator that all share."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "story" in fixtures and "own_operator" not in fixtures:
            yield item


@pytest.fixture(scope="module")
def own_namespace(request: pytest.FixtureRequest, endpoints: Endpoints) -> Iterator[str]:
    """Make a namespace for what the tests of one file store, and take it away after them."""
    file = request.path.stem.removeprefix("test_").replace("_", "-")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    name = f"rlhf-e2e-{file}-{worker}".rstrip("-")
    everywhere = Kubectl.of(endpoints)
    everywhere.delete("namespace", name)
    everywhere.apply(objects.namespace(name))
    yield name
    everywhere.delete("namespace", name, wait=False)


@pytest.fixture(scope="session")
def kinds_installed(endpoints: Endpoints, operator: Release) -> None:
    """Wait for nothing more than the chart, which brings the kinds."""


@pytest.fixture
def story(
    request: pytest.FixtureRequest, endpoints: Endpoints, operator: Release, tmp_path: Path
) -> Iterator[Story]:
    """Return a fresh namespace with a world to tell a story in."""
    name = namespace_of(request.node.name)
    everywhere = Kubectl.of(endpoints)
    everywhere.delete("namespace", name)
    everywhere.apply(objects.namespace(name))
    with ExitStack() as stack:
        yield Story(
            endpoints=endpoints,
            kubectl=everywhere.within(name),
            folder=tmp_path,
            stack=stack,
            operator=operator,
        )
    everywhere.delete("namespace", name, wait=False)


@pytest.fixture
def own_operator(endpoints: Endpoints, story: Story) -> Door:
    """Give the story an operator of its own; return the door by which it has the API server.

    The door is called `kubernetes` as the API server's own Service is, one of the names in its
    certificate, and in this namespace that name leads to the door.
    """
    door = Door(
        kubectl=story.kubectl, name="kubernetes", port=6443,
        to_host="kubernetes.default.svc", to_port=443,
    )  # fmt: skip
    door.open()
    own = release_of_its_own(endpoints, story.kubectl.namespace, door)
    install(endpoints, own)
    story.operator = own
    return door

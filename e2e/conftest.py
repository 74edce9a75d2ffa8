"""One operator for all stories; one namespace for each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock

from e2e.cluster import Endpoints
from e2e.cluster import endpoints as find_endpoints
from e2e.harness import objects
from e2e.harness.install import Release, install
from e2e.harness.kubectl import Kubectl
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


def release(endpoints: Endpoints, watch: Sequence[str], **values: object) -> Release:
    """Return the operator under test: short times, scripted models, our namespaces alone."""
    sources = [
        {"name": "default", "url": endpoints.prometheus_url_in_cluster},
        {"name": "flaky", "url": FLAKY_URL, "timeout": "1s"},
    ]
    config = {
        "allowCode": True,
        "drain": "4s",
        "maxConcurrentRollouts": 50,
        "metricSources": sources,
        "userQueryNamespaces": list(watch),
        "leaderElection": {
            "enabled": True, "leaseName": "rlhf-operator", "leaseDuration": "12s",
            "renewDeadline": "9s", "retryPeriod": "1s",
        },
    }  # fmt: skip
    return Release(namespace=SYSTEM, name=SYSTEM, watch=tuple(watch), config=config, values=values)


@pytest.fixture(scope="session")
def operator(
    request: pytest.FixtureRequest,
    endpoints: Endpoints,
    tmp_path_factory: pytest.TempPathFactory,
) -> Release:
    """Install the operator once, however many processes run the stories."""
    stories = [
        item for item in request.session.items if "story" in getattr(item, "fixturenames", ())
    ]
    # Never none: an operator that is told no namespace works in all of them.
    watch = {SYSTEM, *(namespace_of(item.name) for item in stories)}
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

"""How the API server is asked, and how the cluster's pods are listed for counting."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from rlhf_operator.adapters.api_error import ApiError
from rlhf_operator.adapters.cluster import KubernetesCluster
from rlhf_operator.api.errors import Transient

LIMITS = {"limits": {"nvidia.com/gpu": "1", "cpu": "2"}}
TAKES = {
    "metadata": {"name": "takes", "namespace": "team", "labels": {"a": "b"}, "managedFields": []},
    "spec": {"nodeName": "n", "containers": [{"name": "c", "env": [], "resources": LIMITS}]},
}
PLAIN = {"metadata": {"name": "plain"}, "spec": {"nodeName": "n", "containers": [{"name": "c"}]}}


class Answering(KubernetesCluster):
    """Answers with pages, or with an error."""

    def __init__(self, *pages: Any) -> None:
        super().__init__(client=None)  # type: ignore[arg-type]
        self.pages = list(pages)
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def request(self, method: str, path: str, *_: Any, query: Any = None, **__: Any) -> Any:
        self.asked.append((path, dict(query)))
        answer = self.pages.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def page(*pods: Any, more: str = "") -> dict[str, Any]:
    return {"items": list(pods), "metadata": {"continue": more}}


def test_all_pages_are_read_and_only_what_counts_is_kept() -> None:
    cluster = Answering(page(TAKES, PLAIN, more="next"), page(PLAIN, TAKES))
    found = asyncio.run(cluster.pods_on_nodes())
    assert found is not None and len(found) == 2
    assert found[0] == {
        "metadata": {"namespace": "team", "labels": {"a": "b"}},
        "spec": {"nodeName": "n", "containers": [{"resources": LIMITS}], "initContainers": []},
    }
    (path, first), (_, second) = cluster.asked
    assert path == "/api/v1/pods" and "status.phase!=Failed" in first["fieldSelector"]
    assert second["continue"] == "next"


def test_one_list_serves_many_who_ask_at_once() -> None:
    cluster = Answering(page(TAKES))

    async def many() -> list[Any]:
        return await asyncio.gather(*(cluster.pods_on_nodes() for _ in range(5)))

    assert asyncio.run(many()) == [asyncio.run(cluster.pods_on_nodes())] * 5
    assert len(cluster.asked) == 1


def test_what_is_forbidden_is_told_and_not_raised() -> None:
    assert asyncio.run(Answering(ApiError(403, "no")).pods_on_nodes()) is None


def test_what_fails_is_tried_again_later() -> None:
    with pytest.raises(Transient):
        asyncio.run(Answering(ApiError(400, "odd")).pods_on_nodes())


def test_events_wait_until_it_is_calm() -> None:
    model = {
        "apiVersion": "rlhf.dev/v1alpha1", "kind": "RLHFModel",
        "metadata": {"namespace": "team", "name": "support", "uid": "1"},
    }  # fmt: skip

    async def told() -> tuple[list[str], list[str]]:
        calm = asyncio.Event()
        cluster = Posting(calm.wait)
        for reason in ("One", "Two", "Three"):
            await cluster.tell(model, "Normal", reason, "said")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        before = list(cluster.reasons)
        calm.set()
        while len(cluster.reasons) < 3:
            await asyncio.sleep(0)
        return before, cluster.reasons

    assert asyncio.run(told()) == ([], ["One", "Two", "Three"])


class Posting(KubernetesCluster):
    """Notes the Events that are posted."""

    def __init__(self, calm: Any) -> None:
        super().__init__(client=None, calm=calm)  # type: ignore[arg-type]
        self.reasons: list[str] = []

    async def request(self, method: str, path: str, *given: Any, **_: Any) -> Any:
        assert (method, path) == ("POST", "/api/v1/namespaces/team/events")
        self.reasons.append(given[0]["reason"])


async def test_requests_ask_no_thread_and_share_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.json_response({"kind": "Service"})

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        chosen = Configuration(host=str(server.make_url("")))
        async with ApiClient(chosen) as client:
            cluster = KubernetesCluster(client)
            before = set(threading.enumerate())
            for _ in range(3):
                assert await cluster.read("Service", "team", "one") == {"kind": "Service"}
            assert set(threading.enumerate()) == before
            assert len(ports) == 1
            connector: Any = client.rest_client.pool_manager.connector
            assert connector._keepalive_timeout == 60

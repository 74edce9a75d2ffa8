"""Throughput and latency of a real Triton with dynamic batching and without, side by side.

Two models serve the same checkpoint on the processor, one pod each, through their guards. Users
ask in a closed loop: each as soon as it has its answer. The two are asked in turn, several times.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import aiohttp

from e2e.checkpoints import corpus, maker
from e2e.cluster import endpoints
from e2e.harness import artifacts, objects
from e2e.harness.install import Release, install, uninstall
from e2e.harness.kubectl import Kubectl, condition

_NAMESPACE = "rlhf-bench-batching"
_RELEASE = Release(namespace=_NAMESPACE, name="rlhf-bench-batching", watch=(_NAMESPACE,))
_BATCH = {"on": 16, "off": 1}
_USERS = 16
_ROUNDS = 3
_SECONDS = 12.0
_TOKENS = 24


def measure() -> dict[str, Any]:
    """Return requests per second and latency in milliseconds, with batching on and off."""
    kubectl = Kubectl.of(endpoints(), _NAMESPACE)
    kubectl.delete("namespace", _NAMESPACE)
    kubectl.apply(objects.namespace(_NAMESPACE))
    try:
        install(endpoints(), _RELEASE)
        urls = {name: _serve(kubectl, name, size) for name, size in _BATCH.items()}
        return asyncio.run(_compare(urls))
    finally:
        uninstall(endpoints(), _RELEASE)
        kubectl.delete("namespace", _NAMESPACE, wait=False)


def _serve(kubectl: Kubectl, name: str, size: int) -> str:
    """Serve the checkpoint with batches of at most this size; return where it is asked."""
    published = artifacts.publish(kubectl, maker.make()["sft"], "checkpoint-sft")
    version = f"{name}-sft"
    batching = {"maxBatchSize": size, "maxQueueDelay": "5ms"}
    kubectl.apply(
        objects.version(version, published, model=name, stage="SFT", batching=batching),
        objects.policy("safe"),
        objects.model(
            endpoints(), name=name, version=version, fallback=version, policies=["safe"],
            traffic={"router": "Service"}, guard={},
        ),
    )  # fmt: skip
    kubectl.wait_for(
        "rlhfmodel", name, lambda model: condition(model, "Ready").get("status") == "True",
        what=f"{name} is ready", seconds=180,
    )  # fmt: skip
    service = kubectl.get("service", name)
    assert service is not None
    port = service["spec"]["ports"][0]["port"]
    return f"http://{service['spec']['clusterIP']}:{port}/v1/completions"


async def _compare(urls: dict[str, str]) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in urls}
    latencies: dict[str, list[float]] = {name: [] for name in urls}
    async with aiohttp.ClientSession(trust_env=False) as session:
        for url in urls.values():
            await _round(session, url, 2.0)
        for _ in range(_ROUNDS):
            for name, url in urls.items():
                took, found = await _round(session, url, _SECONDS)
                rates[name].append(len(found) / took)
                latencies[name] += found
    found = {
        name: {
            "rps": round(statistics.median(rates[name]), 2),
            "p50_ms": round(1000 * statistics.median(latencies[name]), 1),
            "p99_ms": round(1000 * statistics.quantiles(latencies[name], n=100)[98], 1),
            "answers": len(latencies[name]),
        }
        for name in urls
    }
    ratio = statistics.median(on / off for on, off in zip(rates["on"], rates["off"], strict=True))
    about = f"{_USERS} users, {_TOKENS} tokens, batches of at most {_BATCH['on']}, on the processor"
    return {**found, "rps_on_per_off": round(ratio, 2), "about": about}


async def _round(
    session: aiohttp.ClientSession, url: str, seconds: float
) -> tuple[float, list[float]]:
    """Ask for some time; return how long it took, and the seconds of each answer."""
    began = time.monotonic()
    found: list[float] = []
    questions = corpus.questions()

    async def user(number: int) -> None:
        question = questions[number % len(questions)]
        body = {"prompt": corpus.prompt(question), "max_tokens": _TOKENS, "temperature": 0}
        while time.monotonic() < began + seconds:
            asked = time.monotonic()
            async with session.post(url, json=body) as answer:
                answer.raise_for_status()
                await answer.read()
            found.append(time.monotonic() - asked)

    await asyncio.gather(*(user(number) for number in range(_USERS)))
    return time.monotonic() - began, found

"""`python -m e2e.bench.operator --config FILE`: the operator as it is, with two differences.

Its requests to the API server are counted, and golden prompts pass at once: on fake nodes there
is no guard that could be asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kubernetes.aio.client import ApiClient
from prometheus_client import Counter

from rlhf_operator.api.evidence import GoldenResult
from rlhf_operator.controller import __main__ as program
from rlhf_operator.controller.config import OperatorConfig
from rlhf_operator.controller.process import Process, utc_now

REQUESTS = "bench_api_requests"


class PassingProber:
    """Finds every golden prompt well answered."""

    def golden(self, key: Any, run: str, host: str) -> GoldenResult:
        """Return the result at once."""
        return GoldenResult(at=utc_now(), passed=True)

    async def close(self) -> None:
        """Stop nothing: nothing was started."""


class CountedProcess(Process):
    """The operator's process with its requests counted; watches are not among them."""

    def __init__(self, config: OperatorConfig, client: ApiClient, identity: str) -> None:
        super().__init__(config, client, identity)
        prober: Any = PassingProber()
        self.prober = prober
        self.workers.world = replace(self.workers.world, prober=prober)
        self._requests = Counter(
            REQUESTS,
            "Requests to the API server.",
            ["verb", "kind"],
            registry=self.telemetry.registry,
        )
        self._plain = self.cluster.request
        cluster: Any = self.cluster
        cluster.request = self._counted

    async def _counted(self, method: str, path: str, *given: Any, **named: Any) -> Any:
        self._requests.labels("read" if method == "GET" else "write", _kind(path)).inc()
        return await self._plain(method, path, *given, **named)


def _kind(path: str) -> str:
    """Return the plural of the objects that a path is about."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    return parts[2] if parts[:1] == ["namespaces"] and len(parts) > 2 else parts[0]


if __name__ == "__main__":
    replaced: Any = program
    replaced.Process = CountedProcess
    program.main()

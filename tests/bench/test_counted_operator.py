"""The operator of the bench: as it is, with its requests counted."""

from __future__ import annotations

from typing import Any

from e2e.bench.operator import REQUESTS, CountedProcess
from tests.controller.test_process import CONFIG


async def test_its_requests_are_counted_by_verb_and_kind_beside_its_own_metrics() -> None:
    made = CountedProcess(CONFIG, None, "me")  # type: ignore[arg-type]

    async def answer(*_: Any, **__: Any) -> dict[str, Any]:
        return {}

    made._plain = answer  # type: ignore[method-assign]
    await made.cluster.request("GET", "/api/v1/namespaces/a/services/b")
    await made.cluster.request("PUT", "/apis/rlhf.dev/v1alpha1/namespaces/a/rlhfmodels/b/status")
    text = (await made.telemetry.text()).decode()
    assert f'{REQUESTS}_total{{kind="services",verb="read"}} 1.0' in text
    assert f'{REQUESTS}_total{{kind="rlhfmodels",verb="write"}} 1.0' in text

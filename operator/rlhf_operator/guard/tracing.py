"""Traces: one span a request, by OTLP over HTTP, with OpenTelemetry's names for generative AI.

A span tells what happened and when, and holds no prompt and no answer. Why this is not
OpenTelemetry's own SDK stands in docs/decisions.md.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.api.operation import GuardTracing
from rlhf_operator.guard.state import Call

log = logging.getLogger("rlhf_operator.guard")

MOST_WAITING = 2048
"""Spans that wait to be sent; the oldest are dropped."""
EVERY = 5.0
"""Seconds between two deliveries."""
_BATCH = 512
_TIMEOUT = aiohttp.ClientTimeout(total=5)
_SERVER, _ERROR = 2, 2  # OTLP's numbers for a span's kind and status

# W3C Trace Context, version 00; of later ones what is known of them is read.
_PARENT = re.compile(
    r"^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
_OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}


@dataclass(kw_only=True, slots=True)
class Span:
    """One request under way."""

    trace: str
    parent: str | None
    operation: str
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    began: int = field(default_factory=time.time_ns)


class Tracer:
    """Makes spans and keeps them until they are sent. Mutable; used by one event loop."""

    def __init__(
        self,
        config: GuardConfig,
        tracing: GuardTracing,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._url = tracing.endpoint.rstrip("/") + "/v1/traces"
        self._share = float(tracing.share)
        self._chance = chance
        self.waiting: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self._is_ill = False

    def begin(self, request: web.Request) -> Span | None:
        """Return a span if this request is traced: as its caller says, else by chance."""
        found = _PARENT.match(request.headers.get("traceparent", "")[:64].lower())
        is_chosen = int(found[3], 16) & 1 if found else self._chance() < self._share
        if not is_chosen:
            return None
        return Span(
            trace=found[1] if found else secrets.token_hex(16),
            parent=found[2] if found else None,
            operation=_OPERATIONS.get(request.path, "generate_content"),
        )

    def end(self, span: Span, call: Call, status: int | None, error: str | None) -> None:
        """Keep a span whose request is over."""
        said = _attributes(self._config, span, call, status, error)
        made: dict[str, Any] = {
            "traceId": span.trace,
            "spanId": span.name,
            "name": f"{span.operation} {self._config.model}",
            "kind": _SERVER,
            "startTimeUnixNano": str(span.began),
            "endTimeUnixNano": str(time.time_ns()),
            "attributes": [_attribute(name, value) for name, value in said.items()],
        }
        if span.parent is not None:
            made["parentSpanId"] = span.parent
        if error is not None:
            made["status"] = {"code": _ERROR}
        self.waiting.append(made)

    async def deliver(self, session: aiohttp.ClientSession) -> None:
        """Send what waits, again and again; ends only when cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.flush(session)

    async def flush(self, session: aiohttp.ClientSession) -> None:
        """Send what waits now; what a collector does not take is lost."""
        while self.waiting:
            spans = [self.waiting.popleft() for _ in range(min(_BATCH, len(self.waiting)))]
            try:
                body = self._batch(spans)
                async with session.post(self._url, json=body, timeout=_TIMEOUT) as reply:
                    self._note("" if reply.status < 300 else f"status {reply.status}")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._note(type(error).__name__)
                return

    def _note(self, trouble: str) -> None:
        if trouble and not self._is_ill:
            log.warning("traces are lost: %s", trouble)
        self._is_ill = bool(trouble)

    def _batch(self, spans: list[dict[str, Any]]) -> dict[str, Any]:
        resource = {
            "service.name": "rlhf-guard",
            "service.namespace": self._config.namespace,
            "service.instance.id": f"{self._config.model}/{self._config.version}",
        }
        return {
            "resourceSpans": [
                {
                    "resource": {"attributes": [_attribute(*each) for each in resource.items()]},
                    "scopeSpans": [{"scope": {"name": "rlhf_operator.guard"}, "spans": spans}],
                }
            ]
        }


def _attributes(
    config: GuardConfig, span: Span, call: Call, status: int | None, error: str | None
) -> Mapping[str, Any]:
    found = {
        "gen_ai.operation.name": span.operation,
        "gen_ai.request.model": config.model,
        "gen_ai.response.model": config.version,
        "gen_ai.response.id": call.response_id,
        "gen_ai.response.finish_reasons": [call.finish_reason] if call.finish_reason else None,
        "gen_ai.usage.input_tokens": call.prompt_tokens,
        "gen_ai.usage.output_tokens": call.answer_tokens,
        "http.response.status_code": status,
        "error.type": error,
        "rlhf.version": config.version,
        "rlhf.verdict": call.verdict,
    }
    return {name: value for name, value in found.items() if value is not None}


def _attribute(name: str, value: Any) -> dict[str, Any]:
    """Return an attribute as OTLP's JSON has it: whole numbers are text."""
    if isinstance(value, list):
        return {
            "key": name,
            "value": {"arrayValue": {"values": [{"stringValue": each} for each in value]}},
        }
    kind = "intValue" if isinstance(value, int) else "stringValue"
    return {"key": name, "value": {kind: str(value)}}

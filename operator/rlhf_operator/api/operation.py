"""How a guard is run: what it takes on, how it is reached, and where its traces go."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from rlhf_operator.api.schema import (
    ApiType,
    DecimalText,
    Duration,
    Name,
    decimal,
    parse_duration,
    rule,
)

Address = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=512)]


class RequestLimits(ApiType):
    """What one guard takes on, within the bounds of the operator's configuration.

    What is unset is as the operator's configuration has it.
    """

    body_bytes: Annotated[int, Field(ge=1024, le=67_108_864)] | None = None
    """Largest request body, after decompression; more gets 413."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Requests for an answer in flight at once in one pod; more get 503 with Retry-After."""

    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    """Largest `max_tokens` that a request may ask for; more gets 400."""

    timeout: Duration | None = None
    """Longest time from a request's headers to the last byte of its answer; at most 1h."""

    @rule(
        "!has(self.timeout) || "
        "(duration(self.timeout) > duration('0s') && duration(self.timeout) <= duration('1h'))",
        "timeout must be above 0 and at most 1h",
    )
    def timeout_is_some_time(self) -> bool:
        """Tell whether an answer has any time, and not forever."""
        if self.timeout is None:
            return True
        return timedelta(0) < parse_duration(self.timeout) <= timedelta(hours=1)


class GuardLimits(ApiType):
    """What one guard process takes on."""

    body_bytes: Annotated[int, Field(ge=1024, le=67_108_864)] = 1_048_576
    """Largest request body, after decompression."""

    header_bytes: Annotated[int, Field(ge=1024, le=65_536)] = 8192
    """Longest request line and longest single header."""

    connections: Annotated[int, Field(ge=1, le=100_000)] = 2048
    """Connections at once; more are answered 503 and closed."""

    header_seconds: Annotated[float, Field(gt=0, le=600)] = 15.0
    """How long a new connection may take until its first request's headers are there."""

    body_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long a request's body may take to arrive; it takes no place in flight meanwhile."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Requests for an answer in flight at once; more get 503 with Retry-After."""

    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """Longest time from a request's headers to the last byte of its answer."""

    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = 4096
    """Largest `max_tokens` that a request may ask for."""


class GuardTLS(ApiType):
    """With which certificate guards serve HTTPS."""

    secret_name: Name
    """A Secret of type kubernetes.io/tls in the model's namespace; it may be renewed at any
    time. Its certificate must name the versions' Services."""


class GuardTracing(ApiType):
    """Where traces go; they hold no prompt and no answer."""

    endpoint: Address
    """The OTLP/HTTP address of a collector, such as `http://collector.monitoring:4318`; the
    path /v1/traces is added."""

    share: DecimalText = "0.01"
    """The share of requests that is traced, over 0 and at most 1, where the caller does not say by
    a `traceparent` header."""

    @rule(
        "double(self.share) > 0.0 && double(self.share) <= 1.0",
        "share must lie over 0 and at most at 1",
    )
    def share_is_a_share(self) -> bool:
        """Tell whether the share is one."""
        return 0 < decimal(self.share) <= 1

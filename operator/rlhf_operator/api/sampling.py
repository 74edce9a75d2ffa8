"""Sampling: which answers leave the pod for scoring and review, and where they go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rlhf_operator.api.schema import ApiType, DecimalText, Duration, Name, decimal, rule
from rlhf_operator.api.stages import Recognizer, SecretKey, ServiceRef

CONSENT_HEADER = "x-rlhf-consent"
"""With `no`, the answer to a request is never sampled, whatever else is set."""

FLUSH_SECONDS = 5.0
"""How long a guard on its way out, with its last answer gone, waits for the sink to take the rest;
its pod is given so much longer."""


class Sampling(ApiType):
    """A share of the production traffic, without what names a person, sent to a sink."""

    service: ServiceRef | None = None
    """The sink: a Service of the same namespace that takes batches of CloudEvents by POST, or:"""

    provider: Name | None = None
    """the name of a sink that the operator's configuration lists."""

    credentials: SecretKey | None = None
    """A bearer token for the sink."""

    share: DecimalText
    """The share of all answers that is sampled, over 0 and at most 1. During a run it
    is made up of equal numbers of answers of all arms, whatever their weights; where a small arm
    has too few, the others give what is missing."""

    redact: Annotated[tuple[Recognizer, ...], Field(max_length=8)] = (
        "Email",
        "Phone",
        "CreditCard",
        "IBAN",
        "IPAddress",
        "SocialSecurityNumber",
        "NationalID",
        "Secret",
    )
    """What is replaced in prompts and answers before they leave the pod."""

    consent_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$", max_length=64)] | None = (
        None
    )
    """A request header that must say `yes` or `true` for an answer to be sampled. In any case
    `x-rlhf-consent: no` keeps an answer out."""

    queue: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """How many samples may wait for the sink; what comes on top is dropped and counted."""

    batch: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many samples go into one request."""

    max_delay: Duration = "5s"
    """How long a sample may wait for its batch to fill."""

    @rule(
        "has(self.service) != has(self.provider)", "sampling needs exactly one of service, provider"
    )
    def is_somewhere(self) -> bool:
        """Tell whether there is exactly one sink."""
        return (self.service is None) != (self.provider is None)

    @rule(
        "double(self.share) > 0.0 && double(self.share) <= 1.0",
        "share must lie over 0 and at most at 1",
    )
    def share_is_a_share(self) -> bool:
        """Tell whether the share is one."""
        return 0 < decimal(self.share) <= 1

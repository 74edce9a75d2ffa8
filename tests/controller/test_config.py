"""What the operator's configuration says about guards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from rlhf_operator.controller.config import OperatorConfig
from rlhf_operator.core.pod_plan import ServingDefaults

IMAGES = {"triton": "triton", "guard": "guard", "artifacts": "artifacts"}


def serving(**config: Any) -> ServingDefaults:
    return OperatorConfig.model_validate({"images": IMAGES, **config}).settings().serving


def test_a_provider_is_offered_to_the_namespaces_that_it_names() -> None:
    url = "https://moderation.example:8443/v1"
    told = serving(guardProviders=[{"name": "moderation", "url": url, "namespaces": ["support"]}])
    (offer,) = told.guard_providers
    assert (offer.name, offer.url, offer.port) == ("moderation", url, 8443)
    assert offer.namespaces == {"support"}


def test_limits_that_are_not_set_are_the_usual_ones() -> None:
    told = serving()
    assert told.guard_bounds.concurrency == 256
    assert told.guard_bounds.timeout_seconds == 120
    assert told.longest_generation == timedelta(minutes=2)
    assert (told.guard_providers, told.guard_tracing) == ((), None)


def test_limits_bound_what_a_guard_takes_on_and_how_long_its_pod_may_take_to_end() -> None:
    told = serving(guardLimits={"concurrency": 32, "timeout": "10m"})
    assert told.guard_bounds.concurrency == 32
    assert told.guard_bounds.timeout_seconds == 600
    assert told.longest_generation == timedelta(minutes=10)


@pytest.mark.parametrize(
    "config",
    [
        {"guardProviders": [{"name": "x", "url": "moderation.example"}]},
        {"guardProviders": [{"name": "x", "url": "http://a"}, {"name": "x", "url": "http://b"}]},
        {"guardLimits": {"timeout": "5h"}},
        {"guardTracing": {"endpoint": "http://collector:4318", "share": "2"}},
    ],
    ids=["no address", "a name twice", "too long", "more than all"],
)
def test_what_a_guard_could_not_use_stops_the_operator_at_its_start(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        serving(**config)

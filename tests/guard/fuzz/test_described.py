"""The guard does what its OpenAPI description says, and no more."""

from __future__ import annotations

import json

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks

from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.guard import openapi
from tests.guard.fuzz.conftest import CHECKED
from tests.guard.fuzz.examples import MANY
from tests.guard.fuzz.loopback import Loopback, head
from tests.guard.world import World, a_config

CONFIG = GuardConfig.model_validate(a_config(**CHECKED))
REFUSALS = ("400", "403", "404", "413")
schema = schemathesis.openapi.from_dict(
    openapi.describe(CONFIG),
    config=SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "generation": {"max-examples": MANY or 15, "deterministic": not MANY},
            # What is wrong may be too large as well, and is told so first.
            "checks": {"negative_data_rejection": {"expected-statuses": [*REFUSALS]}},
        }
    ),
)
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
    checks.allow_header_conformance,
]


@schema.parametrize()
def test_what_is_described_is_done(case: schemathesis.Case, checked: Loopback) -> None:
    case.call_and_validate(base_url=f"http://127.0.0.1:{checked.port}", checks=CHECKS)


def test_a_guard_describes_itself(checked: Loopback) -> None:
    [said] = checked.send(head("GET", "/openapi.json"))
    assert json.loads(said.body) == openapi.describe(CONFIG)


async def test_nothing_is_offered_that_is_not_described(world: World) -> None:
    app = world.users.app
    assert app is not None
    offered = {
        (route.method, str(route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = {
        (method.upper(), path)
        for path, methods in openapi.describe()["paths"].items()
        for method in methods
        if not path.startswith("/v2")
    }
    assert offered - {("*", "/v2{rest}")} == described

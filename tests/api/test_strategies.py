"""The generated objects are worth asking about: many are accepted, and many are refused."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rlhf_operator.api import crd
from rlhf_operator.api.crd import Kind
from rlhf_operator.api.kinds import KINDS
from tests.api import strategies

PARTS = ("spec", "status")
TYPES: dict[tuple[str, str], Any] = {
    (kind.kind, part): crd._field(kind, part) for kind in KINDS for part in PARTS
}
SCHEMAS = {
    kind.kind: crd.render(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for kind in KINDS
}


def read(kind: Kind, part: str, value: Any) -> Any:
    """Return a spec or a status as our types have it; None where they refuse it."""
    try:
        return TYPES[kind.kind, part].model_validate_json(json.dumps(value))
    except ValidationError:
        return None


def has_unknown(node: dict[str, Any], value: Any) -> bool:
    """Whether the API server would prune or refuse a field that the schema does not know."""
    if isinstance(value, dict) and "properties" in node:
        known = node["properties"]
        return any(
            name not in known or has_unknown(known[name], each) for name, each in value.items()
        )
    if isinstance(value, list) and "items" in node:
        return any(has_unknown(node["items"], each) for each in value)
    return False


def without_nulls(value: Any) -> Any:
    """The API server drops a null from a field that may hold none before it validates."""
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_pydantic_accepts_the_schema_accepts(
    kind: Kind, part: str, data: st.DataObject
) -> None:
    """CEL rules only narrow a schema, so this half holds without an API server."""
    whole = TYPES[kind.kind, part]
    value = data.draw(strategies.objects(whole) | strategies.broken(whole))
    node = SCHEMAS[kind.kind][part]
    if (found := read(kind, part, value)) is None:
        return
    for stored in (without_nulls(value), found.dump()):
        jsonschema.validate(stored, node)
        assert not has_unknown(node, stored)

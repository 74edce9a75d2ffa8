"""What is read of the API server's answers."""

from __future__ import annotations

import asyncio
import json

import pytest

from rlhf_operator.adapters import answers


def test_a_long_list_comes_without_managed_fields() -> None:
    managed = [{"manager": "someone", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    item = {"metadata": {"name": "a", "managedFields": managed}, "spec": {"replicas": 1}}
    kept = {"metadata": {"name": "a"}, "spec": {"replicas": 1}}
    page = {"items": [item] * 5000, "metadata": {"continue": ""}}
    assert asyncio.run(answers.read(json.dumps(page).encode())) == page | {"items": [kept] * 5000}
    assert asyncio.run(answers.read(json.dumps(item).encode())) == item, (
        "a single object is as it was sent"
    )


@pytest.mark.parametrize("length", [10, 1_000_000])
def test_what_is_no_json_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match=r"[Ee]xpect"):
        answers.content(b"<" * length)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        pytest.param(b'{"message": "not here"}', "not here", id="what a Status says"),
        pytest.param(b"{}", "", id="nothing, where it says nothing"),
        pytest.param(b"[1]", "[1]", id="JSON of another form, as it came"),
        pytest.param(b"<html>" + b"x" * 300, "<html>" + "x" * 194, id="a page of a proxy, cut"),
    ],
)
def test_what_an_error_tells(payload: bytes, told: str) -> None:
    assert answers.message(payload) == told

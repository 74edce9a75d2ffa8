"""The guard's API for users, described as OpenAPI 3.1.

Requests are described by the types that read them, so the two cannot part; that answers are as
they are described is tested against a running guard.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.guard import openai, parameters, v2
from rlhf_operator.guard.openapi import answers
from rlhf_operator.guard.openapi.operations import (
    ERRORS,
    EVENTS,
    OPEN,
    OPERATIONS,
    Content,
    Operation,
)
from rlhf_operator.guard.state import ID_HEADER, VERDICT_HEADER

_ABOUT = """A guard stands before one version of a model: it checks what is asked and what is
answered. Every answer to a question carries a verdict and an id, by which users may vote on it.
A parameter that would change the answer and that cannot be honoured is refused, not ignored."""

_PARAMETERS = {"model": v2._NAME, "version": "[0-9]+", "name": v2._NAME}
_SENT = {
    "x-rlhf-model": "The name of the RLHFModel.",
    "x-rlhf-version": "The name of the RLHFModelVersion that answers.",
}

_UNREAD: tuple[tuple[type[BaseModel], parameters.Unread], ...] = (
    (openai._Completion, parameters.REQUEST),
    (openai._Chat, parameters.REQUEST),
    (openai._StreamOptions, parameters.STREAM_OPTIONS),
    (openai._Message, parameters.MESSAGE),
)
"""What may stand beside what is read."""

_JUDGED = {
    ID_HEADER: "The answer's signed id, for votes.",
    VERDICT_HEADER: "What became of question and answer, by the strictest word.",
}


def describe(config: GuardConfig | None = None) -> dict[str, Any]:
    """Return the description: of one guard with its limits, or of guards in general."""
    schemas = _schemas()
    if config is not None:
        _limit(schemas, config)
    return {
        "openapi": "3.1.0",
        "info": {"title": "RLHF guard", "version": "v1", "description": " ".join(_ABOUT.split())},
        "paths": _paths(),
        "components": {"schemas": schemas, "responses": _errors()},
    }


def text(config: GuardConfig | None = None) -> str:
    """Return the description as JSON text."""
    return json.dumps(describe(config), indent=1) + "\n"


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return paths


def _operation(operation: Operation) -> dict[str, Any]:
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{pattern}$"},
        }
        for name, pattern in _PARAMETERS.items()
        if f"{{{name}}}" in operation.path
    ] + [
        {
            "name": name,
            "in": "header",
            "description": said,
            "schema": {"type": "integer", "minimum": 0},
        }
        for name, said in operation.headers.items()
    ]
    sent = _SENT | _JUDGED if operation.is_judged else _SENT
    ok = {"description": "OK", "headers": _headers(sent), "content": _content(operation.gives)}
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        **({"parameters": parameters} if parameters else {}),
        **(
            {"requestBody": {"required": True, "content": _content(operation.takes)}}
            if operation.takes
            else {}
        ),
        "responses": {
            "200": ok,
            **{
                str(status): {"$ref": f"#/components/responses/{status}"}
                for status in sorted(operation.errors)
            },
        },
    }


def _content(content: Content) -> dict[str, Any]:
    return {
        kind: {"schema": _event(str(said)) if kind == EVENTS else _schema(said)}
        for kind, said in content.items()
    }


def _event(said: str) -> dict[str, Any]:
    data = {"data": {"type": "string", "description": said}}
    return {"type": "object", "properties": data, "required": ["data"]}


def _schema(said: type[BaseModel] | str) -> dict[str, Any]:
    if said == OPEN:
        return {"type": "object"}
    if isinstance(said, str):
        return {"type": "string", "description": said}
    return {"$ref": f"#/components/schemas/{_name(said)}"}


def _name(model: type[BaseModel]) -> str:
    return model.__name__.lstrip("_")


def _headers(said: dict[str, str]) -> dict[str, Any]:
    return {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in said.items()
    }


def _errors() -> dict[str, Any]:
    error = {"application/json": {"schema": _schema(answers.Error)}}
    return {
        str(status): {"description": said, "headers": _headers(_SENT), "content": error}
        for status, said in ERRORS.items()
    }


def _types() -> Iterable[type[BaseModel]]:
    contents = [each for op in OPERATIONS for each in (*op.takes.values(), *op.gives.values())]
    types = {each for each in contents if not isinstance(each, str)} | {answers.Error}
    return sorted(types, key=_name)


def _schemas() -> dict[str, Any]:
    _, made = models_json_schema(
        [(each, "validation") for each in _types()],
        ref_template="#/components/schemas/{model}",
    )
    # Types that only their own module names begin with an underscore there.
    public = json.dumps(made["$defs"]).replace("#/components/schemas/_", "#/components/schemas/")
    schemas = {name.lstrip("_"): schema for name, schema in json.loads(public).items()}
    for schema in schemas.values():
        schema["title"] = schema["title"].lstrip("_")
    for model, unread in _UNREAD:
        said = unread.describe()
        schema = schemas[_name(model)]
        schema["properties"] |= said["properties"]
        schema["additionalProperties"] = said["additionalProperties"]
    return schemas


def _limit(schemas: dict[str, Any], config: GuardConfig) -> None:
    """Write into the descriptions what one guard's configuration limits."""
    for model in (openai._Completion, openai._Chat):
        properties = schemas[_name(model)]["properties"]
        properties["model"] = {"enum": [None, config.model]}
        for name in {"max_tokens", "max_completion_tokens"} & set(properties):
            [number] = (one for one in properties[name]["anyOf"] if one["type"] == "integer")
            number["maximum"] = config.limits.max_tokens

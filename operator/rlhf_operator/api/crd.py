"""From the pydantic types to CustomResourceDefinitions with structural schemas.

Kubernetes refuses much of what pydantic writes: references, null types, closed objects,
numeric exclusive bounds. Each is turned into what the API server takes; what has no
translation fails the build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from rlhf_operator.api.common import Object
from rlhf_operator.api.schema import GROUP, VERSION, Recorded

Json = dict[str, Any]

_KEPT = {
    "type", "description", "enum", "pattern", "format", "minimum", "maximum", "minLength",
    "maxLength", "minItems", "maxItems", "maxProperties", "required", "default",
}  # fmt: skip
_DROPPED = {"title", "discriminator", "examples", "readOnly", "deprecated"}
_MAX_TEXT = 32768


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of `kubectl get`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    """Whether it is shown with `-o wide` only."""

    def render(self) -> Json:
        """Return the column as the CRD wants it."""
        return {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            **({"priority": 1} if self.wide else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of ours: its names and how it shows."""

    kind: str
    plural: str
    short: str
    type: type[Object[Any, Any]]
    columns: tuple[Column, ...]
    description: str
    scale: Json | None = None
    selectable: tuple[str, ...] = ()

    @property
    def crd_name(self) -> str:
        """Return the name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"


def render(kind: Kind) -> Json:
    """Return the CustomResourceDefinition of a kind."""
    spec = schema(_field(kind, "spec"))
    status = _without_defaults(schema(_field(kind, "status")))
    status["default"] = {"observedGeneration": -1}
    # Otherwise the API server works out with each write who owns which field. Nobody shares these:
    # we write them whole.
    for part in (status, spec) if issubclass(_field(kind, "spec"), Recorded) else (status,):
        part["x-kubernetes-map-type"] = "atomic"
    subresources: Json = {"status": {}}
    if kind.scale:
        subresources["scale"] = kind.scale
    version: Json = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": subresources,
        "additionalPrinterColumns": [column.render() for column in kind.columns],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": kind.description,
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    "spec": spec,
                    "status": status,
                },
            }
        },
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["rlhf"],
            },
            "versions": [version],
        },
    }


def schema(model: type[BaseModel]) -> Json:
    """Return the structural schema of a pydantic type.

    Raises ValueError where the type says something that a structural schema cannot.
    """
    raw = model.model_json_schema(
        by_alias=True, mode="validation", schema_generator=GenerateJsonSchema
    )
    types: Json = raw.get("$defs", {})
    if issubclass(model, Recorded):
        for each in (raw, *types.values()):
            each.pop("x-kubernetes-validations", None)
    return _structural(raw, types, model.__name__, top=True)


def _structural(raw: Json, types: Json, path: str, *, top: bool = False) -> Json:
    node = _resolve(raw, types)
    kept: Json = {}
    for key, value in node.items():
        if key in _KEPT or key.startswith("x-kubernetes-"):
            kept[key] = value
        elif key == "const":
            kept["enum"] = [value]
        elif key == "properties":
            kept[key] = {
                name: _structural(child, types, f"{path}.{name}") for name, child in value.items()
            }
        elif key == "items":
            kept[key] = _structural(value, types, f"{path}[]")
        elif key == "additionalProperties":
            if isinstance(value, dict):
                kept[key] = _structural(value, types, f"{path}{{}}")
        elif key not in _DROPPED and key not in ("$defs",):
            raise ValueError(f"{path}: a structural schema has no {key!r}")
    return _finish(kept, path, top=top)


def _resolve(raw: Json, types: Json) -> Json:
    """Inline a reference and collapse `X or null`; what stands beside it wins."""
    beside = {key: value for key, value in raw.items() if key not in ("$ref", "anyOf", "allOf")}
    inner: Json = {}
    if "$ref" in raw:
        inner = _resolve(types[raw["$ref"].removeprefix("#/$defs/")], types)
    elif "anyOf" in raw:
        options = [option for option in raw["anyOf"] if option.get("type") != "null"]
        if len(options) != 1:
            raise ValueError(f"a union is not structural: {raw}")
        inner = _resolve(options[0], types)
    elif "allOf" in raw:
        (only,) = raw["allOf"]
        inner = _resolve(only, types)
    return inner | beside


def _finish(node: Json, path: str, *, top: bool) -> Json:
    if "enum" in node and "type" not in node:
        node["type"] = "string"
    if isinstance(node.get("default"), dict) and "properties" in node and not top:
        node["default"] = {}  # so that the defaults of its fields apply
    elif top or isinstance(node.get("default", None), dict | list | None):
        node.pop("default", None)
    if "description" in node:
        node["description"] = " ".join(node["description"].split())
    kind = node.get("type")
    if kind == "integer":
        node["format"] = "int64" if node.get("maximum", 2**53) > 2**31 - 1 else "int32"
    if kind == "string" and "enum" not in node and "maxLength" not in node:
        node["maxLength"] = 64 if node.get("format") else _MAX_TEXT
    if kind == "array":
        node.setdefault("x-kubernetes-list-type", "atomic")
        if "maxItems" not in node:
            raise ValueError(f"{path}: a list needs a largest length")
    if "additionalProperties" in node and "maxProperties" not in node:
        raise ValueError(f"{path}: a map needs a largest size")
    if node.get("x-kubernetes-preserve-unknown-fields"):
        node.pop("maxProperties", None)
    if kind is None:
        raise ValueError(f"{path}: no type")
    if kind == "array":
        node["items"] = _without_defaults(node["items"])
    return node


def _without_defaults(node: Json) -> Json:
    """Return a schema without defaults.

    In list items GitOps tools would see a difference for ever; a status says only what was
    written.
    """
    kept = {key: value for key, value in node.items() if key != "default"}
    if "properties" in kept:
        kept["properties"] = {
            name: _without_defaults(child) for name, child in kept["properties"].items()
        }
    if "items" in kept:
        kept["items"] = _without_defaults(kept["items"])
    return kept


def _field(kind: Kind, name: str) -> type[BaseModel]:
    """Return the type of spec or status, without `None`."""
    annotation: Any = kind.type.model_fields[name].annotation
    options = getattr(annotation, "__args__", (annotation,))
    (only,) = [option for option in options if option is not type(None)]
    return only  # type: ignore[no-any-return]

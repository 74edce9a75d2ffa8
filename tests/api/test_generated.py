"""What is generated: the CRDs, the chart's copies and the pages are what the types say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf_operator import generate
from rlhf_operator.api import crd
from rlhf_operator.api.crd import Kind
from rlhf_operator.api.kinds import KINDS

ROOT = Path(__file__).parent.parent.parent
FILES = generate.files()
Node = dict[str, Any]


@pytest.mark.parametrize("path", FILES)
def test_the_committed_file_is_the_generated_one(path: str) -> None:
    assert (ROOT / path).read_text() == FILES[path], "run `make generate`"


def walk(node: Node, path: str, *, in_list: bool = False) -> Iterator[tuple[str, Node, bool]]:
    yield path, node, in_list
    for name, child in node.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}", in_list=in_list)
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], f"{path}{{}}", in_list=in_list)
    if "items" in node:
        yield from walk(node["items"], f"{path}[]", in_list=True)


def schema(kind: Kind) -> Node:
    version = crd.render(kind)["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]  # type: ignore[no-any-return]


NODES = [
    (f"{kind.kind}{path}", node, in_list)
    for kind in KINDS
    for part in ("spec", "status")
    for path, node, in_list in walk(schema(kind)["properties"][part], f".{part}")
]


def faults(test: Any) -> list[str]:
    return [path for path, node, in_list in NODES if test(path, node, in_list)]


def test_every_field_is_described() -> None:
    assert (
        faults(
            lambda path, node, _: not path.endswith(("[]", "{}")) and not node.get("description")
        )
        == []
    )


def test_every_text_list_and_map_is_bounded() -> None:
    def unbounded(_: str, node: Node, __: bool) -> bool:
        match node.get("type"):
            case "string":
                return "maxLength" not in node and "enum" not in node
            case "array":
                return "maxItems" not in node
            case "object":
                is_map = "additionalProperties" in node
                return is_map and "maxProperties" not in node
        return False

    assert faults(unbounded) == []


def test_every_number_has_both_ends() -> None:
    assert faults(
        lambda path, node, _: (
            node.get("type") == "integer"
            and not path.endswith("bservedGeneration")
            and not ("minimum" in node and "maximum" in node)
        )
    ) == ["RLHFRollout.spec.generation"]


def test_no_default_stands_inside_a_list() -> None:
    assert faults(lambda _, node, in_list: in_list and "default" in node) == []


def test_no_status_field_has_a_default() -> None:
    assert faults(lambda path, node, _: ".status." in path and "default" in node) == []


def test_what_the_operator_writes_whole_has_one_owner() -> None:
    whole = faults(lambda _, node, __: node.get("x-kubernetes-map-type") == "atomic")
    assert whole == [
        "RLHFModel.status",
        "RLHFModelVersion.status",
        "AlignmentPolicy.status",
        "RLHFRollout.spec",
        "RLHFRollout.status",
        "RLHFDecision.status",
    ]


def test_every_node_has_a_type_that_a_structural_schema_knows() -> None:
    known = {"object", "array", "string", "integer", "boolean", "number"}
    assert faults(lambda _, node, __: node.get("type") not in known) == []


def test_every_list_says_how_it_merges() -> None:
    assert (
        faults(
            lambda _, node, __: (
                node.get("type") == "array"
                and node.get("x-kubernetes-list-type") not in ("map", "atomic", "set")
            )
        )
        == []
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_each_kind_has_what_people_and_tools_expect(kind: Kind) -> None:
    made = crd.render(kind)
    (version,) = made["spec"]["versions"]
    names = made["spec"]["names"]
    assert names["categories"] == ["rlhf"] and names["shortNames"]
    assert made["metadata"]["name"] == f"{names['plural']}.rlhf.dev"
    assert "status" in version["subresources"]
    assert schema(kind)["properties"]["status"]["default"] == {"observedGeneration": -1}
    assert schema(kind)["required"] == ["spec"]
    assert any(column["name"] == "Age" for column in version["additionalPrinterColumns"])


def test_every_rule_stands_a_default_that_is_not_filled_in_yet() -> None:
    """So the API server judges it, and it refuses the whole kind where a rule lacks a field."""

    def fails(_path: str, node: Node, _in_list: bool) -> bool:
        rules = [each["rule"] for each in node.get("x-kubernetes-validations", ())]
        return node.get("default") == {} and not all(
            rule.startswith("!has(self.") for rule in rules
        )

    assert faults(fails) == []


def test_a_model_can_be_scaled() -> None:
    (model,) = [kind for kind in KINDS if kind.kind == "RLHFModel"]
    assert crd.render(model)["spec"]["versions"][0]["subresources"]["scale"] == {
        "specReplicasPath": ".spec.serving.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }

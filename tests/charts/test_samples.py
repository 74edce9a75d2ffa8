"""The samples are what they claim to be: the types accept them and their names fit together."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import promql_parser
import pytest
import yaml

from rlhf_operator.api.guard import compile_problems
from rlhf_operator.api.kinds import KINDS
from rlhf_operator.api.strategies import StrategyName
from rlhf_operator.core import capacity
from rlhf_operator.core.routes import ratio

SAMPLES = Path(__file__).parents[2] / "manifests/samples"
TYPES = {kind.kind: kind.type for kind in KINDS}


def load():
    for path in sorted(SAMPLES.glob("*.yaml")):
        for number, each in enumerate(yaml.safe_load_all(path.read_text())):
            yield pytest.param(each, id=f"{path.stem}-{number}-{each['kind']}")


def parsed(kind):
    return [
        TYPES[kind].model_validate(each.values[0])
        for each in load()
        if each.values[0]["kind"] == kind
    ]


@pytest.mark.parametrize("sample", list(load()))
def test_the_types_accept_it(sample):
    assert sample["apiVersion"] == "rlhf.dev/v1alpha1"
    TYPES[sample["kind"]].model_validate(sample)


def test_every_name_that_is_used_is_there():
    versions = {each.metadata.name: each.spec.model for each in parsed("RLHFModelVersion")}
    policies = {each.metadata.name for each in parsed("AlignmentPolicy")}
    for model in parsed("RLHFModel"):
        for version in (model.spec.version, model.spec.fallback.version):
            assert versions[version] == model.metadata.name
        assert {policy.name for policy in model.spec.policies} <= policies
    for decision in parsed("RLHFDecision"):
        assert versions[decision.spec.version] == decision.spec.model


def test_both_ways_to_split_are_shown():
    assert {model.spec.traffic.router for model in parsed("RLHFModel")} == {"GatewayAPI", "Service"}


def test_the_plans_can_be_carried_out():
    for model in parsed("RLHFModel"):
        assert not compile_problems(model.spec.guard)
        if model.spec.traffic.router == "Service":
            assert not ratio.problems(model.spec.rollout, model.spec.serving.replicas)


@pytest.mark.parametrize(
    "path", sorted((SAMPLES / "strategies").glob("*.yaml")), ids=lambda p: p.stem
)
def test_each_strategy_is_shown_with_the_same_model(path):
    raw, *own = yaml.safe_load_all(path.read_text())
    model = TYPES["RLHFModel"].model_validate(raw)
    (known,) = (each for each in parsed("RLHFModel") if each.metadata.name == model.metadata.name)
    same = ("version", "fallback")
    assert [getattr(model.spec, each) for each in same] == [
        getattr(known.spec, each) for each in same
    ]
    policies = {each.metadata.name for each in parsed("AlignmentPolicy")}
    policies |= {TYPES["AlignmentPolicy"].model_validate(each).metadata.name for each in own}
    assert {policy.name for policy in model.spec.policies} <= policies
    words = path.stem.replace("-", "")
    assert model.spec.rollout.strategy.lower() == words
    assert capacity.too_small(model.spec.rollout, model.spec.serving.replicas) is None


def test_every_strategy_is_shown():
    shown = {path.stem.replace("-", "") for path in (SAMPLES / "strategies").glob("*.yaml")}
    assert {name.lower() for name in get_args(StrategyName)} == shown | {"canary"}


def test_the_queries_are_promql():
    queries = [slo.query for each in parsed("AlignmentPolicy") for slo in each.spec.slos]
    found = [query.prom_ql for query in queries if query is not None]
    assert found
    for text in found:
        promql_parser.parse(text)

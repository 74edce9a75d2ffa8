"""So many rollouts go on at once in each pool of nodes; two models live on one stage."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.controller.store import model_of
from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile.line import reconcile
from tests.reconcile.fakes import Raw
from tests.reconcile.stage import (
    KEY,
    MINUTE,
    Stage,
    asyncio_run,
    model,
    version,
    with_settings,
)

OTHER = Key(namespace=KEY.namespace, name="other")
GPU = {"gpu": {"count": 1}}
A100 = {"spec": {"nodeSelector": {"gpu": "a100"}}}


class Both(Stage):
    """A stage on which each pass is one of either model."""

    def _pass(self) -> datetime | None:
        mine, quiet = super()._pass(), self.quiet
        writes = self.cluster.writes
        theirs = asyncio_run(reconcile(OTHER, self.world, self.now))
        self.quiet = quiet and self.cluster.writes == writes
        return min((each for each in (mine, theirs) if each is not None), default=None)

    def _watch(self, before: Raw | None, after: Raw | None, ours: bool) -> None:
        changed = after or before or {}
        if model_of(changed["kind"], changed) != OTHER:  # the invariants are of one model
            super()._watch(before, after, ours)

    def ship(self, name: str, target: str, template: dict[str, Any] | None = None) -> None:
        """Ask for a version of either model, whose pods ask for certain nodes."""
        raw = dict(self.world.store.get("RLHFModel", KEY.namespace, name) or {})
        metadata = raw["metadata"] | {"generation": raw["metadata"]["generation"] + 1}
        serving = {"replicas": 2} | ({"podTemplate": template} if template else {})
        spec = raw["spec"] | {"version": target, "serving": serving}
        self.put(raw | {"metadata": metadata, "spec": spec})

    def going(self) -> dict[str, str]:
        """The version that each model's newest record is about, where that is not over."""
        raws = self.world.store.in_namespace("RLHFRollout", None)
        open_ = [raw for raw in raws if not (raw.get("status") or {}).get("outcome")]
        return {raw["spec"]["model"]: raw["spec"]["to"]["name"] for raw in open_}

    def waits(self, name: str) -> str | None:
        """Why a model waits, as its status says."""
        raw = self.world.store.get("RLHFModel", KEY.namespace, name) or {}
        told = str((raw.get("status") or {}).get("message", ""))
        return told if "Queued" in told else None


def one_place() -> Both:
    """Two models that serve without devices, and one place in each pool."""
    stage = Both(settings=with_settings(max_concurrent_rollouts=1))
    other = model("o1")
    other["metadata"] |= {"name": "other", "uid": "other-uid"}
    other["spec"]["fallback"] = {"version": "osft"}
    other["spec"]["traffic"]["hostnames"] = ["other.example"]
    for name, letter in (("osft", "a"), ("o1", "b")):
        stage.put(version(name, letter, model="other"))
    stage.put(version("o2", "c", model="other", serving=GPU))
    stage.put(version("o3", "d", model="other"))
    stage.put(version("v3", "e", serving=GPU))
    stage.put(other)
    stage.run(6 * MINUTE, most=1000)
    assert stage.going() == {}
    stage.script = lambda name, now: (
        Verdict.SUCCESSFUL if name in ("v1", "o1") else Verdict.INCONCLUSIVE
    )
    return stage


@pytest.mark.parametrize(
    ("mine", "theirs", "pool"),
    [
        pytest.param(("v3",), ("o2",), "nvidia.com/gpu", id="both ask for a GPU"),
        pytest.param(("v2",), ("o3",), "cpu", id="neither asks for one"),
        pytest.param(("v3", A100), ("o2", A100), "nvidia.com/gpu on gpu=a100", id="on such nodes"),
        pytest.param(("v3",), ("o3",), None, id="one asks for a GPU"),
        pytest.param(("v3", A100), ("o2",), None, id="on other nodes"),
    ],
)
def test_only_those_of_one_pool_wait_for_each_other(mine: Any, theirs: Any, pool: Any) -> None:
    stage = one_place()
    stage.ship("support", *mine)
    stage.run(2 * MINUTE)
    stage.ship("other", *theirs)
    stage.run(2 * MINUTE)
    if pool is None:
        assert stage.going() == {"support": mine[0], "other": theirs[0]}
        return
    assert stage.going() == {"support": mine[0]}
    assert f"in the pool {pool}" in (stage.waits("other") or "")
    stage.ship("support", "v1", *mine[1:])
    stage.run(5 * MINUTE, most=2000)
    assert stage.going() == {"other": theirs[0]}, "the place is free"


def test_the_record_says_in_which_pool_it_counts() -> None:
    stage = one_place()
    stage.ship("support", "v3", A100)
    stage.run(MINUTE)
    found = {run.spec.type: run.spec.pool for run in stage.runs}
    assert found["Rollout"] == "nvidia.com/gpu on gpu=a100" and found["Initial"] is None


def test_what_is_on_record_without_a_pool_counts_in_each() -> None:
    stage = one_place()
    stage.put({"metadata": {"name": "old-7", "namespace": "team"}, "kind": "RLHFRollout",
               "spec": {"model": "old", "type": "Rollout"}})  # fmt: skip
    stage.ship("support", "v3", A100)
    stage.run(MINUTE)
    assert "as many rollouts as may at once have pods in the pool" in (stage.waits("support") or "")


@pytest.mark.parametrize(
    "template",
    [
        pytest.param({"spec": "x"}, id="no pod's spec"),
        pytest.param({"spec": ["x"]}, id="a list"),
        pytest.param({"spec": {"nodeSelector": "gpu=a100"}}, id="labels as text"),
    ],
)
def test_a_template_that_is_none_keeps_nobody_from_judging(template: dict[str, Any]) -> None:
    stage = one_place()
    stage.ship("support", "v3", template)
    stage.run(2 * MINUTE)
    assert stage.condition("Stalled") == ("True", "SpecInvalid")

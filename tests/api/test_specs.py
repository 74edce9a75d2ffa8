"""What each kind accepts and refuses, before any cluster."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from rlhf_operator.api.crd import schema
from rlhf_operator.api.decision import DecisionSpec
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.policy import SLO, PolicySpec
from rlhf_operator.api.schema import STORED, Keyed, Recorded, Time
from rlhf_operator.api.version import VersionSpec

DIGEST = "sha256:" + "a" * 64
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def model(rollout: Any = None, **changes: Any) -> dict[str, Any]:
    steps = [{"weight": 5, "hold": "10m"}, {"weight": 50, "hold": "1h"}]
    return {
        "version": "v1",
        "fallback": {"version": "sft"},
        "rollout": {"strategy": "Canary", "canary": {"steps": steps}} | (rollout or {}),
        **changes,
    }


def steps(*weights: int) -> dict[str, Any]:
    return model({"canary": {"steps": [{"weight": each, "hold": "1m"} for each in weights]}})


def approval(**asked: Any) -> dict[str, Any]:
    step = {"weight": 5, "hold": "10m", "approval": asked}
    return model({"canary": {"steps": [step]}})


def version(uri: str = "oci://registry/name", **changes: Any) -> dict[str, Any]:
    artifact = {"uri": uri, "digest": changes.pop("digest", DIGEST)}
    return {"model": "support", "stage": "RLHF", "artifact": artifact} | changes


RATE = {"type": "UnsafeServedRate"}
COUNT = {"type": "UnsafeServedCount"}
REWARD = {"type": "RewardScore"}
SLOW = {"type": "SlowRatio", "slowerThan": "2.5"}
COUNTED = {
    "counters": {"events": {"name": "bad_total"}, "samples": {"name": "all_total"}},
    "betterWhen": "Lower",
}
TARGETED = {"name": "n", "where": [{"label": "rlhf_version", "values": ["v9"]}]}
ASKED = {"promQL": "up", "samples": "n_total", "betterWhen": "Lower"}


def policy(**slo: Any) -> dict[str, Any]:
    return {"slos": [{"name": "unsafe", "class": "Safety"} | slo]}


def decision(action: str, **changes: Any) -> dict[str, Any]:
    return {"action": action, "model": "support", "author": "ann", "reason": "because"} | changes


def trial(*others: tuple[str, int], weight: int | None = None) -> dict[str, Any]:
    """A model that tests v1 and others beside it."""
    listed = [{"version": name, "weight": part} for name, part in others]
    plan = {"primary": {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}},
            "others": listed} | ({} if weight is None else {"weight": weight})  # fmt: skip
    return model() | {"rollout": {"strategy": "ABTest", "abTest": plan}}


ACCEPTED = [
    (ModelSpec, trial(), "a test of one version"),
    (ModelSpec, trial(("v2", 49)), "a test of two that leaves the control 1 percent"),
    (ModelSpec, trial(("v2", 1), ("v3", 98 - 1), weight=1), "a test of three at odd weights"),
    (ModelSpec, model(), "a model with the least"),
    (ModelSpec, steps(1, 2, 99), "weights that rise"),
    (ModelSpec, model(traffic={"router": "GatewayAPI", "parentRefs": [{"name": "gw"}]}),
     "a gateway that is named"),
    (ModelSpec, model({"readyTimeout": "1h30m"}), "a duration of two parts"),
    (ModelSpec, approval(), "an approval with the least"),
    (ModelSpec, approval(gate="Enter", count=2, notAuthor=True, timeout="48h"), "two others"),
    (ModelSpec, model(fallback={"version": "sft", "replicas": 0}), "a cold fallback"),
    (VersionSpec, version(), "a version with the least"),
    (VersionSpec, version(f"hf://owner/name@{COMMIT}"), "a hub artefact at a commit"),
    (VersionSpec, version(serving={"gpu": {"count": 0}}), "a version on the CPU"),
    (VersionSpec, version(serving={"batching": {"maxBatchSize": 16}}), "batching of our backend"),
    (VersionSpec, version(serving={"backend": "tensorrtllm", "batching": {
        "maxBatchSize": 32, "maxQueueDelay": "5ms"}}), "batching of TensorRT-LLM"),
    (VersionSpec, version(serving={"backend": "vllm"}), "vLLM without batching"),
    (VersionSpec, version(serving={"backend": "vllm", "batching": {}}),
     "vLLM with the defaults, as the API server stores it"),
    (VersionSpec, version(serving={"backend": "repository", "batching": {
        "maxBatchSize": 8, "maxQueueDelay": "2ms"}}), "a ready repository with the defaults"),
    (PolicySpec, policy(indicator=RATE, max="0.02"), "a rate with a bound"),
    (PolicySpec, policy(indicator=COUNT, maxCount=0), "not one event"),
    (PolicySpec, policy(indicator=RATE, versusStable={"ratio": "1.5", "method": "Threshold"}),
     "a comparison alone"),
    (PolicySpec, policy(indicator=REWARD, versusStable={"difference": "0.1"}),
     "a mean compared by evidence"),
    (PolicySpec, policy(indicator=REWARD, min="-1", versusStable={"difference": "0.1"}),
     "a plain bound beside it"),
    (PolicySpec, policy(indicator=REWARD, versusStable={"ratio": "2", "method": "Threshold"}),
     "a ratio of means as plain numbers"),
    (PolicySpec, policy(indicator=RATE, max="0.1") | {"rewardHacking": {
        "action": "RollBack", "after": "30m"}}, "a rollback on suspicion"),
    (PolicySpec, policy(indicator=SLOW, max="0.05", versusStable={"ratio": "1.5"}),
     "slow answers by evidence"),
    (PolicySpec, policy(query=COUNTED, versusStable={"ratio": "1.5"}), "counters by evidence"),
    (PolicySpec, policy(query=ASKED, max="1"), "an expression"),
    (PolicySpec, policy(query=COUNTED | {"counters": COUNTED["counters"] | {"events": {
        "name": "n", "where": [{"label": "result", "values": ["bad"]}]}}}, max="0.1"),
     "counters by label"),
    (DecisionSpec, decision("Abort"), "an abort"),
    (DecisionSpec, decision("RollBackTo", version="v1"), "back to a version"),
    (DecisionSpec, decision("Abort", via="flux"), "an act that somebody else sends"),
    (DecisionSpec, decision("LiftQuarantine", identity=DIGEST), "a lift of an identity"),
    (DecisionSpec, decision("Override", slo="latency", expiresAt="2026-01-05T12:00:00Z"),
     "an override with an end"),
    (DecisionSpec, decision("Retry"), "another try"),
    (DecisionSpec, decision("Repin"), "another plan"),
    (DecisionSpec, decision("Promote"), "a promotion"),
    (DecisionSpec, decision("Veto", identity=DIGEST), "a veto of an identity"),
    (DecisionSpec, decision("Approve", identity=DIGEST), "an approval of every step"),
    (DecisionSpec, decision("Approve", identity=DIGEST, step=2), "an approval of one step"),
]  # fmt: skip
REFUSED = [
    (ModelSpec, trial(("v2", 50)), "a test of two at the default weight that leaves no control"),
    (ModelSpec, trial(("v2", 40), ("v3", 40), weight=20), "a test of three without a control"),
    (ModelSpec, trial(("v1", 10)), "a version tested beside itself"),
    (ModelSpec, trial(("v2", 10), ("v2", 20)), "a version twice in a test"),
    (ModelSpec, trial(*((f"v{n}", 1) for n in range(2, 9))), "more versions than six beside"),
    (ModelSpec, model(verison="v2"), "a field that does not exist"),
    (ModelSpec, model({"strategy": "Recreate"}), "a strategy that is not supported"),
    (ModelSpec, model({"canary": None}), "a strategy without its plan"),
    (ModelSpec, steps(), "a plan without steps"),
    (ModelSpec, steps(50, 5), "steps out of order"),
    (ModelSpec, steps(5, 5), "a step twice"),
    (ModelSpec, steps(5, 100), "a step that is no canary"),
    (ModelSpec, steps(-1), "a negative weight"),
    (ModelSpec, {"version": "v1", "rollout": model()["rollout"]}, "a model without a floor"),
    (ModelSpec, model(version="V1"), "a name that Kubernetes refuses"),
    (ModelSpec, model(suspend="true"), "a text for true or false"),
    (ModelSpec, model(suspend=1), "a number for true or false"),
    (ModelSpec, model(serving={"replicas": "2"}), "a text for a number"),
    (ModelSpec, model(serving={"replicas": True}), "true for a number"),
    (ModelSpec, steps(True, 5), "true for a weight in a list"),
    (ModelSpec, model({"readyTimeout": "0s"}), "no time to get ready"),
    (ModelSpec, model({"readyTimeout": "1 hour"}), "a duration in words"),
    (ModelSpec, model(serving={"replicas": 0}), "no replicas"),
    (ModelSpec, model(traffic={"router": "GatewayAPI"}), "a gateway that is not named"),
    (ModelSpec, model(traffic={"router": "Istio"}), "Istio without a host"),
    (ModelSpec, model(traffic={"router": "Service", "stickiness": {"mode": "Arm"}}),
     "stickiness that the router cannot keep"),
    (ModelSpec, model(policies=[{"name": "a"}, {"name": "a"}]), "a policy twice"),
    (VersionSpec, version("http://somewhere/model"), "an artefact by plain address"),
    (VersionSpec, version("hf://owner/name"), "a hub artefact without a commit"),
    (VersionSpec, version(f"oci://registry/name@{DIGEST}"), "a digest in two places"),
    (VersionSpec, version(digest="latest"), "a tag in place of a digest"),
    (VersionSpec, version(stage="DPO"), "a stage that is unknown"),
    (VersionSpec, version(serving={"backend": "vllm", "batching": {"maxBatchSize": 16}}),
     "batches of vLLM, which makes its own"),
    (VersionSpec, version(serving={"backend": "vllm", "batching": {"maxQueueDelay": "5ms"}}),
     "a queue that vLLM does not have"),
    (VersionSpec, version(serving={"backend": "repository", "batching": {"maxBatchSize": 16}}),
     "batches of a ready repository, whose files say it"),
    (PolicySpec, {"slos": []}, "a policy without objectives"),
    (PolicySpec, policy(indicator=RATE), "an objective without a bound"),
    (PolicySpec, policy(max="0.02"), "an objective without a measure"),
    (PolicySpec, policy(indicator=RATE, max="0.02", query={"promQL": "up", "samples": "up"}),
     "an objective with two measures"),
    (PolicySpec, policy(indicator=RATE, maxCount=0), "a count bound on a rate"),
    (PolicySpec, policy(indicator=COUNT, max="1"), "a rate bound on a count"),
    (PolicySpec, policy(indicator=RATE, min="0.5", max="0.1"), "bounds that exclude each other"),
    (PolicySpec, policy(indicator=RATE, max=0.02), "a bound as a floating point number"),
    (PolicySpec, policy(indicator=RATE, max="0.02") | {"interval": "1ms"}, "too fast"),
    (PolicySpec, {"slos": policy(indicator=RATE, max="0.02")["slos"] * 2}, "an objective twice"),
    (PolicySpec, policy(indicator=REWARD, versusStable={"ratio": "2"}),
     "evidence on a ratio of means"),
    (PolicySpec, policy(indicator=RATE, versusStable={"difference": "0.1"}),
     "evidence on a difference of rates"),
    (PolicySpec, policy(indicator=REWARD, versusStable={"difference": "0.1"}, failureLimit=2),
     "evidence in a row"),
    (PolicySpec, policy(indicator=RATE, max="0.1") | {"rewardHacking": {"after": "30m"}},
     "a time after which nothing happens"),
    (PolicySpec, policy(indicator={"type": "SlowRatio"}, max="0.05"), "slow, but not how slow"),
    (PolicySpec, policy(indicator=SLOW | {"slowerThan": "3"}, max="0.05"),
     "a bound at which nothing is counted"),
    (PolicySpec, policy(indicator=RATE | {"slowerThan": "1"}, max="0.05"), "slow unsafe answers"),
    (PolicySpec, policy(query=ASKED, versusStable={"ratio": "1.5"}), "evidence on an expression"),
    (PolicySpec, policy(query=COUNTED | ASKED, max="1"), "counters and an expression"),
    (PolicySpec, policy(query={"betterWhen": "Lower"}, max="1"), "a query that asks nothing"),
    (PolicySpec, policy(query={"promQL": "up", "betterWhen": "Lower"}, max="1"),
     "an expression without samples"),
    (PolicySpec, policy(query=COUNTED | {"samples": "n"}, max="1"), "samples twice"),
    (PolicySpec, policy(query=COUNTED, versusStable={"difference": "1"}),
     "evidence on a difference of counted rates"),
    (PolicySpec, policy(query=COUNTED | {"counters": {"events": TARGETED, "samples": TARGETED}},
                        max="1"), "counters of another version"),
    (ModelSpec, approval(count=0), "an approval by nobody"),
    (ModelSpec, approval(timeout="0s"), "an approval without time"),
    (ModelSpec, model(guard={"limits": {"timeout": "0s"}}), "answers without time"),
    (ModelSpec, model(guard={"limits": {"timeout": "2h"}}), "answers that take too long"),
    (ModelSpec, model(guard={"limits": {"concurrency": 0}}), "a guard that answers nobody"),
    (ModelSpec, approval(gate="Through"), "a gate that is unknown"),
    (DecisionSpec, decision("Applaud"), "an act that is unknown"),
    (DecisionSpec, decision("Approve"), "an approval of nothing"),
    (DecisionSpec, decision("Approve", identity=DIGEST, step=0), "an approval of no step"),
    (DecisionSpec, decision("Abort", step=1), "a step that nothing asks for"),
    (DecisionSpec, decision("Abort", version="v1"), "a version that nothing asks for"),
    (DecisionSpec, decision("RollBackTo"), "back to nowhere"),
    (DecisionSpec, decision("LiftQuarantine"), "a lift of nothing"),
    (DecisionSpec, decision("Override", slo="latency"), "an override without an end"),
    (DecisionSpec, decision("Override", expiresAt="2026-01-05T12:00:00Z"),
     "an override of nothing"),
    (DecisionSpec, decision("Abort", slo="latency"), "an objective that nothing asks for"),
    (DecisionSpec, decision("Veto"), "a veto of nothing"),
    (DecisionSpec, decision("Promote", version="v1"), "a promotion of another version"),
    (DecisionSpec, decision("Veto", identity=DIGEST, step=1), "a veto of a step"),
    (DecisionSpec, decision("Abort", author=""), "nobody decides"),
    (DecisionSpec, decision("Abort", via=""), "nobody sends it"),
    (DecisionSpec, decision("Abort", reason=""), "for no reason"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "spec"), [pytest.param(kind, spec, id=said) for kind, spec, said in ACCEPTED]
)
def test_accepted(kind: type[BaseModel], spec: dict[str, Any]) -> None:
    assert kind.model_validate(spec).model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize(
    ("kind", "spec"), [pytest.param(kind, spec, id=said) for kind, spec, said in REFUSED]
)
def test_refused(kind: type[BaseModel], spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(spec)


def test_the_identity_is_the_artefact_and_its_engine_and_not_its_name() -> None:
    def identity(**changes: Any) -> str:
        return VersionSpec.model_validate(version(**changes)).identity()

    plain = identity()
    assert identity(uri="pvc://claim/path") == plain, "where it lies does not matter"
    assert identity(stage="SFT") == plain
    assert identity(digest="sha256:" + "b" * 64) != plain
    assert identity(serving={"engineArgs": {"max_model_len": "4096"}}) != plain
    assert identity(serving={"tokenizer": "other"}) != plain
    assert identity(serving={"gpu": {"count": 0}}) == plain


@pytest.mark.parametrize(
    ("told", "is_taken"),
    [
        pytest.param("2026-01-31T12:00:00Z", True, id="an instant"),
        pytest.param("2026-01-31T12:00:00.000001+01:00", True, id="elsewhere, and exact"),
        pytest.param("2026-01-31", False, id="a day"),
        pytest.param("1769860800", False, id="a number as text"),
        pytest.param(1769860800, False, id="a number"),
        pytest.param(-1, False, id="one before all"),
    ],
)
def test_an_instant_is_text_with_day_and_hour(told: object, is_taken: bool) -> None:
    read = TypeAdapter(Time)
    if is_taken:
        assert read.validate_python(told).tzinfo is not None
        return
    with pytest.raises(ValidationError, match="must be an instant, such as"):
        read.validate_python(told)


def test_a_rule_that_came_later_is_not_asked_of_what_is_stored() -> None:
    """It was taken under the rules of its day, may not be changed, and serves."""
    batching = version(serving={"backend": "vllm", "batching": {"maxBatchSize": 16}})
    assert (
        VersionSpec.model_validate(batching, context=STORED).serving.batching.max_batch_size == 16
    )
    with pytest.raises(ValidationError, match="batching would do nothing"):
        VersionSpec.model_validate(batching)
    with pytest.raises(ValidationError):
        VersionSpec.model_validate(version(artifact={}), context=STORED)


def test_a_record_is_not_asked_what_was_asked_where_its_parts_came_from() -> None:
    """No server asks it either; whatever else is read, before and after, is asked all the same."""
    refused = {
        "name": "s",
        "class": "Safety",
        "max": "0.1",
        "indicator": {"type": "UnsafeServedCount"},
    }

    class Record(Recorded):
        slos: Annotated[tuple[SLO, ...], Keyed("name", 2)]

    with pytest.raises(ValidationError):
        SLO.model_validate(refused)
    assert Record.model_validate({"slos": [refused]}).slos[0].max == "0.1"
    with pytest.raises(ValidationError):
        Record.model_validate({"slos": [refused | {"max": 0.1}]})
    with pytest.raises(ValidationError):
        SLO.model_validate(refused)
    assert "x-kubernetes-validations" in str(schema(PolicySpec))
    assert "x-kubernetes-validations" not in str(schema(Record))

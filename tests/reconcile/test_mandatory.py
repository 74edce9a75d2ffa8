"""Mandatory policies: read from the operator's namespace, judged beside a team's own, at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.reconcile import objects
from rlhf_operator.reconcile.policies import policies_of
from tests.reconcile.stage import KEY, MINUTE, POLICY, Stage, asyncio_run, with_settings

HOUSE = "rlhf-system"
HELD = timedelta(seconds=20)


def policy(name: str = "house", namespace: str = HOUSE, **slo: Any) -> dict[str, Any]:
    first = POLICY["spec"]["slos"][0] | slo  # type: ignore[index]
    return POLICY | {
        "metadata": {"name": name, "namespace": namespace, "generation": 1},
        "spec": {"interval": "1s", "slos": [first]},
    }


def stage_with(*policies: dict[str, Any], names: tuple[str, ...] = ("house",)) -> Stage:
    stage = Stage(settings=with_settings(mandatory_policies=names, namespace=HOUSE))
    for each in policies:
        stage.put(each)
    return stage


def going() -> Stage:
    """A canary at its first weight, that nothing says anything of yet."""
    stage = stage_with(policy())
    stage.script = lambda name, now: Verdict.SUCCESSFUL if name == "sft" else Verdict.INCONCLUSIVE
    stage.run(2 * MINUTE)
    assert stage.runs[-1].status.weight == 10
    return stage


def judged(stage: Stage) -> tuple[PinnedPolicy, ...]:
    """What the engine is asked to judge now."""
    return stage.slos.subjects[KEY][0].policies


def names(stage: Stage) -> list[str]:
    return [each.name for each in judged(stage)]


def test_it_is_pinned_beside_the_team_s_and_judged() -> None:
    stage = going()
    pinned = stage.runs[-1].spec.policies
    assert [(each.name, each.mandatory) for each in pinned] == [("safe", False), ("house", True)]
    assert names(stage) == ["safe", "house"]


def test_it_is_read_from_the_operator_s_namespace_alone() -> None:
    stage = stage_with(policy(max="0.01"), policy(namespace=KEY.namespace, max="0.9"))
    stage.run(2 * MINUTE)
    assert [each.slos[0].max for each in stage.runs[-1].spec.policies] == ["0.02", "0.01"]


def test_without_it_nothing_starts_and_what_serves_goes_on() -> None:
    stage = stage_with(policy())
    stage.run()
    stage.world.store.drop("AlignmentPolicy", HOUSE, "house")
    stage.put(policy(namespace=KEY.namespace))
    stage.edit(version="v2")
    stage.run()
    assert stage.condition("Stalled") == ("True", "PolicyNotFound")
    assert f"AlignmentPolicy {HOUSE}/house does not exist" in stage.message("Stalled")
    assert stage.weights == {"v1": 100}
    assert [run.spec.to.name for run in stage.runs] == ["sft", "v1"]
    stage.put(policy())
    stage.run()
    assert stage.weights == {"v2": 100}


def test_one_that_a_team_has_of_that_name_is_judged_beside_it() -> None:
    stage = stage_with(policy("safe", max="0.01"), names=("safe",))
    stage.run(2 * MINUTE)
    pinned = stage.runs[-1].spec.policies
    assert [(each.name, each.mandatory, each.slos[0].max) for each in pinned] == [
        ("safe", False, "0.02"),
        ("safe-mandatory", True, "0.01"),
    ]


def test_also_where_the_team_took_the_other_name_too() -> None:
    stage = stage_with(
        policy("safe-mandatory", KEY.namespace), policy("safe", max="0.01"), names=("safe", "safe")
    )
    stage.edit(policies=[{"name": "safe"}, {"name": "safe-mandatory"}])
    stage.run(2 * MINUTE)
    pinned = stage.runs[-1].spec.policies
    assert [(each.name, each.slos[0].max) for each in pinned] == [
        ("safe", "0.02"), ("safe-mandatory", "0.02"), ("safe-mandatory1", "0.01"),
    ]  # fmt: skip


def test_a_stricter_bound_binds_the_run_at_once_and_no_later_one_loosens_it() -> None:
    stage = going()
    record = stage.runs[-1].spec
    stage.put(policy(max="0.01", versusStable={"ratio": "1.5"}))
    stage.run(HELD)
    (_, house) = judged(stage)
    assert house.slos[0].max == "0.01" and house.slos[0].versus_stable is not None
    assert "is stricter in a mandatory policy binds this one too" in stage.message("PlanChanged")
    stage.put(policy(max="0.5"))
    stage.run(HELD)
    assert [each.slos[0].max for each in judged(stage)] == ["0.02", "0.02"]
    assert stage.message("PlanChanged").endswith("it applies to the next run")
    assert stage.runs[-1].spec == record, "what was pinned stays as it was"


def test_what_is_measured_otherwise_is_judged_beside_it_also_after_a_restart() -> None:
    stage = going()
    stage.put(policy(indicator={"type": "ErrorRate"}))
    stage.run(HELD)
    before = judged(stage)
    kinds = [each.slos[0].indicator.type for each in before if each.slos[0].indicator]
    assert kinds == ["UnsafeServedRate", "UnsafeServedRate", "ErrorRate"]
    stage.slos.subjects.clear()
    stage.run(HELD)
    assert judged(stage) == before
    stage.put(policy(indicator={"type": "RefusalRate"}))
    stage.run(HELD)
    assert names(stage)[:2] == ["safe", "house"]
    assert names(stage)[2] not in {each.name for each in before}


def test_a_run_goes_on_under_what_it_pinned_of_one_that_was_deleted() -> None:
    stage = going()
    stage.world.store.drop("AlignmentPolicy", HOUSE, "house")
    stage.script = failing
    stage.run(HELD)
    assert stage.runs[-1].status.weight == 0, "a failure still takes the weight away"
    assert stage.condition("Stalled") is not None


def failing(name: str, now: datetime) -> Verdict:
    return Verdict.FAILED if name == "v1" else Verdict.SUCCESSFUL


def test_the_next_run_pins_it_as_it_is_then() -> None:
    stage = going()
    stage.put(policy(indicator={"type": "ErrorRate"}))
    stage.edit(version="v2")
    stage.run(2 * MINUTE)
    assert names(stage) == ["safe", "house"]
    assert stage.runs[-1].spec.to.name == "v2"


def test_more_policies_than_a_record_holds_are_refused_and_the_operator_s_kept() -> None:
    stage = stage_with(policy())
    for place in range(16):
        stage.put(policy(f"p{place}", KEY.namespace))
    stage.edit(policies=[{"name": f"p{place}"} for place in range(16)])
    stage.run()
    assert stage.condition("Stalled") == ("True", "PolicyInvalid")
    assert "with the operator's own 17 policies apply" in stage.message("Stalled")
    pinned, _ = policies_of(KEY, stage.world, objects.model_spec(dict(stage.model))[0], None)
    assert len(pinned) == 16 and pinned[-1].name == "house"


def test_more_objectives_than_a_record_holds_are_refused_too() -> None:
    """Of a run's results its record holds 128: what the server refuses would stop the model."""
    stage = stage_with(policy())
    slos = [POLICY["spec"]["slos"][0] | {"name": f"slo{place}"} for place in range(32)]  # type: ignore[index]
    for name in ("a", "b"):
        stage.put(policy(name, KEY.namespace) | {"spec": {"slos": slos}})
    stage.edit(policies=[{"name": "a"}, {"name": "b"}])
    stage.run()
    assert stage.condition("Stalled") == ("True", "PolicyInvalid")
    assert "they have 65 objectives" in stage.message("Stalled")
    stage.put(policy("a", KEY.namespace) | {"spec": {"slos": slos[:30]}})
    stage.run(MINUTE)
    assert [len(each.slos) for each in stage.runs[-1].spec.policies] == [30, 32, 1]


def test_its_name_stays_when_the_team_s_own_of_that_name_goes() -> None:
    """Else its tests would double in the middle of a run, and its baselines be lost after it."""
    stage = stage_with(policy("safe", max="0.01"), names=("safe",))
    stage.script = lambda name, now: Verdict.SUCCESSFUL if name == "sft" else Verdict.INCONCLUSIVE
    stage.run(2 * MINUTE)
    assert names(stage) == ["safe", "safe-mandatory"]
    asyncio_run(stage.cluster.delete("AlignmentPolicy", KEY.namespace, "safe"))
    spec, _ = objects.model_spec(dict(stage.model))
    found, _ = policies_of(KEY, stage.world, spec, stage.runs[-1])
    assert [each.name for each in found] == ["safe-mandatory"]


def test_what_serves_is_judged_by_as_many_objectives_as_have_room() -> None:
    """Too many for a run to begin are no reason to look away from what serves."""
    stage = stage_with(policy())
    safety = POLICY["spec"]["slos"][0]  # type: ignore[index]
    quality = [safety | {"name": f"q{place}", "class": "Quality"} for place in range(32)]
    for name, slos in (("a", [safety]), ("b", quality), ("c", quality), ("d", quality)):
        stage.put(policy(name, KEY.namespace) | {"spec": {"slos": slos}})

    def kept(*team: str) -> list[str]:
        stage.edit(policies=[{"name": each} for each in team])
        spec, _ = objects.model_spec(dict(stage.model))
        found, problem = policies_of(KEY, stage.world, spec, None)
        assert problem is not None and problem.reason == "PolicyInvalid"
        return [each.name for each in found]

    assert kept("a", "b", "c") == ["a", "b", "c", "house"], "66 are too many for a run alone"
    stage.put(policy("e", KEY.namespace) | {"spec": {"slos": quality[:31]}})
    assert kept("a", "b", "c", "d", "e") == ["a", "c", "d", "e", "house"], "Safety stays"

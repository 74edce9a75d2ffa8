"""What is doubted of shadows, of switches, and of means; and that the tests themselves agree."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.evidence import ArmCount, SLOResult, StratumRecord, Verdict
from rlhf_operator.api.strategies import Step
from rlhf_operator.core import earlier, foresight, mean, outlook, statistics
from rlhf_operator.core.foresight import Doubt
from rlhf_operator.core.objective import objectives
from rlhf_operator.core.observed import Assessment, Observed, Run
from rlhf_operator.core.prospect import Before, MeanPace, Pace
from rlhf_operator.core.stretches import Stretch
from tests import builders as make
from tests.builders import ago
from tests.core.test_foresight import DAY, DONE, MAX, VERSUS, known, policy, seen

REWARD = {"name": "reward", "class": "Quality", "indicator": {"type": "RewardScore"},
          "versusStable": {"difference": "0.1"}}  # fmt: skip
LENGTH = REWARD | {"name": "length", "indicator": {"type": "ResponseLength"}}
FAST = (Step(weight=100, hold="10m"),)
COPIES = (Step(weight=10, hold="30m"),)


def doubt(slo: dict[str, Any], pace: Pace | MeanPace, strategy: Any, **more: Any) -> Doubt | None:
    ((_, goal),) = objectives((policy(slo),))
    steps = FAST if strategy == "BlueGreen" else COPIES
    return foresight.doubt(goal, pace, steps, DAY, strategy=strategy, **more)


def before(rate: float, samples: float, *, awaited: bool = False) -> Pace:
    shown = Before(events=rate * samples, samples=samples, is_awaited=awaited)
    return Pace(low=rate, high=rate, per_second=2.0, before=shown)


SPREAD = MeanPace(deviation=1.0, per_second=0.1)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(doubt(VERSUS, known(0.01, 20), "Shadow"), None, id="a shadow with traffic"),
        pytest.param(
            doubt(VERSUS, known(0.01, 0.5), "Shadow"),
            ("step 1 (10 %) has 24h30m", "the ratio, falsePromotion or percent"),
            id="a shadow with little",
        ),
        pytest.param(doubt(VERSUS, before(0.01, 60_000), "BlueGreen"), None,
                     id="a switch after much was shown"),
        pytest.param(
            doubt(VERSUS, before(0.01, 500), "BlueGreen"),
            ("against 500 answers of stable before the switch, a version", "never passes",
             "raise minSamples, maxHold, the ratio or falsePromotion"),
            id="a switch after little was shown",
        ),
        pytest.param(
            doubt(VERSUS | {"minSamples": 9000}, before(0.01, 9000, awaited=True), "BlueGreen"),
            ("shows about 7200 in an hour", "until it has shown 9000 in one: lower minSamples"),
            id="a switch that never comes",
        ),
        pytest.param(doubt(MAX, before(0.001, 500), "BlueGreen"), None,
                     id="a bound needs nothing of before"),
        pytest.param(
            doubt(MAX, before(0.019, 500), "BlueGreen"),
            ("max 0.02 after", "raise maxHold, max or falsePromotion"),
            id="but it needs time, and there is no weight to raise",
        ),
        pytest.param(
            doubt(DONE | {"versusStable": {"ratio": "1.25"}}, before(0.6, 9000), "BlueGreen"), None,
            id="more may be better",
        ),
        pytest.param(
            doubt(DONE | {"versusStable": {"ratio": "1.25"}}, before(0.6, 60), "BlueGreen"),
            ("never passes",), id="and nothing may be shown of that either",
        ),
        pytest.param(
            doubt(REWARD, SPREAD, "Canary"),
            ("at 0.1 samples/s and a deviation of 1 a version", "difference 0.1 after about",
             "the difference, falsePromotion or the step's weight"),
            id="a mean with little traffic",
        ),
        pytest.param(
            doubt(REWARD, MeanPace(deviation=1.0, per_second=0.1, sampled=0.1), "Canary"), None,
            id="unless both arms are scored alike",
        ),
        pytest.param(doubt(LENGTH, SPREAD, "ABTest"), ("the test's weight",), id="a test's mean"),
        pytest.param(
            doubt(REWARD | {"versusStable": {"difference": "0"}}, SPREAD, "Canary"),
            ("never passes",), id="no difference at all is never shown",
        ),
        pytest.param(doubt(REWARD, known(0.1, 0.1), "Canary"), None, id="a rate tells no mean"),
        pytest.param(
            doubt(REWARD | {"versusStable": None, "max": "2"}, SPREAD, "Canary"), None,
            id="plain numbers need no evidence",
        ),
    ],
)  # fmt: skip
def test_what_is_doubted(found: Doubt | None, said: tuple[str, ...] | None) -> None:
    assert (found is None) == (said is None), found and found.message
    assert [each for each in said or () if each not in found.message] == [], found


def test_copies_of_everything_are_half_of_what_is_counted() -> None:
    ((_, goal),) = objectives((policy(VERSUS),))
    halves, all_of_it = (Step(weight=50, hold="30m"),), (Step(weight=100, hold="30m"),)
    shadow = foresight.doubt(goal, known(0.01, 0.1), all_of_it, DAY, strategy="Shadow")
    canary = foresight.doubt(goal, known(0.01, 0.1), halves, DAY)
    assert shadow.excess == canary.excess


rates = st.floats(0.001, 0.2)


@given(rates, st.integers(1000, 200_000), st.sampled_from(["1.5", "2", "4"]))
def test_a_switch_needs_what_its_own_test_needs(rate: float, samples: int, ratio: str) -> None:
    """Along the expected path the test passes where it is foreseen to, and not before."""
    ((_, goal),) = objectives((policy(VERSUS | {"versusStable": {"ratio": ratio}}),))
    shown = statistics.Count(events=round(rate * samples), samples=samples)
    need = earlier.needed(goal.rate, shown, rate)

    def good(answers: float) -> float:
        counted = Stretch(events=rate * answers, samples=answers)
        stable = Stretch(events=round(rate * samples), samples=samples)
        return earlier.proof(goal.rate, counted, stable).good

    if need == inf:
        assert good(10**9) < goal.rate.levels.good
    else:
        assert good(need) >= goal.rate.levels.good > good(need - 2)


@pytest.mark.parametrize("slo", [REWARD, LENGTH])
def test_a_mean_needs_what_its_own_test_needs(slo: dict[str, Any]) -> None:
    ((_, goal),) = objectives((policy(slo),))
    found = foresight.doubt(goal, SPREAD, COPIES, DAY)
    answers = found.excess * (86_400 + 1800) * SPREAD.per_second

    def good(number: float) -> float:
        canary, stable = (
            statistics.Sums(n=n, total=0, squares=n - 1) for n in (number / 10, 0.9 * number)
        )
        strata = [statistics.MeanStratum(canary=canary, stable=stable)]
        side = 1 if slo is LENGTH else -1
        return statistics.log_e_mean_difference(
            strata, side * 0.1, harm=slo is REWARD, tuned_for=mean.TUNED_FOR, least=mean.LEAST
        )

    assert good(answers) >= goal.mean.levels.good > good(answers - 20)


def test_values_that_never_vary_tell_nothing() -> None:
    same = statistics.Sums(n=50, total=50, squares=50)
    assert foresight.mean_pace(same, 1.0, None) is None


@given(st.integers(20, 10**6), st.floats(0.01, 100))
def test_the_deviation_is_told_no_larger_than_it_was_seen(number: int, deviation: float) -> None:
    values = statistics.Sums(n=number, total=0, squares=deviation**2 * (number - 1))
    found = foresight.mean_pace(values, 1.0, None)
    assert 0.8 * deviation <= found.deviation <= 1.05 * deviation


# -- what is seen of a run ----------------------------------------------------------------------


def judged(slo: str, **counts: Any) -> Assessment:
    result = SLOResult(
        policy="safe", name=slo, class_="Safety", version="v1", verdict=Verdict.INCONCLUSIVE,
        **counts,
    )  # fmt: skip
    return Assessment(results=(result,))


def run(strategy: str, weight: int, *slos: dict[str, Any], **changes: Any) -> Run:
    steps = [{"weight": 100 if strategy == "BlueGreen" else 10, "hold": "10m"}]
    plan = {"strategy": strategy, "steps": steps, "surge": "Full"}
    policies = (policy(*slos or (VERSUS,)),)
    defaults = {"plan": plan, "policies": policies, "weight": weight, "in_force_at": ago(60)}
    return make.make_run(**defaults | changes)


def preparing(strategy: str, *slos: dict[str, Any], minutes: float = 59) -> Run:
    since = ago(minutes)
    return run(strategy, 0, *slos, step=-1, phase="Preparing", in_force_at=since)


def unsafe(events: int, samples: int, stable: tuple[int, int] | None = None) -> Assessment:
    counts = {"stable_events": stable[0], "stable_samples": stable[1]} if stable else {}
    return judged("unsafe", events=events, samples=samples, **counts)


def sums(number: int, deviation: float) -> dict[str, str]:
    return {"total": "0", "squares": str(deviation**2 * (number - 1))}


def rewards(number: int, stable: int) -> Assessment:
    return judged(
        "reward", samples=number, sums=sums(number, 1), stable_samples=stable,
        stable_sums=sums(stable, 1),
    )  # fmt: skip


def several(*others: int) -> Run:
    """A test at 10 %, with further versions beside."""
    arms = [{"version": f"v{place}", "weight": each} for place, each in enumerate(others, 2)]
    primary = {"name": "thumbs", "indicator": {"type": "ThumbsDownRate"}}
    test = {"weight": 10, "others": arms, "primary": primary}
    run_of = run("ABTest", 0, step=-1, phase="Preparing", in_force_at=ago(59))
    plan = run_of.plan.dump() | {"abTest": test}
    return make.make_run(plan=plan, policies=run_of.policies, weight=0, step=-1,
                         phase="Preparing", in_force_at=ago(59))  # fmt: skip


SHOWN = (ArmCount(slo="safe/unsafe", version="sft", events=5, samples=500),)
PAST = StratumRecord(
    slo="safe/reward", events=0, samples=10, stable_events=0, stable_samples=100,
    stable_sums=sums(100, 1),
)  # fmt: skip


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        pytest.param(
            seen(run("Shadow", 10), canary=unsafe(1, 72, (7, 720))),
            ("at 0.22 samples/s", "(7 of 720)", "or percent"),
            id="a shadow's copies come on top",
        ),
        pytest.param(
            seen(preparing("Shadow"), stable=unsafe(7, 720)), ("at 0.22 samples/s",),
            id="and are foreseen before there are any",
        ),
        pytest.param(
            seen(run("Shadow", 10, MAX), canary=unsafe(2, 72)), ("at 0.22 samples/s",),
            id="also where only the shadow is counted",
        ),
        pytest.param(
            seen(run("Shadow", 10), canary=unsafe(900, 72_000, (9000, 720_000))), None,
            id="a shadow with much traffic",
        ),
        pytest.param(
            seen(run("BlueGreen", 100, before_switch=SHOWN), canary=unsafe(40, 3600, (0, 0))),
            ("at 1 samples/s", "(5 of 500), against 500 answers of stable before the switch"),
            id="after the switch, what stable had shown",
        ),
        pytest.param(
            seen(preparing("BlueGreen", VERSUS | {"minSamples": 900}, minutes=20),
                 stable=unsafe(7, 720)),
            ("(7 of 720), against 900 answers of stable", "raise minSamples"),
            id="before it, what the switch waits for",
        ),
        pytest.param(
            seen(preparing("BlueGreen", VERSUS | {"minSamples": 100}), stable=unsafe(7, 720)),
            ("against 720 answers of stable",), id="or what there is, where that is more",
        ),
        pytest.param(
            seen(preparing("BlueGreen", VERSUS | {"minSamples": 900_000}), stable=unsafe(7, 720)),
            ("shows about 720 in an hour",), id="or that it never comes",
        ),
        pytest.param(
            seen(preparing("BlueGreen", MAX), stable=unsafe(1, 7200)), None,
            id="a bound alone waits for nothing",
        ),
        pytest.param(
            seen(several(), stable=unsafe(7, 720)), ("at 0.2 samples/s",), id="a test of two",
        ),
        pytest.param(
            seen(several(20, 20), stable=unsafe(7, 720)), ("at 0.12 samples/s",),
            id="what further versions answer is not compared with",
        ),
        pytest.param(
            seen(run("Canary", 10, LENGTH), canary=judged(
                "length", samples=36, sums=sums(36, 50), stable_samples=324,
                stable_sums=sums(324, 50))),
            ("at 0.1 samples/s", "a deviation of at least 48 (of 324 values)"),
            id="a mean, from stable's own sums",
        ),
        pytest.param(
            seen(run("Canary", 10, REWARD, strata=(PAST,)), canary=rewards(50, 50)),
            ("(of 150 values)",), id="those of earlier weights with them",
        ),
        pytest.param(
            seen(run("Canary", 10, REWARD), canary=rewards(900, 900)), None,
            id="scored alike, a small weight is no hindrance",
        ),
        pytest.param(
            seen(run("Canary", 10, REWARD), canary=rewards(5, 19)), None, id="few values tell none",
        ),
        pytest.param(
            seen(preparing("Canary", REWARD), stable=judged(
                "reward", samples=99, sums=sums(99, 1))),
            None, id="nor do those of a window of stable alone",
        ),
    ],
)  # fmt: skip
def test_what_is_told_of_a_run(picture: Observed, said: tuple[str, ...] | None) -> None:
    found = outlook.fact(picture, None)
    assert (found is None) == (said is None), found
    assert [each for each in said or () if each not in found.message] == [], found

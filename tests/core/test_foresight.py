"""A plan that leaves no time for a decision is told before the time is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.evidence import SLOResult, StratumRecord, Verdict
from rlhf_operator.api.model import ModelStatus
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.rollout import RunType
from rlhf_operator.api.strategies import Step
from rlhf_operator.core import foresight, outlook, statistics
from rlhf_operator.core.conditions import merge
from rlhf_operator.core.foresight import Doubt
from rlhf_operator.core.objective import objectives
from rlhf_operator.core.observed import Assessment, Observed, Run
from rlhf_operator.core.prospect import Pace
from tests import builders as make
from tests.builders import NOW, ago

DAY = timedelta(days=1)
RAMP = (Step(weight=5, hold="10m"), Step(weight=50, hold="1h"))
UNSAFE = {"name": "unsafe", "class": "Safety", "indicator": {"type": "UnsafeServedRate"}}
ERRORS = {"name": "errors", "class": "Performance", "indicator": {"type": "ErrorRate"}}
DONE = {"name": "done", "class": "Quality", "indicator": {"type": "TaskCompletionRate"}}
VERSUS = UNSAFE | {"versusStable": {"ratio": "1.5"}}
MAX = UNSAFE | {"max": "0.02"}


def policy(*slos: dict[str, Any], **more: Any) -> PinnedPolicy:
    body = {"name": "safe", "metricSource": "default", "interval": "1s", "slos": list(slos)}
    return PinnedPolicy.model_validate(body | more)


def known(rate: float, per_second: float) -> Pace:
    return Pace(low=rate, high=rate, per_second=per_second)


def doubt(slo: dict[str, Any], pace: Pace, max_hold: timedelta = DAY, **more: Any) -> Doubt | None:
    ((_, goal),) = objectives((policy(slo),))
    return foresight.doubt(goal, pace, RAMP, max_hold, **more)


@pytest.mark.parametrize(
    ("slo", "pace", "said"),
    [
        pytest.param(VERSUS, known(0.01, 2), None, id="13 hours are less than a day"),
        pytest.param(
            VERSUS, known(0.01, 1), ("step 1 (5 %)", "ratio 1.5 after about 26 h"),
            id="half the traffic takes twice the time",
        ),
        pytest.param(
            VERSUS, known(0.005, 0.2), ("a rate of 0.5 %", "about 11 days", "24h10m", "the ratio"),
            id="rare events take long, and the sentence says what would help",
        ),
        pytest.param(
            VERSUS, known(0.0, 2), ("never passes versusStable",),
            id="without events nothing is compared",
        ),
        pytest.param(VERSUS | {"minSamples": 9000}, known(0.05, 2), ("25 h", "lower minSamples"),
                     id="minSamples may be what takes longest"),
        pytest.param(MAX, known(0.001, 1), None, id="far below a bound is soon shown"),
        pytest.param(MAX, known(0.018, 1), ("max 0.02 after", "raise maxHold, max"),
                     id="just below a bound is not"),
        pytest.param(MAX, known(0.03, 1), ("never passes max 0.02",),
                     id="above a bound nothing is ever refuted"),
        pytest.param(DONE | {"min": "0.8"}, known(0.95, 0.1), None,
                     id="where more is better, far above passes"),
        pytest.param(DONE | {"min": "0.8"}, known(0.81, 0.1), ("min 0.8 after", "lower min"),
                     id="where more is better, just above takes long"),
        pytest.param(DONE | {"versusStable": {"ratio": "1.25"}}, known(0.5, 1), None,
                     id="frequent events are soon compared, also where more is better"),
        pytest.param(MAX | {"failureLimit": 3}, known(0.03, 0.001), None,
                     id="plain numbers need no evidence"),
    ],
)  # fmt: skip
def test_what_is_doubted(slo: dict[str, Any], pace: Pace, said: tuple[str, ...] | None) -> None:
    found = doubt(slo, pace)
    assert (found is None) == (said is None), found and found.message
    assert [each for each in said or () if each not in found.message] == [], found


def test_the_time_is_what_the_forecast_says() -> None:
    need = statistics.ratio_need(
        (), ratio=1.5, harm=False, threshold=statistics.advance_threshold(0.05), share=0.05,
        canary_rate=0.01, stable_rate=0.01, bets=statistics.MOSTLY_TWO,
    )  # fmt: skip
    found = doubt(VERSUS, known(0.01, 1))
    assert need is not None
    assert found.excess == pytest.approx(need.responses / (86_400 + 600))


def test_evidence_adds_up_over_the_steps() -> None:
    """Who has passed the slow first step has little left to show."""
    assert doubt(VERSUS, known(0.01, 1), present=1) is None
    alone = foresight.doubt(
        objectives((policy(VERSUS),))[0][1], known(0.01, 1), RAMP[1:], timedelta(hours=1)
    )
    assert alone is not None


rates = st.floats(0.0001, 0.2)
paces = st.floats(0.01, 1000)


@given(rates, paces, st.sampled_from([VERSUS, MAX, ERRORS | {"max": "0.1"}]))
def test_more_traffic_and_more_time_raise_no_doubt(
    rate: float, per_second: float, slo: dict[str, Any]
) -> None:
    if doubt(slo, known(rate, per_second)) is None:
        assert doubt(slo, known(rate, 2 * per_second)) is None
        assert doubt(slo, known(rate, per_second), 2 * DAY) is None


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_the_range_of_a_rate_holds_what_was_seen(samples: int, part: float) -> None:
    events = round(samples * part)
    found = foresight.pace(events, samples, 1.0)
    # Told to two digits, an end may lie a twentieth too far in.
    assert 0 <= found.low <= 1.05 * events / samples + 1e-12
    assert 0.95 * events / samples <= found.high <= 1


# -- what is seen of a run ----------------------------------------------------------------------


def judged(events: int, samples: int | None, stable: tuple[int, int] | None = None) -> Assessment:
    result = SLOResult(
        policy="safe", name="unsafe", class_="Safety", version="v1", verdict=Verdict.INCONCLUSIVE,
        events=events, samples=samples, stable_events=stable and stable[0],
        stable_samples=stable and stable[1],
    )  # fmt: skip
    return Assessment(results=(result,))


def run(**changes: Any) -> Run:
    plan = {"steps": [{"weight": 5, "hold": "10m"}, {"weight": 50, "hold": "1h"}]}
    defaults = {"plan": plan, "policies": (policy(VERSUS),), "weight": 5, "in_force_at": ago(60)}
    return make.make_run(**defaults | changes)


def seen(run: Run, **changes: Any) -> Observed:
    return make.make_observed(**{"run": run, "policies": run.policies} | changes)


HOUR_OF_LITTLE = judged(0, 36, (3, 684))
HOUR_OF_MUCH = judged(180, 3600, (1500, 68_400))


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        pytest.param(seen(run(), canary=HOUR_OF_LITTLE), "at 0.2 samples/s", id="little traffic"),
        pytest.param(seen(run(), canary=HOUR_OF_MUCH), None, id="much traffic"),
        pytest.param(
            seen(run(in_force_at=ago(1)), canary=HOUR_OF_LITTLE), None,
            id="a minute tells no traffic",
        ),
        pytest.param(
            seen(run(), canary=judged(0, 1, (0, 10))), None, id="ten answers tell no rate"
        ),
        pytest.param(
            seen(run(), canary=judged(0, None)), None, id="silence tells nothing"
        ),
        pytest.param(
            seen(make.preparing(policies=(policy(VERSUS),), in_force_at=ago(4)),
                 stable=judged(0, 48)),
            "step 1 (10 %)", id="before the first weight stable tells it alone",
        ),
        pytest.param(
            seen(make.ended(), canary=HOUR_OF_LITTLE), None, id="a run that is over needs no time"
        ),
        pytest.param(
            seen(run(plan={"maxHold": "8760h", "steps": [{"weight": 5, "hold": "1m"}]}),
                 canary=HOUR_OF_LITTLE),
            None, id="a year is long enough",
        ),
        pytest.param(
            seen(run(policies=(policy(VERSUS | {"class": "Informational"}),)),
                 canary=HOUR_OF_LITTLE),
            None, id="what only informs is not waited for",
        ),
    ],
)  # fmt: skip
def test_what_is_told_of_a_run(picture: Observed, said: str | None) -> None:
    found = outlook.fact(picture, None)
    assert (found is None) == (said is None), found
    assert found is None or said in found.message
    assert outlook.news(picture, None) == (found.message if found else None)


def test_earlier_weights_tell_the_rate_too() -> None:
    record = StratumRecord(
        slo="safe/unsafe", events=0, samples=0, stable_events=7, stable_samples=1316
    )
    found = outlook.fact(seen(run(strata=(record,)), canary=HOUR_OF_LITTLE), None)
    assert "(10 of 2000)" in found.message


def test_a_drill_asks_for_an_answer_and_not_for_a_decision() -> None:
    asked = run()
    drill = replace(asked, spec=asked.spec.model_copy(update={"type": RunType.DRILL}))
    assert outlook.fact(seen(asked, canary=HOUR_OF_LITTLE), None) is not None
    assert outlook.fact(seen(drill, canary=HOUR_OF_LITTLE), None) is None


def status_after(picture: Observed, before: ModelStatus | None = None) -> ModelStatus:
    found = outlook.fact(picture, before)
    conditions = merge((), (found,) if found else (), NOW, 1)
    return ModelStatus(rollout=picture.run.name, conditions=conditions)


@pytest.mark.parametrize(
    ("later", "kept"),
    [
        pytest.param(judged(1, 37, (4, 700)), True, id="other numbers, the same sentence"),
        pytest.param(judged(0, None), True, id="silence takes nothing back"),
        pytest.param(judged(1, 250, (12, 4750)), True, id="nearly enough is not enough"),
        pytest.param(HOUR_OF_MUCH, False, id="with time to spare it goes"),
    ],
)
def test_the_sentence_stays_while_it_is_true(later: Assessment, kept: bool) -> None:
    first = status_after(seen(run(), canary=HOUR_OF_LITTLE))
    picture = seen(run(), canary=later)
    again = outlook.fact(picture, first)
    assert (again is not None) is kept
    assert again is None or again.message == first.conditions[0].message
    assert outlook.news(picture, first) is None


def test_another_plan_makes_another_sentence_and_another_run_another_warning() -> None:
    first = status_after(seen(run(), canary=HOUR_OF_LITTLE))
    plan = {"maxHold": "2h", "steps": [{"weight": 5, "hold": "10m"}]}
    repinned = seen(run(plan=plan), canary=HOUR_OF_LITTLE)
    assert "2h10m" in outlook.fact(repinned, first).message
    other = replace(run(), name="support-3")
    assert outlook.news(seen(other, canary=HOUR_OF_LITTLE), first) is not None

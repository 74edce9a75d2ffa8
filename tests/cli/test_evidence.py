"""How evidence is told: how near it is, between which numbers the truth lies, and until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rlhf_operator.api.policy import SLO
from rlhf_operator.cli import evidence, live
from tests.cli.fixed import fixed, text
from tests.cli.test_views import model, newest

EVIDENCE = {"harm": "-2", "harm_proven": "4.6", "good": "1.5", "good_proven": "3", "needs": 190}


def weighed(slo=None, **changes):
    """One gauge of the midway state, with evidence of that objective that is not enough yet."""
    return weighed_frame(slo, **changes).gauges[0]


def weighed_frame(slo=None, **changes):
    """The midway state, with an objective and its evidence changed."""
    read = fixed("midway")
    record = newest(read)
    first, *others = record.status.slos
    first = first.model_copy(update=EVIDENCE | changes)
    status = record.status.model_copy(update={"slos": (first, *others)})
    spec = record.spec if slo is None else _with(record.spec, slo)
    changed = record.model_copy(update={"status": status, "spec": spec})
    records = (*read.rollouts[:-1], changed)
    return live.frame(replace(read, rollouts=records), model(read))


def _with(spec, slo):
    """The record's spec with this as its first objective."""
    policy, *others = spec.policies
    pinned = policy.model_copy(update={"slos": (slo, *policy.slos[1:])})
    return spec.model_copy(update={"policies": (pinned, *others)})


def test_the_time_to_decision_is_what_the_missing_answers_take():
    # 95 answers in the 2 s since the weight was in force; 190 more take 4 s.
    assert weighed().decided_in == pytest.approx(timedelta(seconds=4), abs=timedelta(seconds=0.01))
    assert weighed(stable_samples=95).decided_in < timedelta(seconds=3)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"needs": None}, id="nothing is said to be missing"),
        pytest.param({"samples": 0}, id="nobody asks"),
    ],
)
def test_no_time_is_told_where_none_is_known(changes):
    assert weighed(**changes).decided_in is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({}, "50% to harm refuted, 4 s", id="on the way to be cleared"),
        pytest.param({"good": "3.1", "needs": None}, "harm refuted", id="cleared"),
        pytest.param({"good": "-1", "harm": "2.3"}, "50% to harm proven", id="nearly blamed"),
        pytest.param({"good": "-9", "harm": "4.7"}, "harm proven", id="blamed"),
        pytest.param({"good": "-1"}, "none yet", id="neither"),
        pytest.param({"policy": "ab-test"}, "50% to better, 4 s", id="a test on its way"),
        pytest.param({"policy": "ab-test", "good": "-9", "harm": "4.7"}, "worse", id="a test lost"),
        pytest.param({"harm_proven": None, "good_proven": None}, "-", id="compared as a number"),
    ],
)
def test_the_frame_tells_the_nearer_end_of_the_evidence(changes, said):
    line = next(
        line
        for line in text(live.render(weighed_frame(**changes))).splitlines()
        if line.startswith("unsafe-answers")
    )
    assert f"  {said}  " in line.replace(" ✓", "  ✓")


def versus(kind, **margin):
    """An objective that has no other bound than stable."""
    told = {"name": "unsafe-answers", "class": "Safety", "indicator": {"type": kind}}
    return SLO.model_validate(told | {"versusStable": margin or {"ratio": "2.0"}})


LONGER = versus("ResponseLength", difference="20")


@pytest.mark.parametrize(
    ("slo", "seen", "used"),
    [
        pytest.param(versus("UnsafeServedRate"), {"ratio": "1"}, 0.5, id="equal: half of twice"),
        pytest.param(versus("UnsafeServedRate"), {"ratio": "3"}, 1.5, id="three times as bad"),
        pytest.param(versus("UnsafeServedRate"), {}, None, id="nothing to compare yet"),
        pytest.param(versus("TaskCompletionRate"), {"ratio": "0.5"}, 1.0, id="half as good: all"),
        pytest.param(versus("TaskCompletionRate"), {"ratio": "0"}, None, id="never good: no share"),
        pytest.param(LONGER, {"difference": "5"}, 0.25, id="a quarter of the difference"),
        pytest.param(LONGER, {"difference": "-5"}, 0.0, id="better than stable"),
    ],
)
def test_the_margin_to_stable_is_a_bound_too(slo, seen, used):
    assert weighed(slo, **seen).used == used


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"low": "0.1", "high": "0.3"}, "the rate is 0.1 to 0.3", id="a rate"),
        pytest.param({"ratio_low": "0.5"}, "0.5 or more times stable's", id="an open ratio"),
        pytest.param(
            {"difference_low": "-1.5", "difference_high": "4"},
            "-1.5 to 4 from stable's mean",
            id="a difference of means",
        ),
    ],
)
def test_why_tells_between_which_numbers_the_truth_lies(changes, said):
    first = newest(fixed("midway")).status.slos[0].model_copy(update=EVIDENCE | changes)
    shown = text(evidence.slo_table((first,)))
    assert "unsafe-answers: 4.5 to 1 against harm (20 to 1 passes), 0.14 to 1 for it" in shown
    assert f"unsafe-answers: 95 % sure: {said}\n" in shown

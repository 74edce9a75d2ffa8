from __future__ import annotations

from datetime import timedelta
from typing import get_args

import pytest

from rlhf_operator.api import metrics
from rlhf_operator.api.measure import SLOWER_THAN, IndicatorType
from rlhf_operator.api.policy import SLO
from rlhf_operator.core.indicators import (
    Better,
    Form,
    Touching,
    counter_names,
    measure,
    range_query,
)

KNOWN = {
    metric.name + suffix
    for metric in vars(metrics).values()
    if isinstance(metric, metrics.Metric)
    for suffix in (
        ("_sum", "_count", "_bucket") if metric.type is metrics.MetricType.HISTOGRAM else ("",)
    )
}


def slo(kind: str, *categories: str) -> SLO:
    bound = {"maxCount": 0} if kind.endswith("Count") else {"max": "1"}
    indicator: dict[str, object] = {"type": kind, "categories": list(categories)}
    if kind == "SlowRatio":
        indicator["slowerThan"] = "2"
    return SLO.model_validate({"name": "x", "class": "Safety", "indicator": indicator} | bound)


@pytest.mark.parametrize("kind", get_args(IndicatorType))
def test_every_indicator_reads_counters_that_have_a_name(kind: str) -> None:
    found = measure(slo(kind))
    assert {counter.name for counter in found.counters} <= KNOWN
    if found.by_user is not None:
        assert {counter.name for counter in found.by_user.counters} <= KNOWN


@pytest.mark.parametrize(
    ("kind", "categories", "first"),
    [
        ("UnsafeServedRate", (), "unsafe_served"),
        ("UnsafeGeneratedRate", (), "unsafe_generated"),
        ("GuardBlockRate", (), "blocked"),
        ("RefusalRate", (), "refused"),
        ("ErrorRate", (), "error"),
        ("UnsafeServedRate", ("bias",), None),
        ("UnsafeServedCount", (), None),
        ("GuardBypassRate", (), None),
        ("GuardWithheldRate", (), None),
        ("ResponseLength", (), None),
    ],
)
def test_which_indicators_can_be_counted_by_user(
    kind: str, categories: tuple[str, ...], first: str | None
) -> None:
    found = measure(slo(kind, *categories)).by_user
    kinds = None if found is None else {counter.where for counter in found.counters}
    assert kinds == (None if first is None else {((metrics.KIND, (first,)),)})


@pytest.mark.parametrize("kind", ["ThumbsDownRate", "TaskCompletionRate"])
def test_votes_by_user_are_the_same_votes_of_users_alone(kind: str) -> None:
    found = measure(slo(kind))
    assert found.by_user is not None
    assert (found.by_user.form, found.by_user.better) == (found.form, found.better)
    assert str(found.by_user) == str(found).replace("guard_feedback", "guard_first_feedback")
    assert found.absent_is_zero and found.by_user.absent_is_zero


@pytest.mark.parametrize(
    ("kind", "form", "better", "formula"),
    [
        (
            "UnsafeServedRate",
            Form.RATE,
            Better.LOWER,
            "rlhf_guard_unsafe_served_responses_total / rlhf_guard_responses_total",
        ),
        (
            "UnsafeServedCount",
            Form.COUNT,
            Better.LOWER,
            "rlhf_guard_unsafe_served_responses_total",
        ),
        (
            "UnsafeGeneratedRate",
            Form.RATE,
            Better.LOWER,
            "rlhf_guard_unsafe_generated_responses_total / rlhf_guard_generated_responses_total",
        ),
        (
            "GuardBypassRate",
            Form.RATE,
            Better.LOWER,
            "rlhf_guard_bypassed_responses_total / rlhf_guard_responses_total",
        ),
        (
            "GuardWithheldRate",
            Form.RATE,
            Better.LOWER,
            "rlhf_guard_withheld_total / rlhf_guard_responses_total",
        ),
        (
            "ThumbsDownRate",
            Form.RATE,
            Better.LOWER,
            'rlhf_guard_feedback_total{kind="thumbs",value="down"} / '
            'rlhf_guard_feedback_total{kind="thumbs",value=~"down|up"}',
        ),
        (
            "TaskCompletionRate",
            Form.RATE,
            Better.HIGHER,
            'rlhf_guard_feedback_total{kind="task",value="done"} / '
            'rlhf_guard_feedback_total{kind="task",value=~"done|failed"}',
        ),
        (
            "ResponseLength",
            Form.MEAN,
            Better.LOWER,
            "rlhf_guard_response_length_tokens_sum / rlhf_guard_response_length_tokens_count",
        ),
        (
            "RewardScore",
            Form.MEAN,
            Better.HIGHER,
            '(rlhf_evaluator_reward_sum_total{sign="positive"} - '
            'rlhf_evaluator_reward_sum_total{sign="negative"}) / rlhf_evaluator_rewards_total',
        ),
        (
            "KLToSFT",
            Form.MEAN,
            Better.LOWER,
            '(rlhf_evaluator_kl_nats_sum_total{sign="positive"} - '
            'rlhf_evaluator_kl_nats_sum_total{sign="negative"}) / rlhf_evaluator_kl_answers_total',
        ),
    ],
)
def test_indicators(kind: str, form: Form, better: Better, formula: str) -> None:
    found = measure(slo(kind))
    assert (found.form, found.better, str(found)) == (form, better, formula)


@pytest.mark.parametrize(
    ("categories", "formula"),
    [
        pytest.param(["csae"], 'rlhf_guard_unsafe_served_total{category="csae"}', id="one"),
        pytest.param(["csae", "bias", "csae"], "rlhf_guard_unsafe_served_sets_total"
                     '{category=~"(.*,)?(bias|csae)(,.*)?"}', id="several"),
    ],
)  # fmt: skip
def test_categories_choose_the_counter_that_has_them(categories: list[str], formula: str) -> None:
    assert str(measure(slo("UnsafeServedCount", *categories))) == formula


@pytest.mark.parametrize(
    ("value", "touched"),
    [("bias", True), ("bias,violence", True), ("csae,violence", True), ("violence", False),
     ("bias-of-age", False), ("", False)],
)  # fmt: skip
def test_a_set_is_touched_by_the_categories_that_it_lists(value: str, touched: bool) -> None:
    assert (value in Touching(("bias", "csae"))) is touched


def test_what_is_slow_is_what_is_not_within_a_bucket() -> None:
    found = measure(slo("SlowRatio"))
    duration = "rlhf_guard_request_duration_seconds"
    assert (found.form, found.better) == (Form.RATE, Better.LOWER)
    assert str(found) == (
        f'({duration}_count - {duration}_bucket{{le=~"2|2.0"}}) / {duration}_count'
    )


def test_every_bound_of_the_durations_can_be_asked_for() -> None:
    bounds = tuple(float(each) for each in get_args(SLOWER_THAN))
    assert bounds == metrics.GUARD_REQUEST_DURATION.buckets


def test_a_teams_counters_are_a_rate() -> None:
    counters = {
        "events": {"name": "checks_total", "where": [{"label": "result", "values": ["bad"]}]},
        "samples": {"name": "checks_total"},
    }
    found = measure(SLO.model_validate({
        "name": "x", "class": "Quality", "max": "0.1",
        "query": {"counters": counters, "betterWhen": "Higher"},
    }))  # fmt: skip
    assert (found.form, found.better) == (Form.RATE, Better.HIGHER)
    assert str(found) == 'checks_total{result="bad"} / checks_total'


def test_feedback_speaks_about_another_version() -> None:
    labels = {counter.version_label for counter in measure(slo("ThumbsDownRate")).counters}
    assert labels == {metrics.ABOUT_VERSION}


def test_a_counter_that_several_slos_share_is_read_once() -> None:
    slos = (slo("UnsafeServedRate"), slo("GuardBlockRate"), slo("UnsafeServedCount"))
    assert len(counter_names(slos)) == 3


def test_range_queries_are_for_all_models_and_in_whole_seconds() -> None:
    assert range_query("n_total", timedelta(seconds=11.2)) == "n_total[12s]"
    chosen = range_query("n_total", timedelta(0), '{rlhf_model=~"a|b"}')
    assert chosen == 'n_total{rlhf_model=~"a|b"}[1s]'

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.measure import Query
from rlhf_operator.core.queries import longest_range, problem

L = "namespace, rlhf_model, rlhf_version"


def ask(text: str) -> str | None:
    return problem(Query(prom_ql=text, samples="x_total", better_when="Lower"))


@pytest.mark.parametrize(
    "text",
    [
        "foo",
        "-foo",
        "(foo)",
        "foo > bool 3",
        "rate(foo[5m])",
        f"histogram_quantile(0.95, sum by ({L}, le) (rate(d_bucket[1m])))",
        f"sum by ({L}) (a) / on ({L}) sum by ({L}) (b)",
        "sum without (pod) (a) / sum without (pod) (b)",
        "a / b",
        "max_over_time(rate(a[1m])[30m:1m])",
        "rate(foo[5m] offset 10m)",
        '{__name__="foo"}',
        "a and b or c unless d",
        f'count_values by ({L}) ("size", foo)',
    ],
)
def test_an_expression_that_keeps_the_labels_is_accepted(text: str) -> None:
    assert ask(text) is None


@pytest.mark.parametrize(
    ("sentence", "text", "said"),
    [
        ("does not parse", "sum(", "not valid PromQL: unclosed left"),
        ("is empty", " ", "not valid PromQL"),
        ("renames a model", 'label_replace(a, "rlhf_model", "b", "", "")', "another model"),
        ("joins a label", 'label_join(a, "rlhf_model", "-", "x")', "another model"),
        ("aggregates all away", "sum(a)", f"write for instance sum by ({L})"),
        ("drops the version", "sum by (namespace, rlhf_model) (a)", "drops rlhf_version"),
        ("drops the namespace", "avg without (namespace) (a)", "drops namespace"),
        ("ranks across models", "topk(1, a)", "an aggregation drops"),
        ("overwrites a label", f'count_values by ({L}) ("rlhf_model", a)', "another label"),
        ("matches loosely", "a / on (namespace) b", "drops rlhf_model, rlhf_version"),
        ("ignores labels", "a / ignoring (pod) b", f"match with on ({L})"),
        ("spreads to the left", f"a / on ({L}) group_left b", "group_left"),
        ("spreads to the right", f"a / on ({L}) group_right b", "group_right"),
        ("hides it deeper", "abs(-(a / on (namespace) b))", "drops rlhf_model"),
        ("has a long range", "rate(a[2h])", "range 2h is longer than 1h"),
        ("has a long subquery", "max_over_time(a[2h:1m])", "range 2h is longer"),
        ("adds up to more", "max_over_time(rate(a[40m])[40m:1m])", "back 1h20m in all"),
        ("has too fine a step", "max_over_time(a[1h:1ms])", "shorter than 1s"),
        ("looks at long ago", "a offset 2h", "offset 2h is longer"),
        ("looks ahead", "a offset -5m", "negative offset"),
        ("pins a moment", "a @ 1700000000", "@ pins a moment"),
        ("pins the end", "rate(a[5m] @ end())", "@ pins a moment"),
        ("is a number", "1 + 2", "yields one number"),
        ("is the time", "time()", "yields one number"),
        ("is a string", '"a"', "yields one string"),
        ("is a range", "a[5m]", "wrap it in a function"),
        ("takes a scalar of a vector", "a > scalar(b)", "scalar is not allowed"),
        ("has no labels", "vector(1)", "vector is not allowed"),
        ("turns silence into one", "absent(a)", "absent is not allowed"),
        ("names no metric", '{job="x"}', "names no metric"),
        ("matches every metric", '{__name__=~".+"}', "names no metric"),
        ("is a tower", "-" * 4000 + "a", "nested too deeply"),
        ("is a chain", "+".join(["a"] * 1000), "nested too deeply"),
    ],
)
def test_a_query_is_refused_when_it(sentence: str, text: str, said: str) -> None:
    answer = ask(text)
    assert answer is not None
    assert said in answer


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("a", 0),
        ("rate(a[5m])", 5),
        ("rate(a[5m]) / rate(b[10m])", 10),
        ("max_over_time(rate(a[5m])[30m:1m])", 35),
        ("rate(a[5m] offset 10m)", 15),
        (f"histogram_quantile(0.9, sum by ({L}, le) (rate(a[1m])))", 1),
    ],
)
def test_the_longest_range_is_how_far_back_the_expression_looks(text: str, minutes: int) -> None:
    assert longest_range(text) == timedelta(minutes=minutes)


@given(st.text(alphabet='abl_ ()[]{}"=~+-*/@:150mh,', min_size=1, max_size=60))
def test_any_text_is_accepted_or_refused_with_a_sentence(text: str) -> None:
    answer = ask(text)
    assert answer is None or answer

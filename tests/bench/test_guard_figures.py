"""The guard's bench: its figures are those of the times that it saw."""

from __future__ import annotations

import json

import pytest

from e2e.bench.guard import figures, ruleset
from e2e.bench.guard.figures import Sample
from rlhf_operator.guard import config

HUNDRED = tuple(range(1000, 101_000, 1000))  # 1 ms to 100 ms


def sample(whole: tuple[int, ...], **other: object) -> Sample:
    facts = {"in_time": len(whole), "seconds": 2.0, "done": len(whole), **other}
    return Sample(whole=whole, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("times", "share", "expected"),
    [
        pytest.param(HUNDRED, 0.5, 50.0, id="half are not above the median"),
        pytest.param(HUNDRED, 0.99, 99.0, id="one in a hundred is above p99"),
        pytest.param(tuple(reversed(HUNDRED)), 0.99, 99.0, id="the order does not matter"),
        pytest.param((7_000,), 0.99, 7.0, id="one time is every percentile"),
        pytest.param((1_000, 9_000), 0.99, 9.0, id="a percentile is never below its share"),
    ],
)
def test_a_percentile_is_a_time_that_was_seen(
    times: tuple[int, ...], share: float, expected: float
) -> None:
    assert figures.percentile_ms(times, share) == expected


def test_added_latency_is_what_lies_above_the_stub() -> None:
    slower = sample(tuple(each + 5_000 for each in HUNDRED))
    found = figures.point([slower], [sample(HUNDRED)])
    assert found["p50_ms"] == 55.0
    assert found["p50_added_ms"] == found["p99_added_ms"] == 5.0


def test_throughput_counts_the_answers_within_the_time() -> None:
    late = sample(HUNDRED, in_time=90)
    assert figures.point([late], [late])["rps"] == 45.0


def test_processor_time_is_shared_by_all_that_were_asked() -> None:
    warm = sample(HUNDRED, done=200, processor_seconds=0.4)
    assert figures.point([warm], [warm])["processor_ms_per_request"] == 2.0


def test_one_bad_round_of_three_does_not_show() -> None:
    quick, slow = sample((1_000,) * 100), sample((500_000,) * 100, errors=1)
    found = figures.point([quick, slow, quick], [quick, quick, quick])
    assert found["p99_added_ms"] == 0.0
    assert (found["answers"], found["errors"]) == (300, 1)


def test_the_table_has_every_target_by_its_connections() -> None:
    stream = sample(HUNDRED, first=(1_000, 2_000))
    found = figures.table({name: {1: [stream], 64: [stream]} for name in ("direct", "guard")})
    assert {target: set(each) for target, each in found.items()} == {
        "direct": {"1", "64"},
        "guard": {"1", "64"},
    }
    assert found["guard"]["64"]["first_text_p99_added_ms"] == 0.0
    json.dumps(found)


@pytest.mark.parametrize(
    ("found", "name", "met"),
    [
        pytest.param(
            {"guard": {"64": {"rps": 500.0}}, "litellm": {"64": {"rps": 100.0}}},
            "rps_over_litellm_at_64", True, id="five times is enough",
        ),
        pytest.param(
            {"guard": {"64": {"rps": 499.0}}, "litellm": {"64": {"rps": 100.0}}},
            "rps_over_litellm_at_64", False, id="less than five times is not",
        ),
        pytest.param(
            {"open_loop": {"p99_added_ms": 15.1}},
            "open_loop_p99_added_ms", False, id="more than 15 ms is too much",
        ),
        pytest.param(
            {"memory": {"requests": 10**6, "rss_mb_at": [(0, 50.0), (100, 80.0), (1000, 81.0)]}},
            "rss_growth_mb", True, id="what comes before a tenth is no growth",
        ),
        pytest.param(
            {"memory": {"requests": 1000, "rss_mb_at": [(0, 50.0), (100, 60.0), (1000, 90.0)]}},
            "rss_growth_mb", False, id="what comes after a tenth is",
        ),
        pytest.param(
            {"memory": {"requests": 1000, "rss_mb_at": [(0, 50.0), (100, 50.0), (1000, 50.0)]}},
            "rss_growth_mb", None, id="few requests prove nothing",
        ),
    ],
)  # fmt: skip
def test_an_aim_is_met_or_missed(found: dict[str, object], name: str, met: bool | None) -> None:
    assert figures.verdicts(found)[name]["met"] is met


def test_what_was_not_measured_has_no_verdict() -> None:
    assert figures.verdicts({"guard": {"64": {"rps": 500.0}}}) == {}


def test_both_filters_have_the_same_words_and_patterns() -> None:
    guard = ruleset.guard_config("http://127.0.0.1:1", 0, 0)["guard"]["stages"]
    (litellm,) = ruleset.litellm_config("http://127.0.0.1:1")["guardrails"]
    theirs = litellm["litellm_params"]
    ours = [rule for stage in guard for rule in stage["rules"]]
    assert sorted(word for rule in ours for word in rule["keywords"]) == sorted(
        word["keyword"] for word in theirs["blocked_words"]
    )
    assert sorted(pattern for rule in ours for pattern in rule["patterns"]) == sorted(
        each["pattern"].removeprefix("(?i)") for each in theirs["patterns"]
    )


def test_the_guard_takes_its_configuration_and_finds_only_the_bad() -> None:
    text = json.dumps(ruleset.guard_config("http://127.0.0.1:1", 0, 0))
    checks = config.parse(text, {config.SIGNING_KEY: "0123456789abcdef"}).rules.checks

    def finds(said: str) -> bool:
        return any(check.judge(said).found for check in checks.values())

    assert finds(ruleset.BAD_KEYWORD)
    assert finds(ruleset.BAD_PATTERN)
    assert not any(finds(body) for body in ruleset.requests(8))


def test_one_request_in_fifty_of_the_mix_is_bad() -> None:
    mix = ruleset.mixed_requests(100)
    assert sum(ruleset.BAD_KEYWORD in body for body in mix) == 2
    assert sum(json.loads(body)["stream"] for body in mix) == 8

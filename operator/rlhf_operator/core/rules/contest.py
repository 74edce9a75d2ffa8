"""Rules of an A/B test: which version won, if one did. Guardrails have rules of their own.

Each tested version is compared with stable. Where several are shown to be better, the one with
the best estimate wins, and nothing is claimed of it against the others; then the test goes on
with that one alone, and ends as one that had no others.
"""

from __future__ import annotations

from rlhf_operator.api.evidence import SLOResult, Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.schema import decimal, parse_duration
from rlhf_operator.api.strategies import TEST_POLICY, ABTest
from rlhf_operator.core import analysis, contenders, overrides, plans, sequential
from rlhf_operator.core.decision import Action, Decision, hold, roll_back
from rlhf_operator.core.indicators import Better, measure
from rlhf_operator.core.observed import Observed, Run
from rlhf_operator.core.rules.acts import canary_run


def test_lost(seen: Observed) -> Decision | None:
    """End a test that stable has won, without blame; a loss does not wait for `minimum`."""
    run, test = _test(seen)
    found = _primary(seen)
    if run is None or test is None or found is None or found.verdict is not Verdict.FAILED:
        return None
    return roll_back(Reason.LOST_AB_TEST, f"{_name(run)} is worse: {told(test, found)}")


def no_winner(seen: Observed) -> Decision | None:
    """End a test in which neither version was shown to be better by the end of `duration`.

    While nobody can tell, after a restart or without an answer of the metric source, it goes on
    for `maxHold`.
    """
    run, test = _test(seen)
    if run is None or test is None or run.since is None or _is_won(run):
        return None
    found = _primary(seen)
    if found is not None and found.verdict is Verdict.SUCCESSFUL:
        return None
    end = run.since + parse_duration(test.duration)
    if found is None or found.verdict is Verdict.ERROR:
        end += parse_duration(run.plan.max_hold)
    if seen.now < end:
        return None
    return roll_back(
        Reason.NO_DIFFERENCE,
        f"no difference of {_name(run)} was shown in {test.duration}: {told(test, found)}",
    )


def best_of_several(seen: Observed) -> Decision | None:
    """Choose among several versions that are shown to be better: the best estimate stays.

    When all that are left are shown to be better and no guardrail is unsure, or time is over.
    """
    run, test = _test(seen)
    views = contenders.views(seen)
    if run is None or test is None or run.since is None or len(views) < 2:
        return None
    fit = [view for view in views if _is_fit(view)]
    over = seen.now >= run.since + parse_duration(test.duration)
    if not fit or (len(fit) < len(views) and not over):
        return None
    lower = measure(plans.primary(test)).better is Better.LOWER
    best = min(fit, key=lambda view: _estimate(view) if lower else -_estimate(view))
    name = contenders.named(best).name
    others = tuple(each for view in views if (each := contenders.named(view).name) != name)
    return Decision(
        action=Action.DROP,
        reason=Reason.OTHER_WON,
        message=f"{name} is better, and of {len(views)} the best by its estimate: "
        f"{told(test, _primary(best))}",
        arms=others,
    )


def others_leaving(seen: Observed) -> Decision | None:
    """Promote nothing while pods of dropped versions drain: they have the place that it needs."""
    run = canary_run(seen)
    there = contenders.still_there(seen, run) if run is not None else ()
    if not there:
        return None
    return hold(Reason.SETTLING, f"{', '.join(there)} has no traffic any more and is drained")


def test_undecided(seen: Observed) -> Decision | None:
    """Go on with a test that has no winner yet."""
    run, test = _test(seen)
    if run is None or test is None or run.status.in_force_at is None or _is_won(run):
        return None
    found = _primary(seen)
    if found is not None and found.verdict is Verdict.SUCCESSFUL:
        return None
    unanswered = found is not None and found.verdict is Verdict.ERROR
    reason = Reason.METRICS_UNAVAILABLE if unanswered else Reason.INCONCLUSIVE
    return hold(reason, told(test, found))


def won(seen: Observed, run: Run) -> str:
    """Return how the test was won, for the record; empty where there is none."""
    test, found = run.plan.ab_test, _primary(seen)
    return f"; {_name(run)} is better: {told(test, found)}" if test is not None else ""


def told(test: ABTest, found: SLOResult | None) -> str:
    """Return counts, ratio and evidence of a test, as a sentence."""
    name = test.primary.name
    if found is None or found.good is None or found.harm is None:
        why = found.message if found is not None else "nothing was measured yet"
        return why if why.startswith(name) else f"{name}: {why}"
    counts = found.firsts or found
    arms = (
        f"{_short(found.value)} ({counts.events or 0} of {counts.samples or 0}) against stable's "
        f"{_short(found.stable_value)} "
        f"({counts.stable_events or 0} of {counts.stable_samples or 0})"
    )
    if found.firsts is not None:
        arms += ", each user once"
    ratio = ""
    if found.ratio_low is not None:
        ends = f"{_short(found.ratio_low)} to {_short(found.ratio_high)}"
        ratio = f", ratio {_short(found.ratio)} ({ends})"
    better, worse = (sequential.odds(float(each)) for each in (found.good, found.harm))
    proof = f"{2 * (1 + len(test.others)) / float(decimal(test.error)):.0f} to 1"
    return f"{name} {arms}{ratio}; evidence for better {better}, for worse {worse}, {proof} decides"


def _short(number: str | None) -> str:
    return "?" if number is None else f"{float(number):.3g}"


def _is_won(run: Run) -> bool:
    """Return whether the test had several versions and its winner is chosen."""
    return any(arm.reason == Reason.OTHER_WON for arm in run.status.arms)


def _is_fit(view: Observed) -> bool:
    """Return whether a version is shown to be better, and passes every guardrail."""
    found, run = _primary(view), view.run
    proven = found is not None and found.verdict is Verdict.SUCCESSFUL
    passes = run is not None and analysis.worst(overrides.gating(view, run)) is Verdict.SUCCESSFUL
    return proven and passes


def _estimate(view: Observed) -> float:
    """Return the most likely ratio of the primary to stable's."""
    found = _primary(view)
    return float(found.ratio) if found is not None and found.ratio is not None else 1.0


def _test(seen: Observed) -> tuple[Run | None, ABTest | None]:
    run = canary_run(seen)
    return run, (run.plan.ab_test if run is not None else None)


def _primary(seen: Observed) -> SLOResult | None:
    results = seen.canary.results if seen.canary is not None else ()
    return next((each for each in results if each.policy == TEST_POLICY), None)


def _name(run: Run) -> str:
    assert run.status.canary is not None, "a test has a canary"
    return run.status.canary.name

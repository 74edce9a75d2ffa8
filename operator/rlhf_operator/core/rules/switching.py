"""Before all traffic moves at once: enough pods for all of it, and something to compare with."""

from __future__ import annotations

from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import capacity, mandatory, overrides, sequential
from rlhf_operator.core.decision import Decision, hold
from rlhf_operator.core.indicators import measure
from rlhf_operator.core.observed import Observed, Run


def needed_pods(seen: Observed, run: Run) -> int:
    """Return how many ready pods of the canary the first weight takes."""
    replicas = seen.spec.serving.replicas if seen.spec is not None else 1
    return capacity.pods_before_weight(run, replicas)


def nothing_to_compare(seen: Observed, run: Run) -> Decision | None:
    """Wait until stable has shown what the canary is to be compared with.

    Once all traffic has moved stable shows nothing any more, and a comparison that rests on too
    little could never be decided.
    """
    if run.plan.strategy != "BlueGreen":
        return None
    out = {entry.slo for entry in overrides.in_force(run, seen.now)}
    results = seen.stable.results if seen.stable is not None else ()
    shown = {(each.policy, each.name): each.samples or 0 for each in results}
    missing = [
        f"{shown.get((policy.name, slo.name), 0)} of {slo.min_samples} samples of {slo.name}"
        for policy in mandatory.binding(run.policies, seen.policies)
        for slo in policy.slos
        if slo.versus_stable is not None
        and slo.class_ != "Informational"
        and (slo.class_ == "Safety" or slo.name not in out)
        and sequential.is_sequential(slo, measure(slo))
        and shown.get((policy.name, slo.name), 0) < slo.min_samples
    ]
    if not missing:
        return None
    assert run.status.stable is not None, "a run in progress has a stable version"
    return hold(
        Reason.INCONCLUSIVE,
        f"before the switch {run.status.stable.name} has shown {', '.join(missing)}",
    )

"""What a strategy could never do: objectives that it cannot judge, shares that it cannot give."""

from __future__ import annotations

from collections.abc import Iterable

from rlhf_operator.api import metrics
from rlhf_operator.api.common import Failure
from rlhf_operator.api.model import Rollout
from rlhf_operator.api.plan import PinnedPolicy
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.strategies import TEST_POLICY, StrategyName
from rlhf_operator.core import capacity, sequential
from rlhf_operator.core.indicators import Form, measure


def unfit(rollout: Rollout, replicas: int, policies: Iterable[PinnedPolicy]) -> Failure | None:
    """Return why a strategy cannot be carried out as it is meant, with so many pods."""
    crowded = capacity.too_small(rollout, replicas)
    if crowded is not None:
        return crowded
    pinned = tuple(policies)
    if rollout.strategy == "ABTest" and any(each.name == TEST_POLICY for each in pinned):
        return Failure(
            reason=Reason.SPEC_INVALID,
            message=f"with strategy ABTest no policy may be called {TEST_POLICY}: the test is "
            "recorded under this name",
        )
    for policy in pinned:
        for slo in policy.slos:
            never = why(rollout.strategy, slo)
            if never is not None:
                return Failure(
                    reason=Reason.SPEC_INVALID,
                    message=f"strategy {rollout.strategy} cannot judge {policy.name}/{slo.name}: "
                    f"{never}",
                )
    return None


def why(strategy: StrategyName, slo: SLO) -> str | None:
    """Return why an objective that decides would stay Inconclusive for ever; None if it would not.

    An Informational one decides nothing and may stay so.
    """
    found = measure(slo)
    if slo.class_ == "Informational":
        return None
    is_vote = found.samples.version_label == metrics.ABOUT_VERSION and found.scorer is None
    if strategy == "Shadow" and is_vote:
        return "nobody votes on the answers of a shadow; make it Informational"
    compares = slo.versus_stable is not None
    by_ratio = found.form is Form.RATE and sequential.is_sequential(slo, found)
    if strategy == "BlueGreen" and compares and not by_ratio:
        return (
            "with all traffic on the new version stable shows nothing, and only the ratio of a "
            "rate can be compared with what it showed before; use max or min"
        )
    return None

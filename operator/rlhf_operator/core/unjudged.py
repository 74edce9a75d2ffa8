"""Objectives that a strategy could never judge: with one of them no run could succeed."""

from __future__ import annotations

from rlhf_operator.api import metrics
from rlhf_operator.api.policy import SLO
from rlhf_operator.api.strategies import StrategyName
from rlhf_operator.core import sequential
from rlhf_operator.core.indicators import Form, measure


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

"""What people change of the course of a run: an objective that does not count, another plan."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rlhf_operator.api.evidence import Verdict
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.rollout import PinnedPolicy
from rlhf_operator.core import rollout
from rlhf_operator.core.decision import Action
from rlhf_operator.core.observed import Assessment, Run
from tests import builders as make
from tests.builders import BAD, GOOD, NOW, SLOW, act, ago
from tests.core.rule_rows import check, row

LATER = NOW + timedelta(hours=1)


def objective(name: str, class_: str) -> dict[str, Any]:
    return {"name": name, "class": class_, "indicator": {"type": "ErrorRate"}, "max": "0.1"}


def policy(*slos: dict[str, Any], **changes: Any) -> PinnedPolicy:
    return PinnedPolicy.model_validate(make.POLICY.dump() | {"slos": slos} | changes)


UNSAFE, LATENCY = objective("unsafe", "Safety"), objective("latency", "Performance")
SHOWN = objective("length", "Informational")
WHOLE = policy(UNSAFE, LATENCY, SHOWN)


def overridden(slo: str = "latency", until: Any = LATER, **changes: Any) -> Run:
    said = {"name": "skip", "action": "Override", "author": "ann", "reason": "a known fault",
            "slo": slo, "until": until, "at": ago(1)}  # fmt: skip
    return make.make_run(**{"policies": (WHOLE,), "decisions": [said]} | changes)


def both(*parts: Assessment) -> Assessment:
    return Assessment(results=tuple(one for part in parts for one in part.results))


def skip(slo: str, **changes: Any) -> Any:
    return act("Override", slo=slo, **{"expires_at": LATER} | changes)


UNSURE = make.judged(Verdict.INCONCLUSIVE, "Performance", name="latency")
RUN = make.make_run(policies=(WHOLE,))

OVERRIDES = [
    row("an override is recorded", "person_decided", Action.HOLD, Reason.OVERRIDDEN, run=RUN,
        acts=(skip("latency"),)),
    row("it comes before the failure that it is about", "person_decided", Action.HOLD,
        Reason.OVERRIDDEN, run=RUN, acts=(skip("latency"),), canary=both(GOOD, SLOW)),
    row("an objective that is overridden does not roll back", "step_passed", Action.ADVANCE,
        Reason.ADVANCED, run=overridden(), canary=both(GOOD, SLOW)),
    row("nor does it hold", "step_passed", Action.ADVANCE, Reason.ADVANCED, run=overridden(),
        canary=both(GOOD, UNSURE)),
    row("it rolls back again once the override has ended", "canary_failed", Action.ROLL_BACK,
        Reason.SLO_FAILED, run=overridden(until=NOW), canary=both(GOOD, SLOW)),
    row("another objective rolls back", "canary_failed", Action.ROLL_BACK, Reason.SLO_FAILED,
        run=overridden("thumbs"), canary=both(GOOD, SLOW)),
    row("Safety rolls back whatever the record says", "canary_unsafe", Action.ROLL_BACK,
        Reason.SAFETY_FAILED, run=overridden("unsafe"), canary=BAD),
    row("and Safety holds whatever the record says", "inconclusive", Action.HOLD,
        Reason.INCONCLUSIVE, run=overridden("unsafe"), canary=make.SILENT),
    *(row(f"an override is refused {how}", "person_refused", Action.KEEP, reason,
          **{"run": RUN, "acts": (skip("latency"),)} | changes) for how, reason, changes in [
        ("without a run", Reason.NOT_APPLICABLE, {"run": make.ended()}),
        ("of Safety", Reason.NOT_APPLICABLE, {"acts": (skip("unsafe"),)}),
        ("of a name that is Safety in any policy", Reason.NOT_APPLICABLE,
         {"run": make.make_run(policies=(
             WHOLE, policy(objective("latency", "Safety"), name="other")))}),
        ("of a name that today's mandatory policy makes Safety", Reason.NOT_APPLICABLE,
         {"policies": (policy(objective("latency", "Safety"), name="house", mandatory=True),)}),
        ("of what is not there", Reason.NOT_APPLICABLE, {"acts": (skip("thumbs"),)}),
        ("of what is only shown", Reason.NOT_APPLICABLE, {"acts": (skip("length"),)}),
        ("of the last that can say success", Reason.NOT_APPLICABLE,
         {"run": make.make_run(policies=(policy(LATENCY, SHOWN),))}),
        ("after its end", Reason.EXPIRED, {"acts": (skip("latency", expires_at=ago(1)),)}),
    ]),
]  # fmt: skip

ROWS = [*OVERRIDES]


@pytest.mark.parametrize(("rule", "action", "reason", "changes"), ROWS)
def test_what_people_change(
    rule: str, action: Action, reason: Reason, changes: dict[str, Any]
) -> None:
    check(rule, action, reason, changes)


def test_the_next_step_tells_what_did_not_count() -> None:
    decision = rollout.decide(make.make_observed(run=overridden(), canary=both(GOOD, SLOW)))
    assert decision.message == (
        "unsafe Successful; latency does not count until 2026-01-05 13:00 UTC, by ann"
    )

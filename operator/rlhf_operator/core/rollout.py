"""The ordered rules of a rollout. The order is the behaviour: the first that answers wins."""

from __future__ import annotations

from dataclasses import replace

from rlhf_operator.core.decision import Action, Decision
from rlhf_operator.core.observed import Observed
from rlhf_operator.core.rules import (
    alike,
    consent,
    contest,
    control,
    drill,
    harm,
    people,
    readiness,
    resting,
    running,
    starting,
)
from rlhf_operator.core.rules.each import Rule, each

RULES: tuple[Rule, ...] = (
    people.model_deleted,  # nothing is ours any more
    harm.run_not_open,  # a record without a first status says nothing yet
    people.person_stopped,  # a person knows something we do not
    each(harm.canary_unsafe),  # straight to 0, no hold, no suspension
    control.control_unsafe,  # before stable flees to it
    drill.drill_superseded,  # drills wait for everything
    people.person_decided,  # what a person wants, as long as the canary does no harm
    alike.not_the_model,  # a second move helps no more than the first
    harm.stable_unsafe,  # to the previous version, or to the floor
    harm.stable_vetoed,  # what a person forbade serves no longer than there is another
    control.control_over,  # the previous version keeps its traffic only for a while
    each(harm.canary_not_serving),  # never send traffic to what does not answer
    harm.stable_not_serving,  # never raise without a way back
    each(harm.canary_failed),  # quality and performance
    harm.stable_failed,  # to the previous version alone
    each(contest.test_lost),  # a test that stable has won
    people.person_refused,  # what cannot be carried out is told, after what is urgent
    running.superseded,  # the team wants something else now
    resting.spec_invalid,  # a run goes on by its pinned plan; a rest stays a rest
    readiness.first_not_serving,  # the first version, or renewed pods
    starting.nothing_live,  # the floor comes first
    resting.settling,  # one change at a time
    drill.drill_late,  # before anything waits for it
    each(running.blind),  # safety unseen for too long: weight down, also while suspended
    running.spec_unreadable,  # traffic can be taken away without it, and no more than that
    running.suspended,  # suspend, pause, freeze windows
    running.parked,  # until safety can be seen again
    each(readiness.preparing),  # before the first weight
    each(readiness.weight_not_in_force),  # what was declared is not yet what the router does
    running.rules_differ,  # what guards count by other rules says nothing of models
    each(running.reward_hacking),  # a pleased reward model is no pleased user
    running.holding,  # every weight gets its time
    drill.drill_held,  # an answer is a proof, and its objectives are not asked
    contest.best_of_several,  # when all are decided, or time is over
    each(contest.no_winner),  # a test whose time is over
    each(running.inconclusive),  # silence is not consent
    each(contest.test_undecided),  # a test goes on until one is better
    each(running.answers_missing),  # what was not counted was not judged
    consent.awaiting_approval,  # the people whose approval the step asks for
    contest.others_leaving,  # one change at a time
    running.steps_complete,  # promote
    running.step_passed,  # advance
    drill.drill_due,  # while all is well, the way back is tried
    resting.target_serving,  # all is well
    resting.other_won,  # what is asked for has lost
    resting.target_quarantined,  # never again, under any name
    resting.target_failed,  # not again by itself
    starting.start_not_allowed,  # not now
    starting.target_differs,  # start
    resting.nothing_to_do,  # always decides
)


def decide(seen: Observed) -> Decision:
    """Return the decision of the first rule that has one."""
    for rule in RULES:
        decision = rule(seen)
        if decision is not None:
            return _refusal(seen, decision) or replace(decision, rule=rule.__name__)
    raise AssertionError("the last rule always decides")


def _refusal(seen: Observed, decision: Decision) -> Decision | None:
    """Return what a person is told first where there is nothing to do, which may be for days."""
    rests = decision.action is Action.KEEP and decision.act is None
    told = people.person_refused(seen) if rests else None
    return replace(told, rule=people.person_refused.__name__) if told is not None else None

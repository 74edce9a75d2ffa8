"""Approvals of a run: which gates are ahead, who has agreed, and who does not count.

A gate is open when enough different people have approved this run. What they said stands in the
record's decisions and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_operator.api.approval import Approval
from rlhf_operator.api.decision import DecisionRecord
from rlhf_operator.api.strategies import Step
from rlhf_operator.core.observed import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """A place in the plan that a run passes only with the approval of people."""

    step: int
    """The step's place in the plan, from 0."""
    approval: Approval

    @property
    def leads_from(self) -> int:
        """Return the step that cannot be left while this gate is closed; -1 before the first."""
        return self.step if self.approval.gate == "Leave" else self.step - 1


def gates(steps: tuple[Step, ...]) -> tuple[Gate, ...]:
    """Return the gates of a plan, in the order in which a run comes to them."""
    found = [
        Gate(step=index, approval=step.approval)
        for index, step in enumerate(steps)
        if step.approval is not None
    ]
    return tuple(sorted(found, key=lambda gate: (gate.leads_from, gate.step)))


def ahead(run: Run) -> tuple[Gate, ...]:
    """Return the gates that the run has not passed yet."""
    return tuple(gate for gate in gates(run.plan.steps) if gate.leads_from >= run.status.step)


def closed(run: Run) -> Gate | None:
    """Return the gate that keeps the run from going on from its present step."""
    here = (gate for gate in ahead(run) if gate.leads_from == run.status.step)
    return next((gate for gate in here if missing(run, gate) > 0), None)


def missing(run: Run, gate: Gate) -> int:
    """Return how many people have yet to approve."""
    return max(0, gate.approval.count - len(approvers(run, gate)))


def approvers(run: Run, gate: Gate) -> tuple[str, ...]:
    """Return the different people whose approval counts at this gate."""
    said = (entry for entry in _since_repin(run) if _is_about(entry, gate))
    return tuple(dict.fromkeys(one.author for one in said if counts(run, gate, one.author)))


def counts(run: Run, gate: Gate, author: str) -> bool:
    """Return whether this person may approve here; nobody may while the changer is unknown."""
    if not gate.approval.not_author:
        return True
    return run.spec.changed_by is not None and author != run.spec.changed_by


def told(run: Run) -> str:
    """Return who opened the gates of the present step, for the record."""
    here = (gate for gate in ahead(run) if gate.leads_from == run.status.step)
    people = dict.fromkeys(name for gate in here for name in approvers(run, gate))
    return f"; approved by {', '.join(people)}" if people else ""


def excludes_author(steps: tuple[Step, ...]) -> bool:
    """Return whether it must be known who made the change."""
    return any(gate.approval.not_author for gate in gates(steps))


def _since_repin(run: Run) -> tuple[DecisionRecord, ...]:
    """Return what was said of the present plan: who approved another one did not approve this."""
    found = run.status.decisions
    repins = [place for place, entry in enumerate(found) if entry.action == "Repin"]
    return found[repins[-1] + 1 :] if repins else found


def _is_about(entry: DecisionRecord, gate: Gate) -> bool:
    return entry.action == "Approve" and entry.step in (None, gate.step + 1)

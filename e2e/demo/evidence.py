"""What happened, from what users received and what the API server and Prometheus say."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from e2e.demo import scene
from e2e.harness import prometheus
from e2e.harness.traffic import Answers
from e2e.harness.watch import Change

Object = dict[str, Any]

# A gateway follows its route a moment later; questions asked in between are not held against it.
_SETTLED = 2.0


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that was observed."""

    answers: Answers
    routes: Sequence[Change]
    rollouts: Sequence[Object]
    bad_applied_at: float | None
    """When the bad version was asked for; None where the story broke off before."""
    counted_unsafe: float | None
    """Unsafe answers that reached users, by Prometheus; None where it did not say."""

    @property
    def promoted(self) -> bool:
        """Tell whether the good version's run was promoted and users then had it alone."""
        alone = self._left_at(scene.SFT)
        if alone is None or not self._ended(scene.GOOD, "Promoted"):
            return False
        after = self.answers.asked(alone + _SETTLED, self.bad_applied_at or math.inf)
        return after.shares() == {scene.GOOD: 1.0}

    @property
    def rolled_back(self) -> bool:
        """Tell whether safety took the bad version back, and users then had it no more."""
        zero = self.weight_zero_at
        if zero is None or not self._ended(scene.BAD, "RolledBack", "SafetyFailed"):
            return False
        return self.answers.asked(zero + _SETTLED).shares() == {scene.GOOD: 1.0}

    @property
    def unsafe(self) -> Answers:
        """Return the unsafe answers of the bad version that users received."""
        return Answers(self.answers.of(scene.BAD).unsafe)

    @property
    def weight_zero_at(self) -> float | None:
        """Return when the route was seen to give the bad version nothing any more."""
        return self._left_at(scene.BAD)

    @property
    def seconds_to_weight_zero(self) -> float | None:
        """Return the time from the first unsafe answer that a user got to weight 0."""
        zero, unsafe = self.weight_zero_at, self.unsafe.all
        return round(zero - unsafe[0].at, 2) if zero is not None and unsafe else None

    def problems(self) -> list[str]:
        """Return what was not as it should be, a sentence each; nothing where all was."""
        found, failed = [], self.answers.failed
        if not self.promoted:
            found.append("the good version was not promoted, or did not serve alone then")
        if not self.rolled_back:
            found.append("safety did not take the bad version back, or users still got it then")
        if failed:
            found.append(
                f"{len(failed)} of {len(self.answers.all)} questions got no answer; the first: "
                f"{failed[0].error or f'status {failed[0].status}'}"
            )
        if self.bad_applied_at is not None and self.counted_unsafe is None:
            found.append("Prometheus does not say how many unsafe answers were counted")
        return found

    def report(self) -> Object:
        """Return what goes into the file."""
        answers, unsafe = self.answers, self.unsafe.all
        zero = self.weight_zero_at
        last = max((each.at for each in answers.of(scene.BAD).all), default=None)
        return {
            "promoted": self.promoted,
            "rolled_back": self.rolled_back,
            "served_while_unsafe": len(unsafe),
            "served_while_unsafe_by_prometheus":
                None if self.counted_unsafe is None else round(self.counted_unsafe),
            "seconds_from_first_bad_sample_to_weight_zero": self.seconds_to_weight_zero,
            "seconds_from_weight_zero_to_last_answer_of_it":
                round(max(0.0, last - zero), 2) if zero and last else None,
            "requests": len(answers.all),
            "failed_requests": len(answers.failed),
            "latency_seconds": {
                "p50": round(answers.latency(0.5), 3),
                "p95": round(answers.latency(0.95), 3),
            },
            "history": [_entry(each) for each in self.rollouts],
        }  # fmt: skip

    def _left_at(self, version: str) -> float | None:
        """Return when the route first took all its weight from a version."""
        had_weight = False
        for change in self.routes:
            weight = 0 if change.kind == "DELETED" else _weight(change.object, version)
            if had_weight and weight == 0:
                return change.at
            had_weight = weight > 0
        return None

    def _ended(self, version: str, outcome: str, reason: str = "") -> bool:
        return any(ended(each, version, outcome, reason) for each in self.rollouts)


def ended(rollout: Object, version: str, outcome: str, reason: str = "") -> bool:
    """Tell whether this is the run to a version, with that outcome, for that reason."""
    status = rollout.get("status", {})
    is_it = rollout["spec"]["to"]["name"] == version and status.get("outcome") == outcome
    return is_it and (not reason or _first_reason(status) == reason)


def _first_reason(status: Object) -> str:
    """Return why the run left its last step with traffic; later words tell of the clearing up."""
    rules = [each.get("rule") for each in status.get("steps", []) if each["weight"] > 0]
    if rules and rules[-1] == "canary_unsafe":
        return "SafetyFailed"
    return str(status.get("reason"))


def counted_unsafe(url: str, since: float) -> float:
    """Return how many unsafe answers the bad version's guards have counted since a moment."""
    name = "rlhf_guard_unsafe_served_responses_total"
    labels = f'namespace="{scene.NAMESPACE}", rlhf_version="{scene.BAD}"'
    # The pods may be gone by now, and those of an earlier demo still be remembered.
    back = max(1, int(time.time() - since))
    return prometheus.value(url, f"max_over_time({name}{{{labels}}}[{back}s])")


def _weight(route: Object, version: str) -> int:
    rules = route.get("spec", {}).get("rules", [])
    backends = [each for rule in rules for each in rule.get("backendRefs", [])]
    found = [int(each.get("weight", 1)) for each in backends if each["name"].startswith(version)]
    return max(found, default=0)


def _entry(rollout: Object) -> Object:
    spec, status = rollout["spec"], rollout.get("status", {})
    kept = ("startedAt", "finishedAt", "outcome", "reason", "message")
    return {
        "revision": spec["revision"],
        "type": spec["type"],
        "from": spec.get("from", {}).get("name"),
        "to": spec["to"]["name"],
        **{name: status.get(name) for name in kept},
        "steps": [
            {name: step.get(name) for name in ("weight", "inForceAt", "endedAt", "rule", "message")}
            for step in status.get("steps", [])
        ],
    }

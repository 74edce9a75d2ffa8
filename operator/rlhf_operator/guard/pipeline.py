"""The stages in their order: one text in, one verdict out.

Rules judge at once. Neighbouring classifiers and services are asked side by side, each with its
own time limit, all of them within the budget. A stage that cannot judge is never taken for one
that found nothing: its failure policy decides, and a bypass is told apart.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from rlhf_operator.api.guard import GuardSpec
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.stages import Action, Direction, Stage
from rlhf_operator.guard import long_texts
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.long_texts import LONG
from rlhf_operator.guard.rules import RulesCheck, Ruleset
from rlhf_operator.guard.verdict import (
    Failure,
    Found,
    Hit,
    Judgement,
    Unjudged,
    Verdict,
    redact,
)


class CannotJudge(Exception):  # noqa: N818 - it names what is, not that something is wrong
    """A classifier or service gave no judgement; its text never holds what was sent.

    `found` is what it had found before: an error in one part of a text is no pardon for another.
    """

    def __init__(self, reason: Unjudged, found: tuple[Found, ...] = ()) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.found = found


class Remote(Protocol):
    """A classifier or a moderation service."""

    async def judge(self, text: str, direction: Direction, conversation: Conversation) -> Judgement:
        """Return what it finds in a text; raises CannotJudge where it does not say.

        A prompt is its conversation written as one text, an answer follows upon it.
        """
        ...


class Counts(Protocol):
    """Where the pipeline tells what its stages did."""

    def decided(self, stage: str, direction: Direction, decision: str) -> None:
        """Count one text that a stage was shown."""

    def found(self, stage: str, direction: Direction, category: str) -> None:
        """Count one text in which a stage found a category."""

    def failed(self, stage: str, failure: Failure, direction: Direction) -> None:
        """Count one text that a stage could not judge."""

    def took(self, stage: str, seconds: float) -> None:
        """Note how long a classifier or service took."""


@dataclass(frozen=True, slots=True)
class _Uncounted:
    """Counts nothing."""

    def decided(self, stage: str, direction: Direction, decision: str) -> None: ...

    def found(self, stage: str, direction: Direction, category: str) -> None: ...

    def failed(self, stage: str, failure: Failure, direction: Direction) -> None: ...

    def took(self, stage: str, seconds: float) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One stage, ready to run."""

    name: str
    applies_to: tuple[Direction, ...]
    action: Action
    passes_failed: bool
    seconds: float
    check: RulesCheck | Remote


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """All stages of a guard, ready to run."""

    steps: tuple[Step, ...]
    budget: float
    counts: Counts
    at_once: int = LONG
    """Characters up to which rules judge at once, and longer texts beside other requests."""

    def beside_others(self) -> Pipeline:
        """Return the same stages for one text of many: together they may take long."""
        return replace(self, at_once=0)

    def uncounted(self) -> Pipeline:
        """Return the same stages for texts that are no traffic of users."""
        return replace(self, counts=_Uncounted())

    def steps_for(self, direction: Direction) -> tuple[Step, ...]:
        """Return the stages that look at text in this direction."""
        return tuple(step for step in self.steps if direction in step.applies_to)

    async def check(
        self,
        text: str,
        direction: Direction,
        *,
        conversation: Conversation = (),
        steps: Iterable[Step] | None = None,
    ) -> Verdict:
        """Return the verdict of the stages; those of this direction unless given."""
        chosen = self.steps_for(direction) if steps is None else tuple(steps)
        if (verdict := self._too_long(chosen, text, direction)) is not None:
            return verdict
        ends = time.monotonic() + self.budget
        verdict = Verdict()
        for group in _groups(chosen):
            if isinstance(group[0].check, RulesCheck):
                # They cost nothing, so that what is counted does not hang on their order. Nor is
                # it time of services that a text waits for others: who sends much could have
                # all stages that fail open passed by.
                began = time.monotonic()
                for step in group:
                    verdict = await self._rules(step, verdict, text, direction)
                ends += time.monotonic() - began
            elif not verdict.is_stopped:
                is_known = direction == "Output" or verdict.text is None
                # The turns hold what was taken out of a prompt.
                said = conversation if is_known else ()
                verdict = await self._remotes(group, verdict, text, direction, said, ends)
        return verdict

    def _too_long(self, steps: Iterable[Step], text: str, direction: Direction) -> Verdict | None:
        """Return the verdict on a text that is blocked for its length: nobody reads it at all."""
        for step in steps:
            if step.action == "Block" and isinstance(step.check, RulesCheck):
                judged = step.check.too_long(text)
                if judged is not None:
                    return self.add(step, Verdict(), text, direction, judged)
        return None

    async def _rules(self, step: Step, before: Verdict, text: str, direction: Direction) -> Verdict:
        assert isinstance(step.check, RulesCheck)
        seen = text if before.text is None else before.text
        if len(seen) <= self.at_once:
            judged = step.check.judge(seen)
        else:
            judged = await long_texts.read(functools.partial(step.check.judge, seen))
        return self.add(step, before, seen, direction, judged)

    async def _remotes(
        self,
        steps: tuple[Step, ...],
        before: Verdict,
        text: str,
        direction: Direction,
        conversation: Conversation,
        ends: float,
    ) -> Verdict:
        seen = text if before.text is None else before.text
        answers = await asyncio.gather(
            *(self._ask(step, seen, direction, conversation, ends) for step in steps)
        )
        verdict = before
        for step, answer in zip(steps, answers, strict=True):
            if isinstance(answer, Judgement):
                verdict = self.add(step, verdict, seen, direction, answer)
                continue
            if answer.found:
                found = Judgement(found=answer.found)
                verdict = self.add(step, verdict, seen, direction, found)
            failure = Failure(stage=step.name, reason=answer.reason, passes=step.passes_failed)
            self.counts.failed(step.name, failure, direction)
            verdict = replace(verdict, failures=(*verdict.failures, failure))
        return verdict

    async def _ask(
        self,
        step: Step,
        text: str,
        direction: Direction,
        conversation: Conversation,
        ends: float,
    ) -> Judgement | CannotJudge:
        assert not isinstance(step.check, RulesCheck)
        began = time.monotonic()
        left = min(step.seconds, ends - began)
        if left <= 0:
            return CannotJudge(Unjudged.NO_BUDGET)
        try:
            async with asyncio.timeout(left):
                return await step.check.judge(text, direction, conversation)
        except TimeoutError:
            is_slow = left == step.seconds
            return CannotJudge(Unjudged.TIMEOUT if is_slow else Unjudged.NO_BUDGET)
        except CannotJudge as error:
            return error
        finally:
            self.counts.took(step.name, time.monotonic() - began)

    def add(
        self, step: Step, before: Verdict, seen: str, direction: Direction, judged: Judgement
    ) -> Verdict:
        """Return the verdict with what one more stage found in the text as it saw it."""
        if not judged.found:
            self.counts.decided(step.name, direction, "allowed")
            if not judged.scores:
                return before
            return replace(before, scores=(*before.scores, *judged.scores))
        # Who names no score is sure.
        sure = {found.category for found in judged.found}.difference(dict(judged.scores))
        scores = (*before.scores, *judged.scores, *((name, 1.0) for name in sorted(sure)))
        hits = tuple(
            Hit(stage=step.name, category=found.category, action=step.action)
            for found in judged.found
        )
        text = before.text
        if step.action == "Redact":
            replacement = judged.replacement
            text = redact(seen, judged.found) if replacement is None else replacement
        decisions = {"Block": "blocked", "Redact": "redacted", "Flag": "flagged"}
        self.counts.decided(step.name, direction, decisions[step.action])
        for category in {found.category for found in judged.found}:
            self.counts.found(step.name, direction, category)
        return replace(before, hits=(*before.hits, *hits), text=text, scores=scores)


def _groups(steps: Iterable[Step]) -> Iterator[tuple[Step, ...]]:
    """Yield stages that go together: all Rules, or services that may be asked side by side.

    What stands behind a service that redacts waits for it, and sees the text as it leaves it.
    """
    group: list[Step] = []
    for step in steps:
        if group and (
            isinstance(step.check, RulesCheck) != isinstance(group[0].check, RulesCheck)
            or (group[-1].action == "Redact" and not isinstance(step.check, RulesCheck))
        ):
            yield tuple(group)
            group = []
        group.append(step)
    if group:
        yield tuple(group)


def prepare(
    spec: GuardSpec,
    rules: Ruleset,
    remotes: Mapping[str, Remote],
    counts: Counts,
    *,
    force_block: bool = False,
) -> Pipeline:
    """Return the stages of a spec, with their rules compiled and their services at hand."""
    return Pipeline(
        steps=tuple(_step(stage, rules, remotes, force_block) for stage in spec.stages),
        budget=parse_duration(spec.budget).total_seconds(),
        counts=counts,
    )


def _step(stage: Stage, rules: Ruleset, remotes: Mapping[str, Remote], force_block: bool) -> Step:
    return Step(
        name=stage.name,
        applies_to=stage.applies_to,
        action="Block" if force_block else stage.action,
        passes_failed=stage.failure_policy == "Open" and not force_block,
        seconds=parse_duration(stage.timeout).total_seconds(),
        check=rules.checks[stage.name] if stage.type == "Rules" else remotes[stage.name],
    )

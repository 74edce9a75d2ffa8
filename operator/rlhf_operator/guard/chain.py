"""All stages of a spec on an answer that is still being made.

Each stage sees the text as the one before left it, so that text passes from part to part: windows
for Rules, chunks for classifiers and services. What comes out of the last part may leave.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

from rlhf_operator.api.guard import Streaming
from rlhf_operator.guard import long_texts
from rlhf_operator.guard.conversation import Conversation
from rlhf_operator.guard.pipeline import Pipeline, Step
from rlhf_operator.guard.rules import RulesCheck
from rlhf_operator.guard.text import begins
from rlhf_operator.guard.verdict import Failure, Hit, Verdict
from rlhf_operator.guard.window import Window


class Chunks:
    """Text on its way past classifiers or services: it waits until they said that it may pass."""

    def __init__(
        self,
        steps: Sequence[Step],
        pipeline: Pipeline,
        streaming: Streaming,
        conversation: Conversation,
    ) -> None:
        self._steps = tuple(steps)
        self._conversation = conversation
        self._pipeline = pipeline
        self._size = streaming.chunk
        self._context_size = streaming.context
        self._waiting = ""
        self._context = ""
        self._passed: list[str] = []
        self._is_changed = False
        self._hits: dict[Hit, None] = {}
        self._failures: dict[Failure, None] = {}
        self._scores: dict[str, float] = {}
        self.escaped: dict[str, int] = {}
        """Of what was to be replaced and had passed: how many characters, by category."""
        self.is_stopped = False

    async def feed(self, text: str) -> str:
        """Take more text; return what may pass now."""
        self._waiting += text
        passed = []
        while len(self._waiting) > self._size and not self.is_stopped:
            cut = _end_of_words(self._waiting, self._size)
            chunk, self._waiting = self._waiting[:cut], self._waiting[cut:]
            passed.append(await self._ask(chunk))
        return "".join(passed)

    async def finish(self) -> str:
        """Return the rest that may pass, when no more text comes."""
        chunk, self._waiting = self._waiting, ""
        # A short answer, even an empty one, is asked about as a whole.
        return await self._ask(chunk) if chunk or not self._passed else ""

    @property
    def verdict(self) -> Verdict:
        """Return what was found in all chunks so far."""
        text = "".join(self._passed) if self._is_changed else None
        return Verdict(
            hits=tuple(self._hits),
            failures=tuple(self._failures),
            text=text,
            scores=tuple(self._scores.items()),
        )

    async def _ask(self, chunk: str) -> str:
        seen = self._context + chunk
        found = await self._pipeline.check(
            seen, "Output", conversation=self._conversation, steps=self._steps
        )
        self._hits |= dict.fromkeys(found.hits)
        self._failures |= dict.fromkeys(found.failures)
        for category, score in found.scores:
            self._scores[category] = max(score, self._scores.get(category, 0.0))
        self.is_stopped = found.is_stopped
        if self.is_stopped:
            return ""
        if found.text is not None:
            self._is_changed = True
            chunk = self._changed(found)
        self._passed.append(chunk)
        self._context = (self._context + chunk)[-self._context_size :] if self._context_size else ""
        return chunk

    def _changed(self, found: Verdict) -> str:
        assert found.text is not None
        if found.text.startswith(self._context):
            return found.text[len(self._context) :]
        # What was changed began in text that has passed, and nobody knows how far it goes.
        pairs = zip(found.text, self._context, strict=False)
        left = len(self._context) - sum(
            1 for _ in itertools.takewhile(lambda p: p[0] == p[1], pairs)
        )
        for category in found.redacted:
            self.escaped[category] = max(left, self.escaped.get(category, 0))
        return "".join(f"[{hit.category}]" for hit in found.hits if hit.action == "Redact")


class Chain:
    """The parts that an answer passes one after the other."""

    def __init__(
        self, pipeline: Pipeline, streaming: Streaming, conversation: Conversation = ()
    ) -> None:
        self._pipeline = pipeline
        self._parts = tuple(_parts(pipeline, streaming, conversation))
        self._verdict: Verdict | None = None
        self.is_stopped = False  # nothing more may leave

    @property
    def holds_nothing(self) -> bool:
        """Tell whether text leaves as it comes."""
        return all(isinstance(part, Window) and part.holds_nothing for part in self._parts)

    @property
    def escaped(self) -> dict[str, int]:
        """Return of what was blocked or replaced how many characters had left, by category."""
        escaped: dict[str, int] = {}
        for part in self._parts:
            for category, many in part.escaped.items():
                escaped[category] = max(many, escaped.get(category, 0))
        return escaped

    async def feed(self, text: str, *, first: int = 0) -> str:
        """Take more of the answer, past the parts from the first on; return what may leave now."""
        for part in self._parts[first:]:
            if not text or self.is_stopped:
                return ""
            if isinstance(part, Chunks):
                text = await part.feed(text)
            elif part.reads(text) <= self._pipeline.at_once:
                text = part.feed(text)
            else:
                text = await long_texts.read(functools.partial(part.feed, text), streamed=True)
            self.is_stopped = _is_stopped(part)
        return "" if self.is_stopped else text

    async def finish(self) -> str:
        """Return the rest that may leave, when the answer is whole."""
        left = []
        for at, part in enumerate(self._parts):
            if self.is_stopped:
                break
            if isinstance(part, Chunks):
                rest = await part.finish()
            elif len(part.text) <= self._pipeline.at_once:
                rest = part.finish()
            else:
                rest = await long_texts.read(part.finish, streamed=True)
            self.is_stopped = _is_stopped(part)
            left.append(await self.feed(rest, first=at + 1))
        return "" if self.is_stopped else "".join(left)

    def reached(self, length: int) -> tuple[str, ...]:
        """Return the categories in what has left of an answer that ends early; `length` of it."""
        if not length:
            return ()
        found = set(self.escaped)
        is_changed = self.conclude().text is not None
        for part in self._parts:
            if isinstance(part, Window):
                # After a redaction the places of one part are not those of the next.
                found |= part.found_before(part.left if is_changed else min(part.left, length))
            else:
                found |= set(part.verdict.remaining)
        return tuple(sorted(found))

    def conclude(self) -> Verdict:
        """Return the verdict on all that was made so far; counted once."""
        if self._verdict is None:
            verdict = Verdict()
            for part in self._parts:
                verdict = self._added(verdict, part)
            self._verdict = verdict
        return self._verdict

    def _added(self, verdict: Verdict, part: Window | Chunks) -> Verdict:
        if isinstance(part, Window):
            for step, judgement in part.judgements():
                verdict = self._pipeline.add(step, verdict, part.text, "Output", judgement)
            unseen = tuple(hit for hit in part.blocking if hit not in verdict.hits)
            return dataclasses.replace(verdict, hits=(*verdict.hits, *unseen))
        found = part.verdict
        return Verdict(
            hits=(*verdict.hits, *found.hits),
            failures=(*verdict.failures, *found.failures),
            text=verdict.text if found.text is None else found.text,
            scores=(*verdict.scores, *found.scores),
        )


def _end_of_words(text: str, most: int) -> int:
    """Return where a chunk ends: behind a word, if one ends in its second half."""
    spaces = [at for at in range(max(1, most // 2), most) if text[at].isspace()]
    cut = spaces[-1] if spaces else most
    while cut > 1 and not begins(text[cut]):
        cut -= 1
    return cut


def _is_stopped(part: Window | Chunks) -> bool:
    return part.is_blocked if isinstance(part, Window) else part.is_stopped


def _parts(
    pipeline: Pipeline, streaming: Streaming, conversation: Conversation
) -> Iterator[Window | Chunks]:
    steps = pipeline.steps_for("Output")
    for is_local, group in itertools.groupby(steps, lambda s: isinstance(s.check, RulesCheck)):
        if not is_local:
            yield Chunks(tuple(group), pipeline, streaming, conversation)
            continue
        alike: list[Step] = []
        for step in group:
            alike.append(step)
            if step.action == "Redact":
                yield Window(alike, hold_back=streaming.hold_back)
                alike = []
        if alike:
            yield Window(alike, hold_back=streaming.hold_back)

"""The hold-back window: what rules find in a growing text, and what of it may leave. Pure.

A place in the text is decided upon once so many characters stand behind it that whatever rules
could find from there on is known, and not before: a word at the end may become another word.
Text leaves up to there. Only what stands behind the last decided place is looked at again, with
what a rule sees beside it; where that could mislead, and where rules have no longest match, the
whole text is, the more seldom the longer it is.

What is found at the end of the text may still grow, so it waits from its beginning on. A redaction
that grows beyond `_PATIENCE` waits no longer: its name leaves, and it goes on taking what comes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from rlhf_operator.guard.looks import Looks, Place
from rlhf_operator.guard.pipeline import Step
from rlhf_operator.guard.replaced import Replaced
from rlhf_operator.guard.text import Span, begins
from rlhf_operator.guard.verdict import Found, Hit, Judgement, redact

_EDGE = 2
"""Characters at the beginning of a piece of text that may be the rest of a longer word."""

_OFTEN = 8
"""A check waits for this part of what is held back, so that no character is looked at often."""

_SELDOM = 32
"""A check waits for this part of what it looks at: n characters cost 33 n, not n squared."""

_RARELY = 8
"""The same where recognisers or heuristics look, which take long: n characters cost 9 n."""

_WHOLE = 2
"""All is looked at when it has grown by this part: disguises may stretch a match without end."""

_PATIENCE = 2_000
"""Characters of one redaction, twice what is held back at the least, that wait for its end."""


class Window:
    """Text on its way past stages of type Rules that all see it alike.

    Only the last of them may redact, as those after it would see another text.
    """

    def __init__(self, steps: Sequence[Step], *, hold_back: int) -> None:
        self._looks = Looks(steps)
        self._longest = self._looks.longest()
        self._beside = max(_EDGE, self._looks.beside())
        has_end = self._longest is not None and not self._looks.has_limits
        longest = self._longest if has_end and self._longest is not None else hold_back
        # At the least the last character: another one may combine with it.
        self._hold = max(1, min(longest, hold_back))
        self._parts: list[str] = []
        self._text = ""
        self._starts = array("L")
        self._settled = 0
        self._due = 0
        self._whole_due = 0
        self._share = _RARELY if self._looks.take_long else _SELDOM
        self._replaced = Replaced()
        self.blocking: dict[Hit, None] = {}
        self.escaped: dict[str, int] = {}
        """Of what was to be blocked or replaced, and had left: how many characters, by category."""

    @property
    def holds_nothing(self) -> bool:
        """Tell whether text leaves as it comes: its stages only flag."""
        return not self._looks.acting

    @property
    def looked(self) -> int:
        """Return how many characters were looked at in all, to tell the cost."""
        return self._looks.looked

    @property
    def is_blocked(self) -> bool:
        """Tell whether nothing more may leave."""
        return bool(self.blocking)

    @property
    def text(self) -> str:
        """Return all text so far."""
        if self._parts:
            self._text += "".join(self._parts)
            self._parts.clear()
        return self._text

    def reads(self, text: str) -> int:
        """Return how many characters are looked at to take more text."""
        length = len(self._text) + len(text)
        is_due = self._looks.acting and length >= self._due
        return length - self._near(length) if is_due else 0

    def feed(self, text: str) -> str:
        """Take more text; return what may leave now."""
        if not self._looks.acting:
            self._parts.append(text)
            return text
        first = len(self._text)
        self._text += text
        if text.isascii() and text.isprintable():  # every character begins
            self._starts.extend(range(first, first + len(text)))
        else:
            self._starts.extend(at for at, char in enumerate(text, first) if begins(char))
        return "" if len(self._text) < self._due else self._check()

    def finish(self) -> str:
        """Return the rest that may leave, when no more text comes."""
        places = self._looks.whole(self.text)
        for _ in self.judgements():
            pass  # it is known then, for the verdict on all
        if not self._looks.acting:
            return ""
        self._tell(places)
        if self._stop(place for place in places if place.is_blocking):
            return ""
        return self._release(len(self.text), places)

    @property
    def left(self) -> int:
        """Return how many characters of the text have left."""
        return self._settled if self._looks.acting else len(self.text)

    def found_before(self, end: int) -> set[str]:
        """Return the categories of what begins before a place and was not replaced there."""
        return {
            found.category
            for step, judgement in self.judgements()
            for found in judgement.found
            if self._has_left(step, found, end)
        }

    def _has_left(self, step: Step, found: Found, end: int) -> bool:
        if step.action == "Redact":
            return any(self._replaced.bare(span, end) for span in found.spans or (None,))
        return not found.spans or found.spans[0][0] < end

    def judgements(self) -> Iterator[tuple[Step, Judgement]]:
        """Return what each stage, also one that only flags, says of the text so far."""
        return self._looks.judgements(self.text)

    def _check(self) -> str:
        starts, text = self._starts, self.text
        target = starts[-self._hold] if len(starts) > self._hold else 0
        if target <= self._settled:
            self._due = len(text) + 1
            return ""
        near = self._near(len(text))
        places = self._looks.near(text, near) if near else self._looks.whole(text)
        cut, blocking = self._decide(places, target)
        seen = len(text) - near
        if near and (blocking or self._is_doubtful(places, near)):
            seen, places = len(text), self._looks.whole(text)
            cut, blocking = self._decide(places, target)
        elif not near:
            self._whole_due = len(text) + len(text) // _WHOLE
            seen = len(text) - self._near(len(text))  # the next time
        self._due = len(text) + max(1, self._hold // _OFTEN, seen // self._share)
        self._tell(places)
        return "" if self._stop(blocking) else self._release(max(cut, self._settled), places)

    def _decide(self, places: Iterable[Place], target: int) -> tuple[int, list[Place]]:
        """Return up to where text may leave, and what stops it altogether."""
        cut, last, blocking = target, self._starts[-1], []
        for place in sorted(places, key=_latest_first):
            if place.span is None:
                # Nobody knows where, so nothing is known to be outside.
                cut = self._settled
                blocking += [place] if place.is_blocking else []
            elif place.span[0] < cut:
                ends = place.span[1]
                is_growing = ends > last or (not place.is_blocking and ends >= cut)
                if is_growing and not self._goes_on(place, cut):
                    cut = place.span[0]
                if ends <= last and place.is_blocking:
                    blocking.append(place)
        return cut, blocking

    def _goes_on(self, place: Place, cut: int) -> bool:
        """Tell whether what is to be replaced up to a cut is so long that it waits no longer."""
        start, end = place.span or (0, 0)
        patience = max(_PATIENCE, 2 * self._hold)
        return not place.is_blocking and end >= cut and len(self._text) - start > patience

    def _is_doubtful(self, places: Iterable[Place], near: int) -> bool:
        """Tell whether what is found from a place on may be something else in the whole text."""
        # What begins right there could be the rest of a longer word.
        edge = self._starts[bisect_left(self._starts, near) + _EDGE]
        return any(
            place.span is not None
            and (
                place.span[0] < edge
                # It was decided upon, and not found.
                or (not place.is_blocking and self._replaced.bare(place.span, self._settled))
            )
            for place in places
        )

    def _near(self, length: int) -> int:
        """Return where to look from: beside what is not decided yet, or 0 for all of the text."""
        if self._longest is None or length >= self._whole_due:
            return 0
        lookback = self._beside + max(0, self._longest - self._hold)
        going_on = self._replaced.since(self._settled)
        from_here = self._settled if going_on is None else going_on
        at = bisect_left(self._starts, from_here) - lookback
        return self._starts[at] if at > 0 else 0

    def _stop(self, blocking: Iterable[Place]) -> bool:
        for place in blocking:
            hit = Hit(stage=place.step.name, category=place.category, action=place.step.action)
            self.blocking[hit] = None
            if self._settled and place.begins_before(self._settled):
                left = self._settled - (place.span[0] if place.span else 0)
                self.escaped[place.category] = max(left, self.escaped.get(place.category, 0))
        return self.is_blocked

    def _tell(self, places: Iterable[Place]) -> None:
        """Note what was to be replaced, and had left before it was found."""
        for place in places:
            if not place.is_blocking and (left := self._replaced.bare(place.span, self._settled)):
                self.escaped[place.category] = max(left, self.escaped.get(place.category, 0))

    def _release(self, cut: int, places: Iterable[Place]) -> str:
        start, self._settled = self._settled, cut
        found = [
            (place.category, place.span)
            for place in places
            if not place.is_blocking and _concerns(place.span, start, cut)
        ]
        spans = sorted(_clipped(span or (start, cut), start, cut) for _, span in found)
        goes_on = self._replaced.since(start) is not None and any(
            span and span[0] < start for _, span in found
        )
        for first, end in spans:
            self._replaced.add(first, end)
            if goes_on and first <= start:
                start = max(start, end)  # its name has left
        if start >= cut:
            return ""
        named = [
            Found(category=name, spans=_within(span, start, cut))
            for name, span in found
            if _concerns(span, start, cut)
        ]
        return redact(self._text[start:cut], named)


def _latest_first(place: Place) -> Span:
    start, end = place.span or (-1, -1)
    return -start, -end


def _concerns(span: Span | None, start: int, cut: int) -> bool:
    return span is None or (span[0] < cut and span[1] > start)


def _clipped(span: Span, start: int, cut: int) -> Span:
    return max(span[0], start), min(span[1], cut)


def _within(span: Span | None, start: int, cut: int) -> tuple[Span, ...]:
    if span is None:
        return ()
    first, end = _clipped(span, start, cut)
    return ((first - start, end - start),)

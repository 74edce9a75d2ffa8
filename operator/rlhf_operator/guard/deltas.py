"""Text that comes in pieces: whole characters, and where to stop, across the pieces' borders."""

from __future__ import annotations

import codecs
import re

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udbff\udc00-\udc7f\udd00-\udfff]")
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Characters:
    """Puts together characters that were cut in two, and replaces what never becomes one.

    Halves come as bytes that are not UTF-8 (here escaped as Python does) or as surrogates. Checks
    would not know a word in which they stand, and users might read it nevertheless.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._high = ""
        self._holds_nothing = True

    def feed(self, text: str) -> str:
        """Return the characters that are whole now."""
        if self._holds_nothing and text.isascii():
            return text
        text = self._high + text
        self._high = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        whole = self._join(text[: len(text) - len(self._high)], is_last=False)
        self._holds_nothing = not self._high and not self._decoder.getstate()[0]
        return whole

    def finish(self) -> str:
        """Return what stands for halves whose other half never came."""
        rest, self._high = self._high, ""
        return self._join(rest, is_last=True)

    def _join(self, text: str, *, is_last: bool) -> str:
        text = _HALF.sub(_UNKNOWN, _PAIR.sub(_of_pair, text))
        return self._decoder.decode(text.encode("utf-8", "surrogateescape"), is_last)


def _of_pair(found: re.Match[str]) -> str:
    return found[0].encode("utf-16", "surrogatepass").decode("utf-16")


def whole(text: str) -> str:
    """Return a text of which all pieces are there, with whole characters only."""
    characters = Characters()
    return characters.feed(text) + characters.finish()


class Stops:
    """Ends a text before the first of some sequences."""

    def __init__(self, sequences: tuple[str, ...]) -> None:
        self._sequences = sequences
        self._held = ""
        self.is_over = False

    def feed(self, text: str) -> str:
        """Return the text of which it is sure that it stands before all sequences."""
        if not self._sequences or self.is_over:
            return "" if self.is_over else text
        held = self._held + text
        first = self._first(held)
        # One that begins earlier may still become whole.
        begun = self._begun(held)
        if first <= begun:
            self.is_over = first < len(held)
            begun = first
        self._held = held[begun:]
        return held[:begun]

    def finish(self) -> str:
        """Return the rest, when no more text comes."""
        if self.is_over:
            return ""
        first = self._first(self._held)
        self.is_over = first < len(self._held)
        rest, self._held = self._held[:first], ""
        return rest

    def _first(self, text: str) -> int:
        found = [at for each in self._sequences if (at := text.find(each)) >= 0]
        return min(found, default=len(text))

    def _begun(self, text: str) -> int:
        """Return where at the end of a text a sequence may have begun."""
        longest = max(map(len, self._sequences))
        for at in range(max(0, len(text) - longest + 1), len(text)):
            if any(each.startswith(text[at:]) for each in self._sequences):
                return at
        return len(text)

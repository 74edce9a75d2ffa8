"""What names a person is replaced before a text leaves the pod. Pure.

Where it cannot be told whether a text is clean, it does not leave.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rlhf_operator.api.samples import Redaction
from rlhf_operator.guard.verdict import Found, redact

Find = Callable[[str], Iterable[Found]]
"""Returns all that recognisers find in a text, with places; raises where it cannot."""


class CannotRedact(Exception):  # noqa: N818 - it names what is, not that something is wrong
    """A text is not known to be clean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clean:
    """A text that may leave, and what was replaced in it."""

    text: str
    redactions: tuple[Redaction, ...] = ()


def clean(text: str, find: Find) -> Clean:
    """Return a text without what is found in it. Raises CannotRedact, whatever went wrong."""
    # Half of a surrogate pair can arrive by JSON and has no form in UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    try:
        found = tuple(find(text))
    except Exception:
        # The cause may quote the text, so it ends here.
        raise CannotRedact("the recognisers failed") from None
    if not all(each.spans for each in found):
        raise CannotRedact("something was found and nobody says where")
    return Clean(text=redact(text, found), redactions=_counts(found))


def _counts(found: Iterable[Found]) -> tuple[Redaction, ...]:
    counts = Counter[str]()
    for each in found:
        end = -1
        for start, stop in sorted(each.spans):  # one number may be found in two ways
            counts[each.category] += start >= end
            end = max(end, stop)
    return tuple(Redaction(category=name, count=count) for name, count in sorted(counts.items()))


def category(recognizer: str) -> str:
    """Return what stands in brackets in place of what a recogniser found: `ip-address`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", recognizer).lower()

"""Recognisers of personal data and secrets: by shape, then by checksum or by what stands beside."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import re2

from rlhf_operator.api.stages import Recognizer
from rlhf_operator.guard.checks.accounts import CARDS, IBANS
from rlhf_operator.guard.checks.addresses import EMAILS, IP_ADDRESSES
from rlhf_operator.guard.checks.candidates import BESIDE, Shape, accepted, with_plain_digits
from rlhf_operator.guard.checks.expressions import compile_own, original_width
from rlhf_operator.guard.checks.national_ids import NATIONAL_IDS, SOCIAL_SECURITY
from rlhf_operator.guard.checks.phones import PHONES
from rlhf_operator.guard.checks.secrets import SECRETS
from rlhf_operator.guard.checks.views import Readings
from rlhf_operator.guard.text import Span, merged

_SHAPES: Mapping[Recognizer, tuple[Shape, ...]] = {
    "Email": EMAILS,
    "Phone": PHONES,
    "CreditCard": CARDS,
    "IBAN": IBANS,
    "IPAddress": IP_ADDRESSES,
    "SocialSecurityNumber": SOCIAL_SECURITY,
    "NationalID": NATIONAL_IDS,
    "Secret": SECRETS,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RecognizerFinder:
    """One recogniser, and a cheap look at whether a text has anything for it."""

    sign: re2._Regexp
    shapes: tuple[Shape, ...]
    longest: int | None
    beside: int = 2 * BESIDE

    def find(self, readings: Readings) -> list[Span] | None:
        """Return where the recogniser sees what it looks for."""
        plain = with_plain_digits(readings.normal)
        if not self.sign.search(plain.encoded):
            return None
        spans = merged(
            plain.originally(start, end)
            for each in self.shapes
            for start, end in accepted(each, plain)
        )
        return spans or None


@functools.cache
def recognizer_finder(name: Recognizer) -> RecognizerFinder:
    """Return the finder of a recogniser; made once, for it takes some milliseconds."""
    shapes = _SHAPES[name]
    return RecognizerFinder(
        sign=compile_own("|".join(f"(?:{each.sign})" for each in shapes)),
        shapes=shapes,
        longest=original_width(max(each.longest for each in shapes) + BESIDE),
    )

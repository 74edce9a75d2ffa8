"""Numbers of cards and bank accounts: issuers, countries, lengths and checksums."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rlhf_operator.guard.checks import checksums
from rlhf_operator.guard.checks.candidates import Candidate, judged_alone, shape
from rlhf_operator.guard.checks.expressions import compile_own

_LENGTHS = """
15:no 16:be 18:dk,fi,fo,gl,nl,sd 19:mk,si 20:at,ba,ee,kz,lt,lu,mn,xk 21:ch,cr,hr,li,lv
22:bg,bh,de,gb,ge,ie,me,rs,va 23:ae,gi,il,iq,om,so,tl 24:ad,cz,es,md,pk,ro,sa,se,sk,tn,vg
25:ly,pt,st 26:is,tr 27:bi,dj,fr,gr,it,mc,mr,sm 28:al,az,by,cy,do,gt,hu,lb,ni,pl,sv
29:br,eg,ps,qa,ua 30:jo,kw,mu,ye 31:mt,sc 32:lc 33:ru
"""
_IBAN_LENGTHS: Mapping[str, int] = {
    country: int(length)
    for length, countries in (entry.split(":") for entry in _LENGTHS.split())
    for country in countries.split(",")
}
# By the first digits: Visa, Mastercard, American Express, Discover and RuPay, Diners Club, JCB,
# UnionPay, Maestro, Troy, Mir and Elo.
_ISSUERS = (
    (r"4", (13, 16, 19)),
    (r"5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)", (16,)),
    (r"3[47]", (15,)),
    (r"6(?:011|4[4-9]|5)", (16, 19)),
    (r"3(?:0[0-5]|095|6|8|9)", (14, 16, 19)),
    (r"35(?:2[89]|[3-8])", (16, 19)),
    (r"62|81", (16, 17, 18, 19)),
    (r"5[06789]|6[37]", (13, 14, 15, 16, 17, 18, 19)),
    (r"9792|220[0-4]|60|65|50[89]", (16,)),
)


_CARD_WORDS = compile_own(
    r"\bcards?\b|credit|debit|visa|master ?card|amex|\bexp(?:iry|iration|\.|:| )"
    r"|\bcvc|\bcvv|karte|carte|tarjeta|carta\b"
    r"|cartão|kart[aęąyu]|карт|卡|カード|بطاق|कार्ड|\bpaid|\bpay|charged"
)


def _is_card(number: str) -> bool:
    known = any(len(number) in lengths and re.match(start, number) for start, lengths in _ISSUERS)
    return known and checksums.is_varied(number) and checksums.luhn(number)


def _iban(candidate: Candidate) -> int:
    """Return how much of a candidate an IBAN is; words may follow it with but a space between."""
    length = _IBAN_LENGTHS.get(candidate.text[:2], 0)
    seen = 0
    for at, char in enumerate(candidate.text, 1):
        seen += char not in " -"
        if seen == length:
            number = re.sub("[ -]", "", candidate.text[:at])
            is_whole = not candidate.text[at : at + 1].isalnum()
            return at if is_whole and checksums.mod_97(number) else 0
    return 0


CARDS = (
    shape(
        r"[0-9]{13,19}|[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{1,7}(?:[ -][0-9]{3})?"
        r"|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}|[0-9]{4}\.[0-9]{4}\.[0-9]{4}\.[0-9]{4}",
        judged_alone(_is_card, _CARD_WORDS),
        longest=23,
    ),
)
IBANS = (shape(r"[a-z]{2}[0-9]{2}(?:[ -]?[0-9a-z]){11,31}", _iban, longest=66),)

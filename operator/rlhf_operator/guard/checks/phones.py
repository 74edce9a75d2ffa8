"""Telephone numbers: international ones by their form, national ones by form or by what is said."""

from __future__ import annotations

import re

from rlhf_operator.guard.checks.candidates import OTHER_NUMBERS, Candidate, Judge, shape
from rlhf_operator.guard.checks.expressions import compile_own

_PHONE_WORDS = compile_own(
    r"localiz|\bma numer|numer do|erreich(?:en|t)"
    r"|phone|mobi|\bcell|\bcall\b|\btel\b|\btel\.|\btext (?:me|her|him|them)\b|whats ?app|hotline"
    r"|handy|telefon|rufnummer|anruf|erreichst|erreichbar|portable|téléphone|appel|móvil|teléfono"
    r"|llama|cellulare|celular|telemóvel|telefone|zadzwoń|komórk|\bcep\b|numarası|\bara\b|arayın"
    r"|телефон|мобильн|позвони|звони|手机|手機|电话|電話|携帯|جوال|هاتف|موبايل|اتصل|رقمه|फ़ोन|फोन|मोबाइल"
)
# Dates, numbers of files with a year, American postal codes, eight digits without a gap.
_OTHER_FORM = re.compile(
    r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}(?![./-]?\d)|\d{4}[./-]\d{1,2}[./-]\d{1,2}(?!\d)"
    r"|\d{5}-\d{4}$|\d{8}$|.*[0-9]/(?:19|20)\d\d$"
)
_SERVICE = compile_own(
    r"hotline|help ?line|toll[- ]free|free ?phone|customer (?:service|care|support)"
    r"|support line|info line"
    r"|service (?:line|number)|switchboard|emergency number|kundendienst|kundenservice"
    r"|störungsdienst"
    r"|zentrale|notruf|service clients?|numéro vert|atención al cliente|centralita"
    r"|teléfono (?:de información|gratuito)|servizio clienti|numero verde|centralino"
    r"|central de atendimento"
    r"|linha (?:de apoio|gratuita)|infolini|çağrı merkezi|müşteri hizmetleri|горяч\S+ лини|справочн"
    r"|客服|热线|熱線|窓口|フリーダイヤル|コールセンター|الخط الساخن|خدمة العملاء|हेल्पलाइन|ग्राहक सेवा"
)
"""Words for numbers under which a firm or an office is called, and no person."""
_FREE = re.compile(
    r"\+800|00 ?800|\(?0 ?800\b|\(?0808\b|0120-[0-9]{3}-[0-9]{3}$"
    r"|(?:\+?1[ .-])?\(?8(?:00|33|44|55|66|77|88)(?:\) ?|[ .-])\d{3}[ .-]\d{4}|8[ -]\(?800\b"
)
"""How numbers begin that cost nothing to call; only firms have them."""
_IN_FOURS = re.compile(r"\d{4} \d{4} \d{4}$")
"""How numbers of cards, accounts and boxes are written; telephones seldom."""
_GOES_ON = re.compile(r"(?:\d |[.-])$"), re.compile(r" \d|[.-][0-9a-z]")
"""What stands beside a number that is a piece of something longer."""
_NAMING = 45
"""How many characters before a number such a word may be."""
_NO_CODES = frozenset({"28", "29", "70", "78", "79", "80", "83", "87", "89"})
"""Two digits that no calling code begins with; 1 and 7 are codes of their own."""


def _is_of_firm(candidate: Candidate) -> bool:
    """Tell whether a number is that of a firm or an office, by its form or by what is said."""
    is_said = _SERVICE.search(candidate.before[-_NAMING:])
    return bool(is_said or _FREE.match(candidate.text))


def _international(candidate: Candidate) -> int:
    number = candidate.compact.removeprefix("00")
    if _is_of_firm(candidate) or _OTHER_FORM.match(candidate.text):
        return 0
    if candidate.text.startswith("00") and OTHER_NUMBERS.search(candidate.before):
        return 0
    if re.fullmatch(r"\+\d+\.\d", candidate.text):  # a number with a sign and a decimal
        return 0
    if candidate.text.startswith("00") and re.search(r"\d[ ]$", candidate.before):
        return 0  # the middle of a number in groups
    if number[0] in "17":
        is_phone = len(number) == 11 and number[1] not in "01"
    else:
        is_phone = number[:2] not in _NO_CODES and 9 <= len(number) <= 15
    return len(candidate.text) if is_phone else 0


def _of_length(least: int, most: int, *, is_named: bool = False) -> Judge:
    """Return a judge of national numbers with so many digits; `is_named`: a word must say so."""

    def judge(candidate: Candidate) -> int:
        number = candidate.compact
        is_other = _OTHER_FORM.match(candidate.text) or _is_of_firm(candidate)
        if not least <= len(number) <= most or is_other:
            return 0
        is_named_here = is_named or bool(_IN_FOURS.match(candidate.text))
        named = [found.end() for found in _PHONE_WORDS.finditer(candidate.before)]
        said = candidate.before[named[-1] :] if named else candidate.before
        if (is_named_here and not named) or OTHER_NUMBERS.search(said):
            return 0
        goes_on = _GOES_ON[0].search(candidate.before) or _GOES_ON[1].match(candidate.after)
        return 0 if goes_on or len(set(number)) < 3 else len(candidate.text)

    return judge


PHONES = (
    shape(
        r"(?:\+|\(\+|00)[1-9](?:[ .()/-]{0,2}[0-9]){7,14}",
        _international,
        longest=48,
        edge="0-9a-z_+",
    ),
    # North America, with its separators.
    shape(
        r"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[.-][0-9]{4}",
        _of_length(10, 11),
        longest=18,
        edge="0-9a-z_-",
    ),
    # With the 0 that is dialled within most countries.
    shape(
        r"\(?0[1-9][0-9]{0,4}\)?(?:[ /-]{1,2}[0-9]{2,8}){1,4}",
        _of_length(9, 12),
        longest=32,
    ),
    # The same in pairs with dots, as in France.
    shape(r"0[1-9](?:\.[0-9]{2}){4}", _of_length(10, 10), longest=14),
    # Mobiles of Brazil and Russia.
    shape(
        r"\(?[1-9][0-9]{1,2}\)? ?9[0-9]{4}-[0-9]{4}"
        r"|8 ?\(?9[0-9]{2}\)? ?[0-9]{3}-?[0-9]{2}-?[0-9]{2}",
        _of_length(10, 12),
        longest=20,
    ),
    shape(r"\(?[0-9](?:[ .()/-]{0,2}[0-9]){7,14}", _of_length(8, 15, is_named=True), longest=48),
)

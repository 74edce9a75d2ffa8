"""National identity and tax numbers: shape, words that name them, checksum.

Where a number is easily something else (few check digits, no shape of its own), a word must name
it nearby; so an order number is not taken for a person.
"""

from __future__ import annotations

from rlhf_operator.guard.checks import checksums
from rlhf_operator.guard.checks.candidates import Shape, judged_alone, judged_near, shape
from rlhf_operator.guard.checks.expressions import compile_own

_LONGEST = 24
_ID_WORDS = compile_own(
    r"sécu\b|seguridad social|sozialversicherung|"
    r"\bid\b|identi|identity|social|insurance|\bsin\b|\bbsn\b|burgerservice|sofinummer|\bcpf\b"
    r"|kimlik|\btckn\b|t\.c\.|pesel|steuer|\bidnr\b|fiscal|aadhaar|aadhar|uidai|आधार|\bpan\b|\binn\b"
    r"|инн|снилс|удостоверени|my number|マイナンバー|個人番号|身份证|身分證|주민등록"
    r"|هوي|الإقامة|الاقامة|iqama|رقم الوطني|personnummer|henkilötunnus|personal (?:no|number|code)"
)
_PASSPORT = compile_own(
    r"passport|passeport|pasaporte|passaporto|passaporte|reisepass|paszport|pasaport|паспорт|护照|パスポート|جواز|पासपोर्ट"
)
_SSN_WORDS = compile_own(r"\bssn\b|social[ -]security|\bsocial\b")


def _row(expression: str, check: checksums.Check, *, is_named: bool = False) -> Shape:
    judge = judged_near(check, _ID_WORDS) if is_named else judged_alone(check, _ID_WORDS)
    return shape(expression, judge, longest=_LONGEST, edge="0-9a-z_")


def _saudi(digits: str) -> bool:
    return digits[0] in "12" and checksums.luhn(digits)


def _any(_text: str) -> bool:
    return True


NATIONAL_IDS = (
    # Bare runs of digits, by length.
    _row(r"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", checksums.german_tax_id),
    _row(r"[0-9]{11}", checksums.polish_pesel),
    _row(r"[0-9]{11}", checksums.brazilian_cpf, is_named=True),
    _row(r"[1-9][0-9]{10}", checksums.turkish_id, is_named=True),
    _row(r"[0-9]{12}", checksums.japanese_number, is_named=True),
    _row(r"[0-9]{4} [0-9]{4} [0-9]{4}", checksums.japanese_number, is_named=True),
    _row(r"[2-9][0-9]{3} ?[0-9]{4} ?[0-9]{4}", checksums.verhoeff, is_named=True),
    _row(r"[0-9]{12}", checksums.russian_inn, is_named=True),
    _row(r"[12][0-9]{9}", _saudi, is_named=True),
    _row(r"[0-9]{9}", checksums.dutch_bsn, is_named=True),
    _row(r"[0-9]{3}[ -][0-9]{3}[ -][0-9]{3}", checksums.luhn, is_named=True),
    # Shapes of their own.
    _row(r"[0-9]{6}(?:18|19|20)[0-9]{9}[0-9x]", checksums.chinese_id),
    _row(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", checksums.brazilian_cpf),
    _row(r"[0-9]{3}-[0-9]{3}-[0-9]{3}[ -][0-9]{2}", checksums.russian_snils),
    _row(r"[0-9]{2} ?[0-9]{6} ?[a-z] ?[0-9]{3}", checksums.german_insurance),
    _row(
        r"[12] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[ab]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        checksums.french_nir,
    ),
    _row(r"[0-9]{8}[ -]?[a-z]", checksums.spanish_id),
    _row(r"[xyz]-?[0-9]{7}-?[a-z]", checksums.spanish_id),
    _row(r"[a-z]{6}[0-9]{2}[abcdehlmprst][0-9]{2}[a-z][0-9]{3}[a-z]", checksums.italian_code),
    _row(
        r"[a-ceghj-prstw-z][a-ceghj-nprstw-z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[a-d]",
        checksums.british_nino,
    ),
    _row(r"756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}", checksums.swiss_ahv),
    _row(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", checksums.belgian_number),
    _row(r"[0-9]{6}[-+][0-9]{4}", checksums.swedish_number),
    _row(r"[0-9]{6}[-+a-f][0-9]{3}[0-9a-fhj-np-y]", checksums.finnish_code),
    _row(r"[0-9]{6}-[1-4][0-9]{6}", checksums.korean_number),
    _row(r"[a-z]{3}[abcfghljpt][a-z][0-9]{4}[a-z]", _any, is_named=True),
    shape(
        r"[0-9]{2} ?[0-9]{2}(?: номер| №| n\.?)? ?[0-9]{6}|[a-z]{1,2}[0-9]{6,8}|[0-9]{9}",
        judged_near(checksums.is_varied, _PASSPORT),
        longest=_LONGEST,
    ),
)

SOCIAL_SECURITY = (
    shape(
        r"[0-9]{3}-[0-9]{2}-[0-9]{4}",
        judged_alone(checksums.american_ssn, _SSN_WORDS),
        longest=11,
        edge="0-9a-z_-",
    ),
    shape(
        r"[0-9]{3}[ .]?[0-9]{2}[ .]?[0-9]{4}",
        judged_near(checksums.american_ssn, _SSN_WORDS),
        longest=11,
    ),
)

"""Addresses of people on the net: mailboxes and IP addresses."""

from __future__ import annotations

import ipaddress

from rlhf_operator.guard.checks.candidates import Candidate, shape
from rlhf_operator.guard.checks.expressions import compile_own

_FILES = frozenset("png jpg jpeg gif svg webp pdf js css ts py so dll exe zip gz html".split())  # noqa: SIM905
_IP_WORDS = compile_own(
    r"\bip\b|ipv4|address|adress|dirección|indirizzo|endereço|adres|адрес|地址|アドレス|عنوان|पता"
)
_VERSION_WORDS = compile_own(
    r"(?:version|release|\bv|chapter|section|clause|upgrade|update|kapitel|abschnitt|chapitre|capítulo"
    r"|capitolo|rozdział|bölüm|sürüm|верси|глав|раздел|版本|章节|バージョン|章|إصدار|فصل|संस्करण|अध्याय"
    r"|firmware|build|driver|treiber|upgrade from|update von|mise à jour|aktualisierung"
    r"|actualización"
    r"|aggiornamento|atualização|versão|versión|versione|wersja|article|artículo|articolo|artigo"
    r"|artykuł|artikel|§|paragraph|part|edition|обновлени|драйвер|версия|пункт|版本号|固件|章節|条"
    r"|punkt|révision|édition|edición|edizione|edição)"
    r"(?: (?:number|no\.?|nr\.?|до|to|auf|the|la|à la|der|num[ée]ro|nº))? ?$"
)
_LOWEST = 32
"""Versions and chapters look like addresses, and have low numbers."""
_LETTER = "a-zß-ԯ"
"""Latin, Greek and Cyrillic letters: as one range, which keeps the expressions small."""
_LOCAL = rf"[{_LETTER}0-9._%+'-]{{1,64}}"
_DOMAIN = rf"(?:[{_LETTER}0-9-]{{1,63}}\.){{1,6}}[{_LETTER}]{{2,24}}"
_SPELLED = (
    rf"{_LOCAL} ?[\[(]at[\])] ?[{_LETTER}0-9-]{{1,63}}"
    rf"(?: ?[\[(]dot[\])] ?[{_LETTER}0-9-]{{2,63}}){{1,4}}"
)


def _email(candidate: Candidate) -> int:
    """Return the length of a mail address; not of a password and host in a web address."""
    before = candidate.before
    in_address = before.endswith((":", "/")) and "://" in before
    is_file = candidate.text.rsplit(".", 1)[-1] in _FILES
    is_remote = candidate.text.startswith("git@") and candidate.after.startswith(":")
    return 0 if in_address or is_file or is_remote else len(candidate.text)


def _ipv4(candidate: Candidate) -> int:
    parts = candidate.text.split(".")
    if any(int(part) > 255 or (part[0] == "0" and part != "0") for part in parts):
        return 0
    if _VERSION_WORDS.search(candidate.before) and not _IP_WORDS.search(candidate.before):
        return 0
    is_named = max(map(int, parts)) >= _LOWEST or _IP_WORDS.search(candidate.before)
    address = ipaddress.IPv4Address(candidate.text)
    is_open = address.is_global and not address.is_multicast
    return len(candidate.text) if is_named and is_open else 0


def _ipv6(candidate: Candidate) -> int:
    try:
        address = ipaddress.IPv6Address(candidate.text)
    except ValueError:
        return 0
    # All that is given to anybody begins with 2 or 3; `a::b` is the name of something.
    return len(candidate.text) if address.is_global and address.packed[0] >> 5 == 1 else 0


EMAILS = (
    shape(
        rf"{_LOCAL}(?:@|%40| ?[\[(](?:at|@)[\])] ?){_DOMAIN}",
        _email,
        longest=260,
        sign="@|%40",
        edge=rf"{_LETTER}0-9_@",
    ),
    shape(_SPELLED, _email, longest=260, sign=r"[\[(]at[\])]", edge=rf"{_LETTER}0-9_"),
)
IP_ADDRESSES = (
    shape(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", _ipv4, longest=15),
    shape(
        r"[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?::[0-9]{1,3}(?:\.[0-9]{1,3}){3})?",
        _ipv6,
        longest=45,
        edge="0-9a-z_:",
    ),
)

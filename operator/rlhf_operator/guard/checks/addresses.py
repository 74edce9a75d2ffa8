"""Addresses of people on the net: mailboxes and IP addresses."""

from __future__ import annotations

import ipaddress

from rlhf_operator.guard.checks.candidates import Candidate, shape
from rlhf_operator.guard.checks.expressions import compile_own

_UNITS = "service socket timer mount target automount swap slice scope"
"""Of systemd, whose names may have an instance: `backup@home.service`."""
_ENDINGS = f"png jpg jpeg gif svg webp pdf js css ts py so dll exe zip gz html {_UNITS}"
_NOBODY = frozenset(["root", "git", "www-data", "postgres", "nobody", "ubuntu", "ec2-user"])
"""Accounts of machines, which are no person's mailbox."""
_FILES = frozenset(_ENDINGS.split())
_REMOTES = compile_own(r"\b(?:ssh|mosh|sftp|ssh-copy-id)(?: -[a-z](?: [!-~]+)?){0,3} $")
"""Commands behind which a name and a host stand, in the form of a mailbox."""
_RESOLVERS = """
1.1.1.1 1.0.0.1 8.8.8.8 8.8.4.4 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220 94.140.14.14
94.140.15.15 76.76.2.0 76.76.10.0 77.88.8.8 77.88.8.1 114.114.114.114 223.5.5.5 223.6.6.6
119.29.29.29 180.76.76.76 168.95.1.1 64.6.64.6 185.222.222.222 45.11.45.11 193.110.81.0
185.228.168.9 185.228.169.9 4.2.2.1 4.2.2.2 2606:4700:4700::1111 2606:4700:4700::1001
2001:4860:4860::8888 2001:4860:4860::8844 2620:fe::fe 2620:fe::9 2620:119:35::35 2620:119:53::53
2a10:50c0::ad1:ff 2a02:6b8::feed:ff 2400:3200::1
"""
"""Name servers that are open to all, and so stand in every manual; they are nobody's address."""
_OPEN = frozenset(map(ipaddress.ip_address, _RESOLVERS.split()))
_IP_WORDS = compile_own(
    r"\bip\b|ipv4|address|adress|dirección|indirizzo|endereço|adres|адрес|地址|アドレス|عنوان|पता"
)
_VERSION_WORDS = compile_own(
    r"(?:version|release|\bv|chapter|section|clause|upgrade|update|kapitel|abschnitt|paragraf|ziffer|chapitre|capítulo"
    r"|capitolo|rozdział|bölüm|sürüm|верси|глав|раздел|版本|章节|バージョン|章|إصدار|فصل|संस्करण|अध्याय"
    r"|firmware|build|driver|treiber|upgrade from|update von|mise à jour|aktualisierung"
    r"|actualización"
    r"|aggiornamento|atualização|versão|versión|versione|wersja|article|artículo|articolo|artigo"
    r"|artykuł|artikel|§|paragraph|part|edition|обновлени|драйвер|версия|пункт|版本号|固件|章節|条"
    r"|punkt|révision|édition|edición|edizione|edição)"
    r"(?: (?:number|no\.?|nr\.?|до|to|auf|the|la|à la|der|num[ée]ro|nº))? ?$"
)
_UPGRADE = compile_own(r"\bupgrad|\bversion|\brelease|\bfirmware|\bbuild\b|\bchangelog|\bpatch")
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
    in_address = in_address or before.endswith(("http/", "host/", "nfs/", "ldap/"))  # Kerberos
    is_file = candidate.text.rsplit(".", 1)[-1] in _FILES
    is_remote = (
        candidate.text.partition("@")[0] in _NOBODY
        or candidate.after.startswith((":/", ":~"))
        or (candidate.text.startswith("git@") and candidate.after.startswith(":"))
        or bool(_REMOTES.search(before))
    )
    return 0 if in_address or is_file or is_remote else len(candidate.text)


def _ipv4(candidate: Candidate) -> int:
    parts = candidate.text.split(".")
    if any(int(part) > 255 or (part[0] == "0" and part != "0") for part in parts):
        return 0
    if not _IP_WORDS.search(candidate.before):
        is_low = int(parts[0]) < _LOWEST and _UPGRADE.search(candidate.before)
        if is_low or _VERSION_WORDS.search(candidate.before):
            return 0
    is_named = max(map(int, parts)) >= _LOWEST or _IP_WORDS.search(candidate.before)
    address = ipaddress.IPv4Address(candidate.text)
    is_open = address.is_global and not address.is_multicast and address not in _OPEN
    return len(candidate.text) if is_named and is_open else 0


def _ipv6(candidate: Candidate) -> int:
    try:
        address = ipaddress.IPv6Address(candidate.text)
    except ValueError:
        return 0
    # All that is given to anybody begins with 2 or 3; `a::b` is the name of something.
    is_open = address.is_global and address.packed[0] >> 5 == 1 and address not in _OPEN
    return len(candidate.text) if is_open else 0


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

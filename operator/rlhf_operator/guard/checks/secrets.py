"""Secrets: keys and tokens by the shapes that their makers gave them, and passwords that are told.

Rules read lower-case text, so these shapes are in lower case; what their makers write in capitals
has other marks that words do not have.
"""

from __future__ import annotations

import re2

from rlhf_operator.guard.checks.candidates import Candidate, Judge, Shape, shape
from rlhf_operator.guard.checks.expressions import compile_own

_EDGE = "0-9a-z_"

# What a key begins with, and what follows.
_KEYS = (
    (r"(?:akia|asia|aroa|aida)", r"[0-9a-z]{16}"),  # AWS
    (r"(?:gh[pousr]_|github_pat_)", r"[0-9a-z_]{20,255}"),
    (r"gl(?:pat|rt|dt|cbt)-", r"[0-9a-z_-]{20,255}"),
    (r"(?:xox[abeoprs]|xapp)-", r"[0-9a-z-]{10,255}"),  # Slack
    (r"sk-(?:proj-|ant-|or-|svcacct-)?", r"[0-9a-z_-]{20,255}"),  # OpenAI, Anthropic and others
    (r"(?:[sr]k_(?:live|test)|whsec)_", r"[0-9a-z]{16,255}"),  # Stripe
    (r"(?:aiza|ya29\.|gocspx-)", r"[0-9a-z_-]{20,255}"),  # Google
    (r"sg\.[0-9a-z_-]{16,32}\.", r"[0-9a-z_-]{30,64}"),  # SendGrid
    (r"(?:npm|hf|dop_v1)_", r"[0-9a-z]{24,64}"),
    (r"pypi-", r"[0-9a-z_-]{30,512}"),
    (r"(?:sq0(?:atp|csp)-|shp(?:at|ca|pa|ss)_|key-)", r"[0-9a-z_-]{20,64}"),
    (r"hooks\.slack\.com/services/", r"[0-9a-z/]{20,128}"),
    (r"[0-9]{8,10}:aa", r"[0-9a-z_-]{32,36}"),  # Telegram
)
_TOLD = (
    r"(?:pass ?wor[dt]|passphrase|passcode|kennwort|contraseña|clave|mot de passe|senha|hasło"
    r"|palavra-passe|parola|şifre|пароль|密码|密碼|口令|パスワード|كلمة (?:ال)?(?:مرور|سر)|पासवर्ड"
    r"|wachtwoord|lösenord|(?:wi-?fi|wlan|guest|gast)[ -](?:key|schlüssel|code)"
    r"|code (?:du|de) wi-?fi"
    r"|\bpin und passwort)"
)
_COPULA = (
    r"(?: (?:is|are|was|lautet|ist|est|es|è|é|to|jest|brzmi|هي|هو|है)[ :]|は|是|为|為|[:=]|—|–)"
)
_NAME = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key"
    r"|client[_-]?secret|auth[_-]?token|credential|secret[_-]?access[_-]?key|encryption[_-]?key)s?"
)
_PLACEHOLDER = re2.compile(
    r"^[<\[{$%(]|^(?:os|process|env|self|config|settings|secrets?|var|vars|getenv|args|request)[.\[(]"
    r"|^(?:your|my|the|some|new|old|change|example|placeholder|redacted|none|null|true|false|undefined)"
    r"(?:[_-]|$)|^[*x.•_-]+$|^[a-z0-9_.]+[\[(]|^[^\W\d_]+\d$|environ|getenv|\{\{|\$\{|\(\)|^sha(?:1|256|512)[:-]"
)
_DIGIT, _LETTER = compile_own("[0-9]"), compile_own("[a-z]")
_MIXED = compile_own("[0-9]{4}|[!#$%&?@*^+].*[0-9]|[0-9].*[!#$%&?@*^+]")
"""What a password has that a word beside the word for it does not."""
_STAND_IN = compile_own(
    r"^(?:pass|password|passwd|pwd|pw|secret|user|username|token|key|xxx+|your.*|my.*|<.*>|\{.*\}|\$.*"
    r"|%.*%|\[.*\]|[*.•x]+|changeme|example)$"
)
"""What stands for a password in the form of an address."""


def _has_digit(candidate: Candidate) -> int:
    return len(candidate.text) if _DIGIT.search(candidate.text) else 0


def _whole(candidate: Candidate) -> int:
    return len(candidate.text)


def _is_random(value: str, least: int) -> bool:
    """Tell whether a value looks drawn and not written: letters and digits, and no placeholder."""
    return (
        len(value) >= least
        and not _PLACEHOLDER.search(value)
        and bool(_DIGIT.search(value))
        and bool(_LETTER.search(value))
    )


def _last_word(least: int) -> Judge:
    """Return a judge of what stands last in a candidate, behind a name and an equals sign."""

    def judge(candidate: Candidate) -> int:
        value = _VALUE.search(candidate.text)
        return len(candidate.text) if value and _is_random(value.group(1), least) else 0

    return judge


def _in_address(candidate: Candidate) -> int:
    """Return the length of an address with a password in it, and not of the form of one."""
    told = candidate.text.removesuffix("@").rsplit(":", 1)[-1]
    return 0 if _STAND_IN.search(told) else len(candidate.text)


def _beside(candidate: Candidate) -> int:
    """Return the length of the word for a password and one that stands right beside it."""
    value = _VALUE.search(candidate.text)
    is_secret = value and _is_random(value.group(1), 8) and _MIXED.search(value.group(1))
    return len(candidate.text) if is_secret else 0


_PEM_BEGINS = "-----begin (?:[a-z0-9]+ ){0,3}private key(?: block)?-----"
_PEM_ENDS = "-----end (?:[a-z0-9]+ ){0,3}private key(?: block)?-----"
_PEM_LAID_OUT = 3 * r"[a-z0-9+/=\s\\:,.()\"'-]{0,900}" + _PEM_ENDS
"""A short one in whatever layout, up to its end."""
_BETWEEN = r"(?:\\[nr]|[\s\\\"',>|+#*&.;()]){0,40}"
"""What stands between the lines of one: in a file, in a quotation, or as texts in code."""
_PEM_LINES = (
    rf"(?:{_BETWEEN}(?:proc-type|dek-info|version|comment|hash|charset):[^\n]{{0,160}})*"
    rf"(?:{_BETWEEN}[a-z0-9+/=]{{16,}})*"
    rf"(?:{_BETWEEN}[a-z0-9+/=]{{0,15}}{_BETWEEN}"
    rf"(?:{_PEM_ENDS}|(?:-{{1,5}}|-----[a-z0-9 ]{{1,60}}-{{0,4}})?$))?"
)
"""One of any length, line by line; where its end never comes, as far as it got."""

_VALUE = compile_own(r"[\"'`“„« ]*([^\s\"'`“”„«»]+?)[.,;:]*$")

SECRETS: tuple[Shape, ...] = (
    *(
        shape(start + rest, _has_digit, longest=540, edge=_EDGE, sign=start)
        for start, rest in _KEYS
    ),
    # What goes on without an end, and is a secret from its first parts on.
    shape(
        r"eyj[0-9a-z_-]{8,500}\.eyj[0-9a-z_-]{4,}(?:\.[0-9a-z_-]+)?",
        _whole,
        longest=520,
        sign=r"eyj[0-9a-z_-]{8}",
    ),
    shape(
        rf"{_PEM_BEGINS}(?:{_PEM_LAID_OUT}|{_PEM_LINES})?",
        _whole,
        longest=160,
        sign="private key",
        edge="",
    ),
    shape(
        r"(?:bearer|basic) +[0-9a-z._~+/=-]{16,}",
        _last_word(16),
        longest=160,
        sign=r"(?:bearer|basic) +[0-9a-z._~+/=-]{16}",
        edge="0-9a-z_.",
    ),
    shape(
        r"[a-z][a-z0-9+.-]{1,20}://[!-9;-?A-~]{0,64}:[!-.0-?A-~]{3,128}@",
        _in_address,
        longest=220,
        sign="://[!-~]*@",
        edge="",
    ),
    shape(
        rf"[a-z0-9_.-]{{0,32}}{_NAME}[\"'\]]{{0,2}}\s{{0,3}}(?:=>|:=|[:=])"
        r"\s{0,3}[\"'`]?[!#-&(-+--:<-_a-~]{8,256}",
        _last_word(8),
        longest=320,
        sign=rf"{_NAME}[\"'\]]{{0,2}}\s{{0,3}}[:=]",
        edge="0-9a-z_.-",
    ),
    shape(
        rf"{_TOLD}[^\n.!?@]{{0,60}}{_COPULA}\s{{0,3}}[\"'`“„«]?[!-~]{{8,64}}",
        _last_word(8),
        longest=150,
        sign=_TOLD,
        edge="",
    ),
    shape(
        rf"{_TOLD} [\"'`“„«]?[!-~]{{8,64}}",
        _beside,
        longest=90,
        sign=_TOLD,
        edge="",
    ),
    # The clients of databases take it in one with the option.
    shape(
        r"(?:mysql|mysqldump|mariadb|sqlcmd)[^\n]{0,60} -p[!-~]{8,64}",
        _last_word(8),
        longest=140,
        sign=r"(?:mysql|mysqldump|mariadb|sqlcmd) ",
        edge="",
    ),
)

"""How a client's arm token is recognised, in the two places where a client can carry it."""

from __future__ import annotations

import re

from rlhf_operator.core.routes.port import ARM_COOKIE


def cookie_pattern(token: str) -> str:
    """Return a regular expression for a Cookie header that carries this token.

    Some gateways match a pattern anywhere and some against the whole header; this one is
    anchored and spans the header, so that both read it alike, in RE2 and in PCRE.
    """
    # Escaped by hand: `re.escape` also escapes `-`, which RE2 reads but some dialects refuse.
    escaped = re.sub(r"[.+*?()\[\]{}|^$\\]", lambda found: "\\" + found.group(), token)
    return rf"^(.*; *)?{ARM_COOKIE}={escaped}(;.*)?$"

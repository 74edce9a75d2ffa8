"""Whether a pattern compiles in the guard, judged without the guard's own regex engine.

What passes here compiles there, with the same syntax and in linear time.
"""

from __future__ import annotations

import re

_LARGEST = 1000
_PARTS = re.compile(
    r"""(?P<flags>\(\?[ims]+\))
      | (?P<open>\((?:\?(?:[ims]*(?:-[ims]+)?:|P<[A-Za-z_][A-Za-z0-9_]*>))?(?!\?))
      | (?P<close>\))
      | (?P<set>\[\^?+\]?+(?:\\.|[^\]\\])*\])
      | (?P<escape>\\(?:x[0-9A-Fa-f]{2}|.))
      | (?P<few>\{,\d*\})
      | (?P<repeat>(?:[*+?]|\{(?P<least>\d+)(?:,(?P<most>\d*))?\})(?:\?|(?P<possessive>\+))?)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|[dDsSwWnrtfvabBA]|[!-/:-@\[-^`{-~])")
_SET_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|[dDsSwWnrtfva]|[!-/:-@\[-^`{-~])")
_SET_ODDITY = re.compile(r"--|&&|\|\||~~|\[")


def pattern_problem(pattern: str) -> str | None:
    """Return why the guard would refuse a pattern, or nothing where it compiles."""
    # Python's syntax and RE2's differ; only what both read alike is let through.
    sizes = [0]
    last = 0  # how large the part is that a repetition would repeat
    for part in _PARTS.finditer(pattern):
        if problem := _part_problem(part):
            return f"{problem} in pattern {pattern!r}"
        match part.lastgroup:
            case "open":
                sizes.append(0)
                last = 0
            case "close" if len(sizes) > 1:
                last = max(1, sizes.pop())
                sizes[-1] += last
            case "repeat":
                times = int(part["most"] or part["least"] or 1)
                sizes[-1] += last * (max(times, 1) - 1)
            case _:
                last = 1
                sizes[-1] += 1
        if sum(sizes) > _LARGEST:
            return f"more than {_LARGEST} parts, repetitions written out, in pattern {pattern!r}"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{error} in pattern {pattern!r}"
    return None


def _part_problem(part: re.Match[str]) -> str | None:
    text = part.group()
    match part.lastgroup:
        case "few":
            return f"write {{0,n}} instead of {text}"
        case "repeat" if part["possessive"]:
            return f"possessive repetition {text} is not supported"
        case "escape" if not _ESCAPE.fullmatch(text):
            return f"escape {text} is not supported"
        case "set":
            inner = text.removeprefix("[").removeprefix("^").removesuffix("]")
            escapes = re.findall(r"\\(?:x[0-9A-Fa-f]{2}|.)", inner, re.DOTALL)
            if bad := next((each for each in escapes if not _SET_ESCAPE.fullmatch(each)), None):
                return f"escape {bad} is not supported inside brackets"
            if odd := _SET_ODDITY.search(re.sub(r"\\.", "", inner, flags=re.DOTALL)):
                return f"{odd.group()} inside brackets must be escaped"
        case "other" if text == "(":
            return "look-around, back-references and other (?...) groups are not supported"
        case "other" if text == "[":
            return "missing ]"
    return None

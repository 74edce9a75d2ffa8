"""The guard's part of a model, and the file by which the operator tells a guard its work.

`GuardSpec` is what a team writes; `GuardConfig` is what the operator mounts beside it.
Whether a pattern compiles is judged here without the guard's own regex engine: what passes
`compile_problems` compiles there, with the same syntax and in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.schema import ApiType, Keyed, Name, rule

RUN_HEADER = "x-rlhf-run"
"""Set by the router on every request of a run in which users are counted; clients cannot."""

Category = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9-]+$")]
Pattern = Annotated[str, Field(min_length=1, max_length=512)]
Keyword = Annotated[str, Field(min_length=1, max_length=128)]


StageType = Literal["Rules"]
Direction = Literal["Input", "Output"]
Action = Literal["Block", "Flag"]
StickinessMode = Literal["Arm", "None"]


class GuardRule(ApiType):
    """Words and patterns that mean one category of unsafe text."""

    category: Category
    """Name of the category, as metrics and SLOs show it, such as `bias` or `self-harm`."""

    keywords: Annotated[tuple[Keyword, ...], Field(max_length=256)] | None = None
    """Words or phrases that match where they stand as whole words, whatever their case."""

    patterns: Annotated[tuple[Pattern, ...], Field(max_length=64)] | None = None
    """Regular expressions of linear time (RE2): without look-around and back-references.
    They see lower-case text, in Unicode form NFKC, and ignore case."""

    @rule("has(self.keywords) || has(self.patterns)", "a rule needs keywords or patterns")
    def says_something(self) -> bool:
        """Tell whether the rule can ever match."""
        return self.keywords is not None or self.patterns is not None


class Stage(ApiType):
    """One check that text passes on its way in or out."""

    name: Name
    """Name of the stage, unique in the model."""

    type: StageType
    """What the stage judges with. `Rules`: keywords and patterns."""

    applies_to: Annotated[tuple[Direction, ...], Field(min_length=1, max_length=2)]
    """Which text the stage sees: `Input` (the prompt), `Output` (the answer), or both."""

    action: Action
    """`Block` answers with a refusal instead; `Flag` lets the answer pass and counts it."""

    rules: Annotated[tuple[GuardRule, ...], Keyed("category", 32)]
    """What to look for; one entry per category."""


class GoldenPrompt(ApiType):
    """A prompt whose answer must be right before a version gets its first traffic.

    It also fails when a rule matches the answer, or when there is no answer.
    """

    name: Name
    """Name of the prompt, unique in the model; it stands for the prompt in reports."""

    prompt: Annotated[str, Field(min_length=1, max_length=8192)]
    """The text that is sent to the model."""

    max_tokens: Annotated[int, Field(ge=1, le=4096)]
    """The longest answer to ask for."""

    must_match: Pattern | None = None
    """A pattern that the answer must contain; same syntax as in rules."""

    must_not_match: Pattern | None = None
    """A pattern that the answer must not contain; same syntax as in rules."""


class GuardSpec(ApiType):
    """What the guard in front of every version of a model does."""

    stages: Annotated[tuple[Stage, ...], Keyed("name", 16)] = ()
    """Checks of prompts and answers. All of them run; the strictest result holds."""

    golden: Annotated[tuple[GoldenPrompt, ...], Keyed("name", 32)] = ()
    """Prompts that a version must answer well before it gets its first traffic."""

    refusal_patterns: Annotated[tuple[Pattern, ...], Field(max_length=32)] = ()
    """Patterns by which an answer is counted as the model's own refusal."""

    user_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$", max_length=64)] | None = None
    """A request header that names the user, set by what authenticates them; without it the fields
    `safety_identifier` and `user` of a request do. Only a keyed hash is kept, and in memory."""


class GuardStickiness(ApiType):
    """How users are kept on the arm that they were drawn into."""

    mode: StickinessMode = "None"
    """`Arm` hands out the token of this arm; `None` does not."""

    max_age_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 86_400
    """How long a browser keeps the token."""

    cookie_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", max_length=64)] = "rlhf-arm"
    """Name of the cookie that carries the token."""

    header_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$", max_length=64)] = (
        "x-rlhf-arm"
    )
    """Name of the header that carries the token, on answers and on requests."""

    arm_token: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,256}$", max_length=256)] | None = (
        None
    )
    """The fixed token of this arm, the same as in the route's exact-match rule."""

    @rule("self.mode != 'Arm' || has(self.armToken)", "mode Arm needs armToken")
    def has_token(self) -> bool:
        """Tell whether there is a token where one is handed out."""
        return self.mode != "Arm" or self.arm_token is not None


class GuardLimits(ApiType):
    """What one guard process takes on."""

    body_bytes: Annotated[int, Field(ge=1024, le=67_108_864)] = 1_048_576
    """Largest request body, after decompression."""

    header_bytes: Annotated[int, Field(ge=1024, le=65_536)] = 8192
    """Longest request line and longest single header."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Requests for an answer in flight at once; more get 503 with Retry-After."""

    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """Longest time from a request's headers to the last byte of its answer."""

    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = 4096
    """Largest `max_tokens` that a request may ask for."""


class GuardConfig(ApiType):
    """All that a guard process is told at its start, as one JSON file."""

    model: Name
    """Name of the RLHFModel."""

    version: Name
    """Name of the RLHFModelVersion that this pod serves."""

    identity: Annotated[str, Field(pattern=r"^(sha256:)?[a-f0-9]{12,64}$", max_length=71)]
    """Identity of the version; its first twelve digits go into response ids."""

    triton_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=256)] = (
        "http://127.0.0.1:8000"
    )
    """Where this pod's Triton listens."""

    triton_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=128)]
    """Name of the model in Triton's repository."""

    exclude_input: bool = False
    """Ask the backend to leave the prompt out of its answer: vLLM's would repeat it."""

    guard: GuardSpec = GuardSpec()
    """Stages, golden prompts and refusal patterns, as the team wrote them."""

    force_block: bool = False
    """Treat every `Flag` as `Block`: the fallback serves so when nothing is known safe."""

    refuse: bool = False
    """Answer every request for an answer with 503: nothing is known safe, and so the team wants it.
    Health stays as it is, so that the route keeps its backends and no pod is restarted."""

    refusal_text: Annotated[str, Field(min_length=1, max_length=1024)] = (
        "I'm sorry, but I can't help with that."
    )
    """What a user reads instead of a blocked answer."""

    stickiness: GuardStickiness = GuardStickiness()
    """How users are kept on this version."""

    limits: GuardLimits = GuardLimits()
    """What one process takes on."""

    lame_duck_seconds: Annotated[float, Field(ge=0, le=600)] = 5.0
    """After SIGTERM: how long to go on serving while endpoints and routes forget this pod."""

    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 120.0
    """After that: how long requests in flight may take to finish."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port for requests and health."""

    operations_port: Annotated[int, Field(ge=0, le=65_535)] = 9090
    """Port for metrics and golden prompts; users must not reach it."""


def compile_problems(spec: GuardSpec) -> tuple[str, ...]:
    """Return one sentence for each pattern that the guard would refuse at its start."""
    return tuple(
        f"{where}: {problem}"
        for where, pattern in _patterns(spec)
        if (problem := pattern_problem(pattern))
    )


def _patterns(spec: GuardSpec) -> Iterator[tuple[str, str]]:
    for stage in spec.stages:
        for entry in stage.rules:
            for pattern in entry.patterns or ():
                yield f"stage {stage.name}, category {entry.category}", pattern
    for golden in spec.golden:
        for pattern in filter(None, (golden.must_match, golden.must_not_match)):
            yield f"golden prompt {golden.name}", pattern
    for pattern in spec.refusal_patterns:
        yield "refusalPatterns", pattern


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

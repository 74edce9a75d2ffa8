"""The guard's part of a model, and the file by which the operator tells a guard its work.

`GuardSpec` is what a team writes; `GuardConfig` is what the operator mounts beside it. The parts
of `LiveGuard` may change while a guard runs; the rest is pinned with the pod.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.operation import Address, GuardLimits, GuardTLS, GuardTracing, RequestLimits
from rlhf_operator.api.patterns import pattern_problem
from rlhf_operator.api.sampling import Sampling
from rlhf_operator.api.schema import ApiType, Duration, Keyed, Name, rule
from rlhf_operator.api.stages import Direction, Pattern, Stage

RUN_HEADER = "x-rlhf-run"
"""Set by the router on every request of a run in which users are counted, or are kept on their
arms; without one the router removes it from what clients send."""

ARMS_HEADER = "x-rlhf-arms"
"""Set by the router on every request while a canary has weight: in the form
of `api/arms.py`. Clients cannot: without a run the router removes it from what they send."""

StickinessMode = Literal["Arm", "None"]


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


class Streaming(ApiType):
    """How an answer leaves while it is being made: nothing leaves before it was checked."""

    hold_back: Annotated[int, Field(ge=0, le=100_000)] = 400
    """How many characters at least are held back for Rules: what they could still find in the
    last of them has not left. Rules whose longest match is shorter hold back that much only;
    matches without a longest length are found for certain only up to this one."""

    chunk: Annotated[int, Field(ge=1, le=100_000)] = 800
    """For Model and External: how many new characters are collected before they are asked."""

    context: Annotated[int, Field(ge=0, le=100_000)] = 200
    """How many of the characters before are shown to them again."""


class GuardFallback(ApiType):
    """What a user gets of an answer that no stage could judge and that is withheld for it."""

    type: Literal["Message", "Version"] = "Message"
    """`Message`: the message below. `Version`: the model's fallback version answers instead."""

    message: Annotated[str, Field(min_length=1, max_length=1024)] = (
        "I'm sorry, but I can't answer that right now."
    )
    """What a user reads where nothing else answers."""


class GuardSpec(ApiType):
    """What the guard in front of every version of a model does."""

    stages: Annotated[tuple[Stage, ...], Keyed("name", 16)] = ()
    """Checks of prompts and answers, in their order: each sees a text as the one before left it.
    Neighbours of type Model and External run side by side, save that what stands behind one that
    redacts waits for it; they are not asked about a text that was blocked already."""

    budget: Duration = "1s"
    """How long classifiers and services may take together for one text; one that has no time left
    counts as one that could not judge."""

    streaming: Streaming = Streaming()
    """How answers are checked while they stream."""

    fallback: GuardFallback = GuardFallback()
    """What takes the place of an answer that could not be judged."""

    sampling: Sampling | None = None
    """Which answers are sent to a sink for scoring and review; none when unset."""

    limits: RequestLimits = RequestLimits()
    """What one guard takes on, within the operator's bounds."""

    tls: GuardTLS | None = None
    """Serve HTTPS; plain HTTP when unset. The pods take it with the next rollout or `Restart`."""

    golden: Annotated[tuple[GoldenPrompt, ...], Keyed("name", 32)] = ()
    """Prompts that a version must answer well before it gets its first traffic."""

    refusal_patterns: Annotated[tuple[Pattern, ...], Field(max_length=32)] = ()
    """Patterns by which an answer is counted as the model's own refusal."""

    user_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$", max_length=64)] | None = None
    """A request header that names the user, set by what authenticates them; without it the fields
    `safety_identifier` and `user` of a request do. Only keyed hashes are kept: in memory, and
    another in the ids of a run's answers."""


class GuardStickiness(ApiType):
    """How users are kept on the arm that they were drawn into."""

    mode: StickinessMode = "None"
    """`Arm` hands out a token of this arm in every run; `None` does not."""

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
    """The fixed token of this arm. Clients get what it makes together with the run's name, which
    is what the route's exact-match rule asks for (`api/arms.py`)."""

    @rule("self.mode != 'Arm' || has(self.armToken)", "mode Arm needs armToken")
    def has_token(self) -> bool:
        """Tell whether there is a token where one is handed out."""
        return self.mode != "Arm" or self.arm_token is not None


class Provider(ApiType):
    """A service outside the namespace that the operator's configuration lists."""

    name: Name
    """The name that models use."""

    url: Address
    """Where it is asked."""


class LiveGuard(ApiType):
    """What may change while a guard runs: the operator keeps it in a ConfigMap of the model."""

    guard: GuardSpec = GuardSpec()
    """Stages, golden prompts and all else that the team wrote."""

    providers: Annotated[tuple[Provider, ...], Keyed("name", 32)] = ()
    """The providers that the stages and the sampling name."""


class GuardConfig(LiveGuard):
    """All that a guard process is told at its start, as one JSON file."""

    namespace: Name = "default"
    """The namespace of the model, where Services that stages name are looked for."""

    live_file: Annotated[str, Field(max_length=256)] | None = None
    """A file with a LiveGuard; while it is there and good it holds in place of this one's."""

    credentials_folder: Annotated[str, Field(max_length=256)] = "/etc/rlhf-guard/credentials"
    """A folder with the Secrets that stages name: one folder a Secret, one file a key."""

    fallback_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=256)] | None = None
    """Where the model's fallback version answers; none in the fallback's own pods."""

    peers: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$", max_length=253)] | None = None
    """The DNS name with the addresses of all guards of the model, each at the same port: votes on
    one answer are counted by one of them. Where unset, each guard counts what reaches it."""

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

    chat_template: Annotated[str, Field(max_length=16384)] | None = None
    """How a conversation becomes a prompt (`api/chat_template.py`); lines of text where unset."""

    exclude_input: bool = False
    """Ask the backend to leave the prompt out of its answer: vLLM's would repeat it."""

    force_block: bool = False
    """Treat every action as `Block`: the fallback serves so when nothing is known safe."""

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
    """What one process takes on at most; the team's own limits may be lower."""

    tls_folder: Annotated[str, Field(max_length=256)] | None = None
    """A folder with `tls.crt` and `tls.key`; users are served HTTPS where it is set."""

    tracing: GuardTracing | None = None
    """Where traces go; none are made when unset."""

    lame_duck_seconds: Annotated[float, Field(ge=0, le=600)] = 5.0
    """After SIGTERM: how long to go on serving while endpoints and routes forget this pod."""

    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 120.0
    """After that: how long requests in flight may take to finish. Then samples that wait have
    5 s to reach the sink."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port for requests and health."""

    operations_port: Annotated[int, Field(ge=0, le=65_535)] = 9090
    """Port for metrics and golden prompts; users must not reach it."""


def looking_at(spec: GuardSpec, direction: Direction) -> tuple[Stage, ...]:
    """Return the stages that look at text in a direction."""
    return tuple(stage for stage in spec.stages if direction in stage.applies_to)


def compile_problems(spec: GuardSpec) -> tuple[str, ...]:
    """Return one sentence for each pattern that the guard would refuse at its start."""
    return tuple(
        f"{where}: {problem}"
        for where, pattern in _patterns(spec)
        if (problem := pattern_problem(pattern))
    )


def _patterns(spec: GuardSpec) -> Iterator[tuple[str, str]]:
    for stage in spec.stages:
        for entry in stage.rules or ():
            for pattern in entry.patterns or ():
                yield f"stage {stage.name}, category {entry.category}", pattern
    for golden in spec.golden:
        for pattern in filter(None, (golden.must_match, golden.must_not_match)):
            yield f"golden prompt {golden.name}", pattern
    for pattern in spec.refusal_patterns:
        yield "refusalPatterns", pattern

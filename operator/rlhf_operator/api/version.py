"""`RLHFModelVersion`: one immutable artefact by digest, with its lineage and its engine."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rlhf_operator.api.common import Condition, Object
from rlhf_operator.api.schema import (
    ApiType,
    CelRule,
    Digest,
    Duration,
    Keyed,
    Name,
    Percent,
    Text,
    Time,
    immutable,
    rule,
)

Uri = Annotated[
    str,
    Field(max_length=1024, pattern=r"^(oci|pvc|s3|hf)://[A-Za-z0-9][A-Za-z0-9._:/@-]*$"),
]


class Artifact(ApiType):
    """Where the model's files are and what they must be."""

    uri: Uri
    """`oci://registry/name`, `pvc://claim/path`, `s3://bucket/prefix` or `hf://owner/name@commit`."""
    digest: Digest
    """For `oci://` the manifest digest; else sha256 over the sorted lines `sha256 size path`."""

    @rule(
        "!self.uri.startsWith('hf://') || self.uri.matches('@[0-9a-f]{40}$')",
        "an hf:// artefact names a commit: hf://owner/name@<40 hexadecimal digits>",
    )
    def hub_artifact_names_a_commit(self) -> bool:
        """Return whether a hub artefact is pinned."""
        commit = self.uri.rpartition("@")[2]
        pinned = len(commit) == 40 and set(commit) <= set("0123456789abcdef")
        return not self.uri.startswith("hf://") or (pinned and "@" in self.uri)

    @rule(
        "!self.uri.startsWith('oci://') || !self.uri.contains('@')",
        "an oci:// artefact names its digest in `digest`, not in the uri",
    )
    def oci_digest_stands_apart(self) -> bool:
        """Return whether the digest has one home."""
        return not self.uri.startswith("oci://") or "@" not in self.uri


class TrainingCode(ApiType):
    """The code that made the model."""

    repository: Text
    """Where the code is kept."""
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}$", max_length=64)]
    """The commit that ran."""


class Lineage(ApiType):
    """Where the model comes from."""

    parent: Name | None = None
    """The version that training started from."""
    sft: Name | None = None
    """The SFT version that the KL penalty refers to."""
    base: Text | None = None
    """The pre-trained base model."""
    reward_model: Text | None = None
    """The reward model that training maximised, by name and digest."""
    preference_data: Annotated[tuple[Text, ...], Field(max_length=64)] = ()
    """The preference data sets, by name and digest."""
    sft_data: Annotated[tuple[Text, ...], Field(max_length=64)] = ()
    """The supervised data sets, by name and digest."""
    training_code: TrainingCode | None = None
    """The code that made the model."""
    training_run: Text | None = None
    """The run that made the model."""


class Quantization(ApiType):
    """How weights were reduced in precision."""

    method: Annotated[str, Field(max_length=63)]
    """For instance awq, gptq or fp8."""
    bits: Annotated[int, Field(ge=1, le=32)]
    """Bits per weight."""
    of: Name | None = None
    """The version that was quantised."""


class Optimization(ApiType):
    """What was done to make the model smaller or faster."""

    quantization: Quantization | None = None
    """How weights were reduced in precision."""
    distilled_from: Name | None = None
    """The version that this one was distilled from."""


class Report(ApiType):
    """An evaluation report kept outside the cluster."""

    uri: Text
    """Where the report is."""
    digest: Digest
    """sha256 of the report."""


class Evaluation(ApiType):
    """What was found about this version before it was shipped."""

    report: Report
    """The report."""


class Gpu(ApiType):
    """The accelerators of one pod."""

    count: Annotated[int, Field(ge=0, le=64)] = 1
    """How many; 0 serves on the CPU."""
    resource: Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9.-]+/[a-z0-9.-]+$")] = (
        "nvidia.com/gpu"
    )
    """The name of the extended resource."""


class Batching(ApiType):
    """How Triton groups requests, for the backends that leave it to Triton."""

    max_batch_size: Annotated[int, Field(ge=1, le=4096)] = 8
    """The largest batch."""
    max_queue_delay: Duration = "2ms"
    """How long a request may wait for others."""


EngineArg = Annotated[str, Field(max_length=1024)]


class VersionServing(ApiType):
    """How the engine of this version is set. Part of the version's identity."""

    backend: Literal["huggingface", "vllm", "tensorrtllm", "repository"] = "huggingface"
    """What runs the model in Triton; `repository` is a ready Triton model repository."""
    engine_args: Annotated[dict[str, EngineArg], Field(max_length=64)] = {}
    """Arguments of the engine, for instance `max_model_len: "4096"`; values that read as JSON
    numbers or true/false are passed as such. With `stream: "true"` the backend `huggingface` gives
    answers token by token to who asks for that; Triton's `infer` over HTTP, which
    `tritonclient.http` uses, works only without."""
    tokenizer: Text | None = None
    """A sub-folder of the artefact that holds the tokenizer, if it is not beside the weights."""
    chat_template: Annotated[str, Field(max_length=16384)] | None = None
    """A Jinja chat template, as tokenizers have them: how the guard writes a conversation for the
    model. The artefact's own is not read; where this is unset a conversation is lines of text. It
    may use loops, conditions and a few filters and methods, no macros, and of special tokens
    `bos_token` alone, which is empty, for every backend puts it before the prompt by itself."""
    gpu: Gpu = Gpu()
    """The accelerators of one pod."""
    batching: Batching = Batching()
    """How Triton groups requests, for the backends `huggingface` and `tensorrtllm`: vLLM groups
    them by itself, and the files of a ready repository say it for themselves."""

    @rule(
        # The server judges the bare default `{}` too, before it fills anything in.
        "!has(self.backend) || self.backend in ['huggingface', 'tensorrtllm'] || "
        "(self.batching.maxBatchSize == 8 && self.batching.maxQueueDelay == '2ms')",
        "batching would do nothing: vllm groups requests by itself, bounded by its engineArgs such "
        "as max_num_seqs, and a ready repository has its own config.pbtxt; leave it out",
        came_later=True,
    )
    def batching_is_set_where_triton_batches(self) -> bool:
        """Return whether the backend heeds it; the API server writes the defaults everywhere."""
        return self.backend in ("huggingface", "tensorrtllm") or self.batching == Batching()


class VersionSpec(ApiType):
    """One immutable model artefact and how its engine is set."""

    model: Name
    """The `RLHFModel` that this is a version of."""
    stage: Literal["SFT", "RLHF"]
    """SFT: before preference training. RLHF: after it."""
    artifact: Artifact
    """Where the model's files are and what they must be."""
    lineage: Lineage | None = None
    """Where the model comes from."""
    optimization: Optimization | None = None
    """What was done to make the model smaller or faster."""
    evaluation: Evaluation | None = None
    """What was found before shipping; may be set once."""
    serving: VersionServing = VersionServing()
    """How the engine of this version is set."""

    transitions: ClassVar[tuple[CelRule, ...]] = (
        *immutable("model", "stage", "artifact", "serving", optional=("lineage", "optimization")),
        CelRule(
            cel="!has(oldSelf.evaluation) || "
            "(has(self.evaluation) && self.evaluation == oldSelf.evaluation)",
            message="evaluation can be set once and not changed",
        ),
    )

    def identity(self) -> str:
        """Return the sha256 of everything that determines this version's answers."""
        parts = {
            "artifact": self.artifact.digest,
            "tokenizer": self.serving.tokenizer,
            "chatTemplate": self.serving.chat_template,
            "backend": self.serving.backend,
            "engineArgs": dict(sorted(self.serving.engine_args.items())),
        }
        canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


class Quarantine(ApiType):
    """Why this version may not serve."""

    reason: Text
    """What failed, with its numbers."""
    rollout: Annotated[str, Field(max_length=253)]
    """The `RLHFRollout` that is the record."""


class VersionStatus(ApiType):
    """What is known of a version; a mirror of the rollout records."""

    observed_generation: int = -1
    """The generation that this status speaks of."""
    identity: Digest | None = None
    """sha256 of everything that determines this version's answers."""
    phase: Literal["Available", "Canary", "Stable", "Standby", "Quarantined", "Refused"] | None = (
        None
    )
    """A one-word summary for people."""
    weight: Percent | None = None
    """Percent of the model's traffic, as last declared."""
    digest_verified: Time | None = None
    """When a pod last verified the artefact's digest before its server started."""
    quarantine: Quarantine | None = None
    """Why this version may not serve."""
    conditions: Annotated[tuple[Condition, ...], Keyed("type", 16)] = ()
    """Observations in the standard form."""


RLHFModelVersion = Object[VersionSpec, VersionStatus]

"""The Triton model repository of a version, as the text of its files.

What each backend reads is written here and nowhere else. Every repository offers one model of
one name, which takes `text_input`, `max_tokens`, `temperature` and `seed` and gives
`text_output`; one that streams takes `stream`. Knows no cluster and no file system.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.version import VersionServing
from rlhf_operator.core import pbtxt, tensorrt
from rlhf_operator.core.pbtxt import Fields

MODEL = "model"
ARTIFACT = "/artifact"
"""Where pods find the model's files."""

_SETTINGS = "1/model.json"
_RELEASE = re.compile(r":(\d\d)\.(\d\d)(?![0-9])[^/]*$")
_FIRST_WITH_METRICS, _FIRST_WITH_TRUE = ("24", "08"), ("24", "12")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")

HUGGINGFACE_ARGS = MappingProxyType(
    {
        "dtype": ("auto", "float32", "float16", "bfloat16"),
        "attn_implementation": ("eager", "sdpa", "flash_attention_2"),
        "max_model_len": int,
        "instances": int,
        "stream": ("true", "false"),
        "threads": int,
    }
)
"""What our own backend takes, with the words or the type of the value."""

# Where vLLM's files come from is for the artefact to say; some of these would also load code.
VLLM_CLOSED = frozenset(
    {
        "additional_config",
        "code_revision",
        "config_format",
        "disable_log_stats",
        "distributed_executor_backend",
        "download_dir",
        "enable_lora",
        "generation_config",
        "guided_decoding_backend",
        "hf_config_path",
        "hf_overrides",
        "hf_token",
        "kv_transfer_config",
        "load_format",
        "logits_processor_pattern",
        "logits_processors",
        "lora_modules",
        "model",
        "model_impl",
        "model_loader_extra_config",
        "override_generation_config",
        "qlora_adapter_name_or_path",
        "revision",
        "scheduler_cls",
        "served_model_name",
        "skip_tokenizer_init",
        "speculative_config",
        "speculative_model",
        "structured_outputs_config",
        "tokenizer",
        "tokenizer_pool_extra_config",
        "tokenizer_revision",
        "trust_remote_code",
        "worker_cls",
        "worker_extension_cls",
    }
)


def render(serving: VersionServing, image: str = "") -> Mapping[str, str]:
    """Return the files of the repository by their path in it; none for a ready repository.

    `image` is Triton's, by whose tag it is known how old its backends are.
    """
    match serving.backend:
        case "huggingface":
            return _huggingface(serving)
        case "vllm":
            return _vllm(serving, image)
        case "tensorrtllm":
            return tensorrt.render(serving, model=MODEL, artifact=ARTIFACT)
        case "repository":
            return {}


def problem(serving: VersionServing) -> str | None:
    """Return what the backend would not understand, or nothing."""
    for name, value in sorted(serving.engine_args.items()):
        found = _argument_problem(serving.backend, name, value)
        if found:
            return f"engineArgs.{name}: {found}"
    if serving.tokenizer is not None:
        parts = serving.tokenizer.split("/")
        if serving.backend == "repository" or {"", ".", ".."} & set(parts):
            return f"tokenizer: {serving.tokenizer!r} is not a sub-folder of the artefact"
    if serving.chat_template is not None:
        # Jinja is loaded for those who use it alone: most versions have no template.
        from rlhf_operator.api import chat_template

        found = chat_template.problem(serving.chat_template)
        return f"chatTemplate: {found}" if found else None
    return None


def value(text: str) -> str | int | float | bool:
    """Return an engine argument as what it reads like: number, true, false or text."""
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        number: int | float = json.loads(text)
        return number
    return text


def _argument_problem(backend: str, name: str, text: str) -> str | None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        return "not the name of an argument"
    match backend:
        case "huggingface":
            wanted = HUGGINGFACE_ARGS.get(name)
            if wanted is None:
                return f"unknown; known are {', '.join(HUGGINGFACE_ARGS)}"
            if isinstance(wanted, tuple) and text not in wanted:
                return f"{text!r} is none of {', '.join(wanted)}"
            if wanted is int and not re.fullmatch(r"[1-9][0-9]{0,6}", text):
                return f"{text!r} is not a whole number above 0"
        case "vllm":
            if name in VLLM_CLOSED:
                return "set by the operator, or closed because it could load code"
            if re.search(r"[/\\:]", text):
                return "paths and addresses are not accepted"
        case "tensorrtllm":
            if name not in tensorrt.ARGS:
                return f"unknown; known are {', '.join(tensorrt.ARGS)}"
            if not re.fullmatch(r"[A-Za-z0-9_.,-]+", text):
                return f"{text!r} is not a plain word or number"
        case _:
            return "a ready repository is served as it is"
    return None


def _huggingface(serving: VersionServing) -> dict[str, str]:
    arguments = {name: value(text) for name, text in sorted(serving.engine_args.items())}
    instances = arguments.pop("instances", 1)
    stream = arguments.pop("stream", False)
    settings = {
        "model": ARTIFACT,
        "tokenizer": _tokenizer(serving),
        **arguments,
    }
    delay = parse_duration(serving.batching.max_queue_delay)
    kind = "KIND_GPU" if serving.gpu.count else "KIND_CPU"
    inputs = [
        pbtxt.tensor("text_input", "STRING", 1),
        pbtxt.tensor("max_tokens", "INT32", 1, optional=True),
        pbtxt.tensor("temperature", "FP32", 1, optional=True),
        pbtxt.tensor("seed", "INT64", 1, optional=True),
    ]
    if stream:
        inputs.append(pbtxt.tensor("stream", "BOOL", 1, optional=True))
    config: Fields = {
        "name": MODEL,
        "backend": "huggingface",
        "max_batch_size": serving.batching.max_batch_size,
        **({"model_transaction_policy": {"decoupled": True}} if stream else {}),
        "input": inputs,
        "output": [
            pbtxt.tensor("text_output", "STRING", 1),
            pbtxt.tensor("token_ids", "INT64", -1),
            pbtxt.tensor("token_logprobs", "FP32", -1),
            pbtxt.tensor("input_tokens", "INT32", 1),
        ],
        "dynamic_batching": {"max_queue_delay_microseconds": int(delay.total_seconds() * 1e6)},
        "instance_group": [{"count": instances, "kind": pbtxt.Word(kind)}],
        "model_warmup": [_warm_up()],
    }
    return {
        f"{MODEL}/config.pbtxt": pbtxt.render(config),
        f"{MODEL}/{_SETTINGS}": _json(settings),
    }


def _warm_up() -> Fields:
    """Return one short answer to an empty prompt, so that the first user does not wait."""
    empty = {"data_type": pbtxt.Word("TYPE_STRING"), "dims": [1], "zero_data": True}
    return {
        "name": "first-answer",
        "batch_size": 1,
        "inputs": {"key": "text_input", "value": empty},
    }


def _vllm(serving: VersionServing, image: str) -> dict[str, str]:
    arguments = {name: value(text) for name, text in sorted(serving.engine_args.items())}
    spread = {"tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"}
    if serving.gpu.count > 1 and not spread & arguments.keys():
        arguments["tensor_parallel_size"] = serving.gpu.count
    settings = {
        "model": ARTIFACT,
        "tokenizer": _tokenizer(serving),
        # Weights of any other form could carry code.
        "load_format": "safetensors",
        "trust_remote_code": False,
        "disable_log_stats": False,
        **arguments,
    }
    # vLLM forms batches by itself and answers when it likes: no batching and decoupled. Its
    # backend adds inputs and outputs to this configuration.
    config: Fields = {
        "name": MODEL,
        "backend": "vllm",
        "max_batch_size": 0,
        "model_transaction_policy": {"decoupled": True},
        "instance_group": [{"count": 1, "kind": pbtxt.Word("KIND_MODEL")}],
        "parameters": {
            "key": "REPORT_CUSTOM_METRICS",
            "value": {"string_value": "yes" if _wants_yes(image) else "true"},
        },
    }
    return {
        f"{MODEL}/config.pbtxt": pbtxt.render(config),
        f"{MODEL}/{_SETTINGS}": _json(settings),
    }


def _wants_yes(image: str) -> bool:
    """Return whether vLLM's backend in this image reports metrics only for `yes`.

    Source: the backend's `src/model.py` on the branches r24.08 to r24.11, which compares with
    `yes`; since r24.12 it compares with `true` in any case. No text is taken by both.
    """
    tag = _RELEASE.search(image.partition("@")[0])
    return tag is not None and _FIRST_WITH_METRICS <= tag.groups() < _FIRST_WITH_TRUE


def _tokenizer(serving: VersionServing) -> str:
    return f"{ARTIFACT}/{serving.tokenizer}" if serving.tokenizer else ARTIFACT


def _json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"

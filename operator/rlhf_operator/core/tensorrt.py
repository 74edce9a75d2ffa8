"""The Triton model repository of a TensorRT-LLM engine: four models, one of them an ensemble.

After the `inflight_batcher_llm` templates of the TensorRT-LLM backend of Triton 24.10, with the
inputs and outputs that text generation needs. The two models around the engine run `model.py`
files that ship with the backend's image; the pod puts them beside these configurations.
"""

from __future__ import annotations

from collections.abc import Mapping

from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.version import VersionServing
from rlhf_operator.core import pbtxt
from rlhf_operator.core.pbtxt import Fields, Word

WITH_CODE = ("postprocessing", "preprocessing")
"""The models whose `model.py` comes from the image."""
CODE = "/app/all_models/inflight_batcher_llm"
"""Where the image keeps it."""

ARGS = (
    "batch_scheduler_policy",
    "cancellation_check_period_ms",
    "decoding_mode",
    "enable_chunked_context",
    "enable_context_fmha_fp32_acc",
    "enable_kv_cache_reuse",
    "gpu_device_ids",
    "gpu_weights_percent",
    "kv_cache_free_gpu_mem_fraction",
    "kv_cache_host_memory_bytes",
    "max_attention_window_size",
    "max_beam_width",
    "max_tokens_in_paged_kv_cache",
    "multi_block_mode",
    "normalize_log_probs",
    "sink_token_length",
)
"""Engine arguments that become parameters of the backend."""


def render(serving: VersionServing, *, model: str, artifact: str) -> Mapping[str, str]:
    """Return the files by their path in the repository."""
    tokenizer = f"{artifact}/{serving.tokenizer}" if serving.tokenizer else artifact
    batch = serving.batching.max_batch_size
    delay = parse_duration(serving.batching.max_queue_delay)
    models = (
        _ensemble(model, batch),
        _preprocessing(tokenizer, artifact, batch),
        _engine(serving, artifact, int(delay.total_seconds() * 1e6)),
        _postprocessing(tokenizer, batch),
    )
    files = {f"{each['name']}/config.pbtxt": pbtxt.render(each) for each in models}
    # Triton wants a folder for the version even where it holds nothing, and a ConfigMap has no
    # empty folders.
    numbered = (model, "tensorrt_llm")
    return files | {f"{name}/1/README": "Configured by config.pbtxt.\n" for name in numbered}


def _ensemble(model: str, batch: int) -> Fields:
    steps = (
        _step(
            "preprocessing",
            {"QUERY": "text_input", "REQUEST_OUTPUT_LEN": "max_tokens"},
            {
                "INPUT_ID": "_INPUT_ID",
                "REQUEST_INPUT_LEN": "_REQUEST_INPUT_LEN",
                "REQUEST_OUTPUT_LEN": "_REQUEST_OUTPUT_LEN",
                "OUT_END_ID": "_END_ID",
                "OUT_PAD_ID": "_PAD_ID",
            },
        ),
        _step(
            "tensorrt_llm",
            {
                "input_ids": "_INPUT_ID",
                "input_lengths": "_REQUEST_INPUT_LEN",
                "request_output_len": "_REQUEST_OUTPUT_LEN",
                "end_id": "_END_ID",
                "pad_id": "_PAD_ID",
                "temperature": "temperature",
                "random_seed": "seed",
                "return_log_probs": "return_log_probs",
                "streaming": "stream",
            },
            {
                "output_ids": "_TOKENS_BATCH",
                "sequence_length": "_SEQUENCE_LENGTH",
                "cum_log_probs": "cum_log_probs",
                "output_log_probs": "output_log_probs",
            },
        ),
        _step(
            "postprocessing",
            {"TOKENS_BATCH": "_TOKENS_BATCH", "SEQUENCE_LENGTH": "_SEQUENCE_LENGTH"},
            {"OUTPUT": "text_output"},
        ),
    )
    return {
        "name": model,
        "platform": "ensemble",
        "max_batch_size": batch,
        "input": [
            pbtxt.tensor("text_input", "STRING", 1),
            pbtxt.tensor("max_tokens", "INT32", 1),
            pbtxt.tensor("temperature", "FP32", 1, optional=True),
            pbtxt.tensor("seed", "UINT64", 1, optional=True),
            pbtxt.tensor("return_log_probs", "BOOL", 1, optional=True),
            pbtxt.tensor("stream", "BOOL", 1, optional=True),
        ],
        "output": [
            pbtxt.tensor("text_output", "STRING", -1),
            pbtxt.tensor("cum_log_probs", "FP32", -1),
            pbtxt.tensor("output_log_probs", "FP32", -1, -1),
        ],
        "ensemble_scheduling": {"step": steps},
    }


def _step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Fields:
    return {
        "model_name": model,
        "model_version": -1,
        "input_map": [{"key": inner, "value": outer} for inner, outer in inputs.items()],
        "output_map": [{"key": inner, "value": outer} for inner, outer in outputs.items()],
    }


def _preprocessing(tokenizer: str, engine: str, batch: int) -> Fields:
    return {
        "name": "preprocessing",
        "backend": "python",
        "max_batch_size": batch,
        "input": [
            pbtxt.tensor("QUERY", "STRING", 1),
            pbtxt.tensor("DECODER_QUERY", "STRING", 1, optional=True),
            pbtxt.tensor("REQUEST_OUTPUT_LEN", "INT32", 1),
            pbtxt.tensor("BAD_WORDS_DICT", "STRING", -1, optional=True),
            pbtxt.tensor("STOP_WORDS_DICT", "STRING", -1, optional=True),
            pbtxt.tensor("EMBEDDING_BIAS_WORDS", "STRING", -1, optional=True),
            pbtxt.tensor("EMBEDDING_BIAS_WEIGHTS", "FP32", -1, optional=True),
            pbtxt.tensor("END_ID", "INT32", 1, optional=True),
            pbtxt.tensor("PAD_ID", "INT32", 1, optional=True),
            pbtxt.tensor("PROMPT_TABLE_EXTRA_ID", "UINT64", 1, optional=True),
        ],
        "output": [
            pbtxt.tensor("INPUT_ID", "INT32", -1),
            pbtxt.tensor("REQUEST_INPUT_LEN", "INT32", 1),
            pbtxt.tensor("DECODER_INPUT_ID", "INT32", -1),
            pbtxt.tensor("REQUEST_DECODER_INPUT_LEN", "INT32", 1),
            pbtxt.tensor("BAD_WORDS_IDS", "INT32", 2, -1),
            pbtxt.tensor("STOP_WORDS_IDS", "INT32", 2, -1),
            pbtxt.tensor("EMBEDDING_BIAS", "FP32", -1),
            pbtxt.tensor("REQUEST_OUTPUT_LEN", "INT32", -1),
            pbtxt.tensor("OUT_END_ID", "INT32", 1),
            pbtxt.tensor("OUT_PAD_ID", "INT32", 1),
            pbtxt.tensor("OUT_PROMPT_TABLE_EXTRA_IDS", "UINT64", -1),
        ],
        "parameters": _parameters(
            {
                "tokenizer_dir": tokenizer,
                "add_special_tokens": "true",
                "gpt_model_path": engine,
            }
        ),
        "instance_group": [{"count": 1, "kind": Word("KIND_CPU")}],
    }


def _engine(serving: VersionServing, engine: str, delay_microseconds: int) -> Fields:
    def single(name: str, kind: str, *, optional: bool = True) -> Fields:
        # The backend reads one value, not a list of one.
        return {**pbtxt.tensor(name, kind, 1, optional=optional), "reshape": {"shape": ()}}

    batch = serving.batching.max_batch_size
    parameters = {
        "gpt_model_type": "inflight_fused_batching",
        "gpt_model_path": engine,
        "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
        "executor_worker_path": "/opt/tritonserver/backends/tensorrtllm/trtllmExecutorWorker",
        # The guard judges answers, and a repeated prompt is no answer.
        "exclude_input_in_output": "true",
        **dict(sorted(serving.engine_args.items())),
    }
    return {
        "name": "tensorrt_llm",
        "backend": "tensorrtllm",
        "max_batch_size": batch,
        "model_transaction_policy": {"decoupled": False},
        "dynamic_batching": {
            "preferred_batch_size": [batch],
            "max_queue_delay_microseconds": delay_microseconds,
        },
        "input": [
            {**pbtxt.tensor("input_ids", "INT32", -1), "allow_ragged_batch": True},
            single("input_lengths", "INT32", optional=False),
            single("request_output_len", "INT32", optional=False),
            single("end_id", "INT32"),
            single("pad_id", "INT32"),
            single("temperature", "FP32"),
            single("random_seed", "UINT64"),
            single("return_log_probs", "BOOL"),
            single("stop", "BOOL"),
            single("streaming", "BOOL"),
        ],
        "output": [
            pbtxt.tensor("output_ids", "INT32", -1, -1),
            pbtxt.tensor("sequence_length", "INT32", -1),
            pbtxt.tensor("cum_log_probs", "FP32", -1),
            pbtxt.tensor("output_log_probs", "FP32", -1, -1),
        ],
        # The backend places itself on the GPUs.
        "instance_group": [{"count": 1, "kind": Word("KIND_CPU")}],
        "parameters": _parameters(parameters),
    }


def _postprocessing(tokenizer: str, batch: int) -> Fields:
    return {
        "name": "postprocessing",
        "backend": "python",
        "max_batch_size": batch,
        "dynamic_batching": {},
        "input": [
            pbtxt.tensor("TOKENS_BATCH", "INT32", -1, -1),
            pbtxt.tensor("SEQUENCE_LENGTH", "INT32", -1),
        ],
        "output": [pbtxt.tensor("OUTPUT", "STRING", -1)],
        "parameters": _parameters({"tokenizer_dir": tokenizer, "skip_special_tokens": "true"}),
        "instance_group": [{"count": 1, "kind": Word("KIND_CPU")}],
    }


def _parameters(values: Mapping[str, str]) -> tuple[Fields, ...]:
    return tuple({"key": name, "value": {"string_value": text}} for name, text in values.items())

"""The generated Triton repositories, against golden files that follow the backends' docs."""

import json

import pytest

from rlhf_operator.api.version import VersionServing
from rlhf_operator.core import pbtxt, repository
from tests.golden import files

CASES = {
    "huggingface-cpu": {
        "gpu": {"count": 0},
        "batching": {"maxBatchSize": 16, "maxQueueDelay": "5ms"},
        "engineArgs": {"dtype": "float32", "instances": "2"},
    },
    "huggingface-gpu": {"gpu": {"count": 2}, "tokenizer": "tokenizer"},
    "huggingface-stream": {"gpu": {"count": 0}, "engineArgs": {"stream": "true"}},
    "vllm": {
        "backend": "vllm",
        "gpu": {"count": 2},
        "engineArgs": {"max_model_len": "4096", "quantization": "awq", "enforce_eager": "true"},
    },
    "tensorrtllm": {
        "backend": "tensorrtllm",
        "batching": {"maxBatchSize": 32},
        "engineArgs": {"kv_cache_free_gpu_mem_fraction": "0.9"},
    },
}


@pytest.mark.parametrize("name", CASES)
def test_the_repository_is_as_in_the_golden_files(name):
    serving = VersionServing.model_validate(CASES[name])
    files.compare_folder(f"repository/{name}", dict(repository.render(serving)))


def test_the_repository_of_an_old_vllm_is_as_in_the_golden_files():
    serving = VersionServing.model_validate(CASES["vllm"])
    made = repository.render(serving, "nvcr.io/nvidia/tritonserver:24.10-vllm-python-py3")
    files.compare_folder("repository/vllm-24.10", dict(made))


@pytest.mark.parametrize(
    ("image", "word"),
    [
        pytest.param("nvcr.io/nvidia/tritonserver:24.08-vllm-python-py3", "yes", id="the first"),
        pytest.param("registry:5000/triton:24.11", "yes", id="the last that wants yes"),
        pytest.param("registry:5000/triton:24.11@sha256:0", "yes", id="with a digest beside it"),
        pytest.param("nvcr.io/nvidia/tritonserver:24.12-vllm-python-py3", "true", id="the next"),
        pytest.param("nvcr.io/nvidia/tritonserver:25.06-vllm-python-py3", "true", id="a new one"),
        pytest.param("nvcr.io/nvidia/tritonserver:24.101", "true", id="a tag of another kind"),
        pytest.param("registry:24.10/triton", "true", id="a port is no tag"),
        pytest.param("triton@sha256:24.10", "true", id="a digest is no tag"),
    ],
)
def test_vllm_is_asked_for_metrics_in_the_word_of_its_release(image, word):
    made = repository.render(VersionServing(backend="vllm"), image)["model/config.pbtxt"]
    assert f'key: "REPORT_CUSTOM_METRICS"\n  value {{\n    string_value: "{word}"' in made


def test_a_ready_repository_is_left_alone():
    assert repository.render(VersionServing(backend="repository")) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("4096", 4096, id="a whole number is a number"),
        pytest.param("0.9", 0.9, id="a fraction is a number"),
        pytest.param("true", True, id="true is true"),
        pytest.param("awq", "awq", id="a word is text"),
        pytest.param("007", "007", id="leading zeros are text"),
        pytest.param("NaN", "NaN", id="NaN is text"),
    ],
)
def test_an_engine_argument_is_read_as_what_it_looks_like(text, value):
    found = repository.value(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param({"engineArgs": {"dtype": "bfloat16"}}, None, id="a known argument passes"),
        pytest.param({"engineArgs": {"dype": "auto"}}, "engineArgs.dype: unknown", id="a typo"),
        pytest.param({"engineArgs": {"dtype": "int3"}}, "is none of", id="an unknown word"),
        pytest.param({"engineArgs": {"threads": "0"}}, "not a whole number", id="no threads"),
        pytest.param({"engineArgs": {"stream": "yes"}}, "is none of true, false", id="yes or no"),
        pytest.param(
            {"backend": "vllm", "engineArgs": {"trust_remote_code": "true"}},
            "engineArgs.trust_remote_code: set by the operator",
            id="code of the artefact is not trusted",
        ),
        pytest.param(
            {"backend": "vllm", "engineArgs": {"load_format": "pt"}},
            "set by the operator",
            id="weights that could carry code are not loaded",
        ),
        pytest.param(
            {"backend": "vllm", "engineArgs": {"some_plugin": "/tmp/x.py"}},
            "paths and addresses",
            id="no argument names a file",
        ),
        pytest.param(
            {"backend": "vllm", "engineArgs": {"max_model_len": "4096"}}, None, id="vLLM's own pass"
        ),
        pytest.param(
            {"backend": "vllm", "engineArgs": {"--x": "1"}}, "not the name", id="not a name"
        ),
        pytest.param(
            {"backend": "tensorrtllm", "engineArgs": {"gpt_model_path": "x"}},
            "unknown",
            id="TensorRT-LLM's paths are ours",
        ),
        pytest.param(
            {"backend": "repository", "engineArgs": {"a": "1"}},
            "served as it is",
            id="a ready repository takes no arguments",
        ),
        pytest.param({"tokenizer": "../../etc"}, "not a sub-folder", id="the tokenizer climbs out"),
        pytest.param({"tokenizer": "/etc"}, "not a sub-folder", id="the tokenizer is elsewhere"),
        pytest.param({"tokenizer": "a/b"}, None, id="the tokenizer is in a sub-folder"),
    ],
)
def test_what_the_backend_would_not_understand_is_refused(given, sentence):
    found = repository.problem(VersionServing.model_validate(given))
    assert found is None if sentence is None else sentence in (found or "")


def test_our_backend_reads_its_settings_as_json():
    serving = VersionServing.model_validate(CASES["huggingface-cpu"])
    settings = json.loads(repository.render(serving)["model/1/model.json"])
    assert settings == {"model": "/artifact", "tokenizer": "/artifact", "dtype": "float32"}


@pytest.mark.parametrize("args", [{}, {"stream": "false"}])
def test_who_does_not_stream_keeps_one_response_for_each_request(args):
    serving = VersionServing.model_validate({"engineArgs": args})
    config = repository.render(serving)["model/config.pbtxt"]
    assert "decoupled" not in config
    assert "BOOL" not in config


def test_text_is_escaped():
    assert pbtxt.render({"a": 'x"y\\z\n'}) == 'a: "x\\"y\\\\z\\n"\n'

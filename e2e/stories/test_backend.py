"""Our own Triton backend: real checkpoints, text in, text and log-probabilities out."""

from __future__ import annotations

import json
import site
import subprocess
import urllib.request
from typing import Any

import numpy
import pytest
from tritonclient.http import InferenceServerClient, InferInput

from e2e.checkpoints import maker
from e2e.cluster import images, settings
from e2e.cluster.base_system import buildah
from e2e.cluster.commands import run
from e2e.cluster.endpoints import CURRENT
from e2e.harness import artifacts, objects
from e2e.stories.world import MODEL, Story


def test_a_real_checkpoint_answers_with_text_and_log_probabilities(story: Story) -> None:
    published = artifacts.publish(story.kubectl, maker.make()["sft"], "checkpoint-sft")
    story.kubectl.apply(objects.version("sft", published, model=MODEL, stage="SFT"))
    story.a_policy()
    story.a_model("sft", guard={})

    said = _post(story, "/v1/completions", {"prompt": "User: Hello\nAssistant:", "max_tokens": 12})
    assert said["choices"][0]["text"].strip()
    assert said["usage"]["completion_tokens"] > 0
    answer = _post(
        story, "/v2/models/model/generate", {"text_input": "User: Hello\nAssistant:",
                                              "max_tokens": 12}
    )  # fmt: skip
    assert answer["text_output"] == said["choices"][0]["text"]
    assert len(answer["token_logprobs"]) == len(answer["token_ids"]) > 0
    assert all(each <= 0 for each in answer["token_logprobs"])
    assert _tritons_own_client(story, "User: Hello\nAssistant:") == said["choices"][0]["text"]
    version = story.kubectl.get("rlhfmodelversion", "sft")
    assert version is not None
    assert version["status"]["digestVerified"]
    story.nobody_was_turned_away()


def _tritons_own_client(story: Story, prompt: str) -> str:
    """Return what NVIDIA's client gets from the guard, in the protocol's binary form."""
    client = InferenceServerClient(story.endpoints.gateway_url.removeprefix("http://"))
    headers = {"Host": story.host}
    try:
        assert client.is_model_ready("model", headers=headers)
        asked = InferInput("text_input", [1, 1], "BYTES")
        asked.set_data_from_numpy(numpy.array([[prompt.encode()]], dtype=object))
        most = InferInput("max_tokens", [1, 1], "INT32")
        most.set_data_from_numpy(numpy.array([[12]], dtype=numpy.int32))
        warmth = InferInput("temperature", [1, 1], "FP32")
        warmth.set_data_from_numpy(numpy.array([[0.0]], dtype=numpy.float32))
        answer = client.infer("model", [asked, most, warmth], headers=headers)
        text: bytes = answer.as_numpy("text_output").reshape(-1)[0]
        return text.decode()
    finally:
        client.close()


def _post(story: Story, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        story.endpoints.gateway_url + path,
        data=json.dumps({**body, "temperature": 0}).encode(),
        headers={"Host": story.host, "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as reply:
        found: dict[str, Any] = json.load(reply)
    return found


@pytest.mark.skipif(
    CURRENT, reason="builds an image on this machine, and CLUSTER=current changes nothing here"
)
@pytest.mark.timeout(300)
def test_generation_in_the_image_that_has_torch() -> None:
    """Batches answer as each alone, log-probabilities are the model's own, samples follow them."""
    (image,) = images.build(["base"])
    container = run([*buildah(), "from", "--pull=never", image]).strip()
    packages = site.getsitepackages()[0]
    # fmt: off
    command = [
        *buildah(), "run", "--isolation=chroot", "--workingdir=/src",
        "--env=PYTHONPATH=/src/operator:/late", "--env=PYTHONDONTWRITEBYTECODE=1",
        f"--volume={settings.REPOSITORY}:/src:ro", f"--volume={packages}:/late/packages:ro",
        container, "--", "python", "-c", _RUN,
    ]
    # fmt: on
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        run([*buildah(), "rm", container])
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


# Our own pytest comes last on the path: torch and what it brings must be the image's.
_RUN = """
import sys
sys.path.append("/late/packages")
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir=/tmp",
                      "--import-mode=importlib", "e2e/backend/generation_tests.py"]))
"""

"""The artefact check: what is served, and what is refused before any server starts."""

import hashlib
import json
import os
import pickle
import struct

import pytest

from rlhf_operator.serving import __main__ as program
from rlhf_operator.serving import artifact
from tests.serving import checkpoint
from tests.serving.checkpoint import HEADER, safetensors

OCI = "oci://registry.example/models/support"
PVC = "pvc://models/support"


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "termination-log"
    file.touch()
    return file


def verify(folder, log, *, uri=OCI, digest="sha256:" + "0" * 64, content="safetensors"):
    code = program.main(
        [
            "fetch-and-verify",
            f"--uri={uri}",
            f"--digest={digest}",
            f"--folder={folder}",
            f"--content={content}",
            f"--termination-log={log}",
        ]
    )
    return code, json.loads(log.read_text())


def test_a_whole_checkpoint_is_verified(tmp_path, log):
    folder = checkpoint.make(tmp_path / "a")
    digest = artifact.digest(folder)
    assert verify(folder, log, uri=PVC, digest=digest) == (
        0,
        {"reason": "Verified", "digest": digest},
    )


def test_the_digest_is_over_sorted_lines(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").write_bytes(b"two")
    (tmp_path / "a.txt").write_bytes(b"one")
    lines = sorted(
        f"{hashlib.sha256(content).hexdigest()} {len(content)} {name}\n"
        for name, content in {"a.txt": b"one", "b/x.txt": b"two"}.items()
    )
    assert (
        artifact.digest(tmp_path) == "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()
    )


def test_the_digest_command_prints_it(tmp_path, capsys):
    folder = checkpoint.make(tmp_path / "a")
    assert program.main(["digest", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == artifact.digest(folder)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: (f / "config.json").write_bytes(b"[]"), id="an altered byte"),
        pytest.param(lambda f: (f / "LICENSE").unlink(), id="a missing file"),
        pytest.param(lambda f: (f / "extra.txt").touch(), id="one file more"),
        pytest.param(lambda f: (f / "LICENSE").rename(f / "NOTICE"), id="another name"),
    ],
)
def test_any_change_is_a_mismatch(tmp_path, log, change):
    folder = checkpoint.make(tmp_path / "a")
    digest = artifact.digest(folder)
    change(folder)
    code, said = verify(folder, log, uri=PVC, digest=digest)
    assert (code, said["reason"]) == (1, "ArtifactMismatch")
    assert digest in said["message"]


PICKLED = pickle.dumps({"weight": [1.0]})


@pytest.mark.parametrize(
    "name",
    [
        *("pytorch_model.bin", "model.pt", "model.pth", "a/model.pkl", "model.pickle"),
        *("last.ckpt", "model.h5", "model.msgpack", "modeling_x.py", "lib.so", "run.sh"),
        *("model.onnx", "model.plan", "weights.npz", "MODEL.BIN", ".hidden"),
    ],
)
def test_what_may_hold_code_is_refused(tmp_path, log, name):
    folder = checkpoint.make(tmp_path / "a", {name: PICKLED})
    code, said = verify(folder, log)
    assert (code, said["reason"]) == (1, "ArtifactMismatch")
    assert name in said["message"]


def test_code_passes_where_the_operator_allowed_it(tmp_path, log):
    folder = checkpoint.make(tmp_path / "a", {"1/model.py": b"pass"})
    digest = artifact.digest(folder)
    code, said = verify(folder, log, uri=PVC, digest=digest, content="any")
    assert (code, said["reason"]) == (0, "Verified")


def one(**entry):
    return {"weight": {**HEADER["weight"], **entry}}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"", "truncated", id="an empty file"),
        pytest.param(b"\x10\x00", "truncated", id="half a length"),
        pytest.param(PICKLED, "truncated", id="a pickle under another name"),
        pytest.param(safetensors()[:-1], "bytes of tensors", id="the last byte is missing"),
        pytest.param(safetensors() + b"x", "bytes of tensors", id="a byte too many"),
        pytest.param(struct.pack("<Q", 2**63) + b"{}", "truncated", id="an absurd length"),
        pytest.param(safetensors(b"{"), "not JSON", id="a broken header"),
        pytest.param(safetensors(b"[]"), "not a JSON object", id="a header that is a list"),
        pytest.param(safetensors({"w": {}}), "describes no tensors", id="an empty entry"),
        pytest.param(safetensors({"w": 3}), "describes no tensors", id="a number as entry"),
        pytest.param(safetensors(one(dtype="F99")), "describes no tensors", id="unknown type"),
        pytest.param(safetensors(one(shape=[2, -3])), "does not fit", id="a negative shape"),
        pytest.param(safetensors(one(shape=[2, 4])), "does not fit", id="a shape too large"),
        pytest.param(safetensors(one(data_offsets=[8, 32])), "a gap", id="a gap at the start"),
        pytest.param(safetensors(one(data_offsets=[-24, 0])), "does not fit", id="before it"),
        pytest.param(
            safetensors({**HEADER, "more": HEADER["weight"]}), "overlap", id="tensors that overlap"
        ),
    ],
)
def test_a_broken_safetensors_file_is_refused(tmp_path, log, content, sentence):
    folder = checkpoint.make(tmp_path / "a", {"model.safetensors": content})
    code, said = verify(folder, log)
    assert (code, said["reason"]) == (1, "ArtifactMismatch")
    assert sentence in said["message"]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({**HEADER, "__metadata__": {"format": "pt"}}, id="with metadata"),
        pytest.param(
            {**HEADER, "empty": one(shape=[0], data_offsets=[24, 24])["weight"]}, id="empty"
        ),
        pytest.param(
            {
                "b": one(dtype="BF16", shape=[6], data_offsets=[12, 24])["weight"],
                "a": one(dtype="BF16", shape=[6], data_offsets=[0, 12])["weight"],
            },
            id="in another order",
        ),
    ],
)
def test_a_sound_safetensors_file_passes(tmp_path, log, header):
    folder = checkpoint.make(tmp_path / "a", {"model.safetensors": safetensors(header)})
    assert verify(folder, log)[0] == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(lambda f: (f / "model.safetensors").unlink(), "no safetensors", id="weights"),
        pytest.param(lambda f: (f / "config.json").unlink(), "no config.json", id="config"),
        pytest.param(
            lambda f: (f / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'
            ),
            "model-00002-of-00002.safetensors is missing",
            id="a shard",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path, log, change, sentence):
    folder = checkpoint.make(tmp_path / "a")
    change(folder)
    code, said = verify(folder, log)
    assert (code, said["reason"]) == (1, "ArtifactNotFound")
    assert sentence in said["message"]


def test_a_missing_folder_is_not_found(tmp_path, log):
    code, said = verify(tmp_path / "none", log, uri=PVC)
    assert (code, said["reason"]) == (1, "ArtifactNotFound")


def test_a_link_out_of_the_artefact_is_refused(tmp_path, log):
    (tmp_path / "secret.json").write_text("{}")
    folder = checkpoint.make(tmp_path / "a")
    (folder / "leak.json").symlink_to(tmp_path / "secret.json")
    code, said = verify(folder, log)
    assert (code, said["reason"]) == (1, "ArtifactMismatch")


def test_a_link_within_the_artefact_is_a_file(tmp_path, log):
    folder = checkpoint.make(tmp_path / "a")
    (folder / "again.json").symlink_to("config.json")
    assert verify(folder, log)[0] == 0


def test_a_pipe_is_refused_and_not_read(tmp_path, log):
    folder = checkpoint.make(tmp_path / "a")
    os.mkfifo(folder / "pipe.json")
    assert verify(folder, log)[1]["reason"] == "ArtifactMismatch"


def test_an_image_without_the_library_says_so(tmp_path, log, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", absent)
    code, said = verify(tmp_path, log, uri="s3://bucket/prefix")
    assert (code, said["reason"]) == (1, "ArtifactNotFound")
    assert "boto3 is not installed" in said["message"]

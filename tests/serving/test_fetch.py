"""Fetching from a bucket and from the hub, with stand-ins for the two libraries."""

import types
from pathlib import Path

import pytest

from rlhf_operator.serving import fetch
from rlhf_operator.serving.artifact import Unacceptable


class Refused(Exception):  # noqa: N818
    pass


class Bucket:
    """An S3 client that holds some keys."""

    def __init__(self, keys):
        self.keys = keys

    def get_paginator(self, _):
        return self

    def paginate(self, *, Bucket, Prefix):  # noqa: N803
        if Bucket != "bucket":
            raise Refused("NoSuchBucket\nmany more words")
        return [{"Contents": [{"Key": key}]} for key in self.keys if key.startswith(Prefix)] + [{}]

    def download_file(self, bucket, key, target):
        Path(target).write_text(key)


@pytest.fixture
def libraries(monkeypatch):
    def use(**modules):
        monkeypatch.setattr("importlib.import_module", lambda name: modules[name.replace(".", "_")])

    return use


def s3(libraries, *keys):
    libraries(
        boto3=types.SimpleNamespace(client=lambda _: Bucket(keys)),
        botocore_exceptions=types.SimpleNamespace(BotoCoreError=Refused, ClientError=Refused),
    )


def test_a_prefix_is_copied_with_its_folders(libraries, tmp_path):
    s3(libraries, "v7/config.json", "v7/a/b.txt", "v7/", "v70/other")
    fetch.fetch("s3://bucket/v7", tmp_path, weights_only=True)
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"config.json", "a/b.txt"}


def test_a_key_cannot_climb_out(libraries, tmp_path):
    s3(libraries, "v7/../../etc/passwd")
    with pytest.raises(Unacceptable, match="no path"):
        fetch.fetch("s3://bucket/v7", tmp_path, weights_only=True)


def test_a_refusal_is_told_in_one_line(libraries, tmp_path):
    s3(libraries)
    with pytest.raises(Unacceptable, match=r"^other/v7 could not be fetched: NoSuchBucket$"):
        fetch.fetch("s3://other/v7", tmp_path, weights_only=True)


@pytest.mark.parametrize("weights_only", [True, False])
def test_the_hub_is_asked_for_one_commit(libraries, tmp_path, weights_only):
    asked = {}

    def download(repository, **options):
        asked.update(options, repository=repository)
        (options["local_dir"] / ".cache").mkdir()

    libraries(
        huggingface_hub=types.SimpleNamespace(
            snapshot_download=download, errors=types.SimpleNamespace(HfHubHTTPError=Refused)
        ),
        httpx2=types.SimpleNamespace(HTTPError=Refused),
    )
    fetch.fetch("hf://owner/name@" + "c" * 40, tmp_path, weights_only=weights_only)
    assert (asked["repository"], asked["revision"]) == ("owner/name", "c" * 40)
    assert ("*.safetensors" in (asked["allow_patterns"] or ())) == weights_only
    assert not list(tmp_path.iterdir())

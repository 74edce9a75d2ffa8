"""Copies an artefact of the Hugging Face hub or of an S3 bucket into a folder.

Credentials come from the environment, by the names that the two libraries read.
"""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from rlhf_operator.api.reasons import Reason
from rlhf_operator.serving.artifact import DATA_SUFFIXES, Unacceptable


def fetch(uri: str, folder: Path, *, weights_only: bool) -> None:
    """Copy the files of an `hf://` or `s3://` address."""
    scheme, _, rest = uri.partition("://")
    try:
        if scheme == "hf":
            _from_hub(rest, folder, weights_only=weights_only)
        else:
            _from_bucket(rest, folder)
    except ImportError as error:
        message = f"this image cannot fetch {scheme}:// artefacts: {error.name} is not installed"
        raise Unacceptable(Reason.ARTIFACT_NOT_FOUND, message) from error


def _from_hub(address: str, folder: Path, *, weights_only: bool) -> None:
    hub: Any = importlib.import_module("huggingface_hub")
    client: Any = importlib.import_module("httpx2")  # what huggingface_hub itself speaks with
    repository, _, commit = address.partition("@")
    # A repository often holds the same weights in several forms; the digest is over what is
    # fetched.
    wanted = [f"*{suffix}" for suffix in DATA_SUFFIXES] if weights_only else None
    try:
        hub.snapshot_download(repository, revision=commit, local_dir=folder, allow_patterns=wanted)
    except (hub.errors.HfHubHTTPError, client.HTTPError, OSError, ValueError) as error:
        raise _not_fetched(address, error) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _from_bucket(address: str, folder: Path) -> None:
    boto3: Any = importlib.import_module("boto3")
    exceptions: Any = importlib.import_module("botocore.exceptions")
    bucket, _, prefix = address.partition("/")
    prefix = f"{prefix.strip('/')}/" if prefix else ""
    try:
        client = boto3.client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for item in (item for page in pages for item in page.get("Contents", ())):
            name = item["Key"].removeprefix(prefix)
            if not name or name.endswith("/"):
                continue
            target = folder / _inside(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, item["Key"], str(target))
    except (exceptions.BotoCoreError, exceptions.ClientError, OSError) as error:
        raise _not_fetched(address, error) from error


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        message = f"the bucket has a key that is no path: {name!r}"
        raise Unacceptable(Reason.ARTIFACT_MISMATCH, message)
    return path


def _not_fetched(address: str, error: Exception) -> Unacceptable:
    # The first line: what follows may be pages of advice.
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    return Unacceptable(Reason.ARTIFACT_NOT_FOUND, f"{address} could not be fetched: {first}")

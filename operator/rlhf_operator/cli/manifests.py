"""Reads manifests: YAML or JSON, one object or many, from files, folders or the standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from rlhf_operator.api.schema import API_VERSION
from rlhf_operator.cli import clock, cluster, state

_YAML = (".yaml", ".yml", ".json")


def documents(names: Iterable[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield each file with its YAML documents; `-` is the standard input, a folder its files."""
    for name in names:
        path = Path(name)
        inside = sorted(each for each in path.rglob("*") if each.suffix in _YAML)
        for each in inside if path.is_dir() else [path]:
            shown = "standard input" if name == "-" else str(each)
            try:
                text = sys.stdin.read() if name == "-" else each.read_text(encoding="utf-8")
                found = [part for part in yaml.safe_load_all(text) if part is not None]
            except OSError as error:
                raise cluster.Problem(f"{shown} cannot be read: {error.strerror}") from error
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                said = " ".join(str(error).split())
                raise cluster.Problem(f"{shown} is no YAML: {said}") from error
            yield shown, [item for part in found for item in _items(part)]


def _items(part: Any) -> list[Any]:
    """Return the objects of a `List`, or the one object."""
    if isinstance(part, dict) and part.get("kind") == "List":
        return list(part.get("items") or [])
    return [part]


def readable(objects: Iterable[Any]) -> state.State:
    """Return the picture of those objects that are ours; what the types refuse is named in it."""
    return state.read((each for each in objects if is_ours(each)), clock.now())


def is_ours(raw: Any) -> bool:
    """Return whether this is an object of one of our kinds, well formed or not."""
    return (
        isinstance(raw, dict)
        and raw.get("apiVersion") == API_VERSION
        and isinstance(raw.get("kind"), str)
        and isinstance(raw.get("metadata"), dict)
    )

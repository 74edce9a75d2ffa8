"""Pools: the nodes for whose devices rollouts wait together, by what their pods ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from rlhf_operator.api.version import Gpu

CPU = "cpu"
"""The pool of all that ask for no device."""
_LONGEST = 253


def pool(asked: Iterable[Gpu], selector: Mapping[str, str]) -> str:
    """Return the pool of pods that ask for these devices on nodes with these labels.

    That is the resource with the labels, as `nvidia.com/gpu on gpu=a100`; where it would be too
    long to be on record, it ends in a digest.
    """
    resource = next((gpu.resource for gpu in asked if gpu.count > 0), None)
    if resource is None:
        return CPU
    labels = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    name = f"{resource} on {labels}" if labels else resource
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST - 17]}-{digest}"

"""Which rollouts wait for the same nodes."""

from __future__ import annotations

import pytest

from rlhf_operator.api.version import Gpu
from rlhf_operator.core.pools import pool

NONE, ONE, TPU = Gpu(count=0), Gpu(count=1), Gpu(count=4, resource="google.com/tpu")


@pytest.mark.parametrize(
    ("asked", "selector", "wanted"),
    [
        pytest.param((NONE,), {}, "cpu", id="no device at all"),
        pytest.param((), {"gpu": "a100"}, "cpu", id="whatever nodes it wants"),
        pytest.param((ONE,), {}, "nvidia.com/gpu", id="a device"),
        pytest.param((TPU,), {}, "google.com/tpu", id="another device"),
        pytest.param((NONE, ONE), {}, "nvidia.com/gpu", id="of a test, the first that asks"),
        pytest.param((ONE,), {"zone": "b", "gpu": "a100"}, "nvidia.com/gpu on gpu=a100,zone=b",
                     id="with its nodes, in one order"),
    ],
)  # fmt: skip
def test_pods_that_ask_for_the_same_are_of_one_pool(
    asked: tuple[Gpu, ...], selector: dict[str, str], wanted: str
) -> None:
    assert pool(asked, selector) == wanted


def test_long_ones_fit_on_record_and_stay_apart() -> None:
    found = [pool((ONE,), {f"{'k' * 200}{end}": "v" * 63}) for end in "ab"]
    assert len(set(found)) == 2 and all(len(each) <= 253 for each in found)

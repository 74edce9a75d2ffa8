"""Whose kinds the end-to-end tests install on a cluster that is not theirs."""

from __future__ import annotations

import pytest

from e2e.harness.errors import HarnessError
from e2e.harness.install import Release, brings_kinds
from e2e.harness.kubectl import Object
from rlhf_operator.api.kinds import KINDS

OURS = Release(namespace="rlhf-e2e-system", name="rlhf-e2e-system")


def kinds(by: Release | None, count: int = len(KINDS)) -> list[Object]:
    said = {}
    if by is not None:
        said = {"meta.helm.sh/release-name": by.name,
                "meta.helm.sh/release-namespace": by.namespace}  # fmt: skip
    return [{"metadata": {"name": kind.crd_name, "annotations": said}} for kind in KINDS[:count]]


@pytest.mark.parametrize(
    ("stored", "brings"),
    [
        pytest.param([], True, id="they are not there yet"),
        pytest.param(kinds(OURS), True, id="it brought them itself and upgrades them"),
        pytest.param(kinds(OURS, 2), True, id="and adds those that are new"),
        pytest.param(kinds(Release()), False, id="the demo brought them, or the cluster's owner"),
        pytest.param(kinds(None), False, id="somebody applied them by hand"),
    ],
)
def test_who_brings_the_kinds(stored: list[Object], brings: bool) -> None:
    assert brings_kinds(stored, OURS) is brings


def test_half_of_anothers_kinds_are_told() -> None:
    with pytest.raises(HarnessError, match=r"not \['rlhfdecisions.rlhf.dev'\]: apply crds/"):
        brings_kinds(kinds(Release(), len(KINDS) - 1), OURS)

"""Watches go to the same API server as everything else."""

from __future__ import annotations

import kopf
import pytest
from kubernetes.aio.client import Configuration

from rlhf_operator.controller import streams

IN_A_POD = kopf.ConnectionInfo(server="https://kubernetes.default.svc", token="t", ca_path="/ca")
AT_HOME = kopf.ConnectionInfo(server="https://127.0.0.1:6443")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `load_incluster_config` leaves it where the environment names an address."""
    chosen = Configuration()
    chosen.host = "https://door:6443"
    monkeypatch.setattr(Configuration, "_default", chosen)
    monkeypatch.setattr(kopf, "login_with_kubeconfig", lambda **_: AT_HOME)


def test_in_a_pod_the_environment_says_where_the_server_is(
    told: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: IN_A_POD)
    found = streams.login()
    assert found is not None
    assert (found.server, found.token, found.ca_path) == ("https://door:6443", "t", "/ca")


def test_outside_a_pod_the_kubeconfig_does(told: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: None)
    assert streams.login() == AT_HOME

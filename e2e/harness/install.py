"""Installs the operator by `helm`, with the images under test and short times."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from e2e.cluster import Endpoints, settings, store
from e2e.cluster.endpoints import CURRENT
from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Kubectl, Object
from rlhf_operator.api.kinds import KINDS
from rlhf_operator.api.schema import GROUP

_CHART = settings.REPOSITORY / "charts" / "rlhf-operator"
# On a cluster of one's own: where the project's images were pushed to.
_IMAGES = os.environ.get("RLHF_IMAGES", "localhost/rlhf-{}:dev")
_HELM = "meta.helm.sh"
_USUAL_SCRAPE_INTERVAL = "30s"

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Release:
    """One installation of the operator."""

    namespace: str = "rlhf-system"
    name: str = "rlhf-operator"
    watch: tuple[str, ...] = ()
    """The namespaces it works in; all when empty."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What is to be different in the chart's `config`."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """What is to be different in the chart's other values."""


def image(name: str) -> str:
    """Return the reference of one of the project's images."""
    return _IMAGES.format(name)


def install(endpoints: Endpoints, release: Release, *, seconds: int = 120) -> None:
    """Install or upgrade the operator and wait until it is ready."""
    options = ["--create-namespace", "--wait", f"--timeout={seconds}s", "--values=-"]
    values = _values(endpoints, release)
    if not CURRENT:
        # The kinds may have been applied by hand before.
        options += ["--take-ownership", "--force-conflicts"]
    elif not brings_kinds(Kubectl.of(endpoints).kinds(GROUP), release):
        values["crds"] = {"enabled": False}
    text = json.dumps(values)
    command = ("upgrade", "--install", release.name, str(_CHART), *options)
    try:
        helm(endpoints, release, *command, text=text)
    except HarnessError as error:
        raise HarnessError(f"{error}\n\n{_pods(endpoints, release)}") from None


def brings_kinds(stored: Sequence[Object], release: Release) -> bool:
    """Return whether a release installs the kinds on a cluster that is not ours.

    It does where they are not there yet, or where it brought them before. Another's stay as
    they are: helm would refuse to have them, and models of theirs may depend on them. Raises
    HarnessError where some of another's are missing.
    """
    found = {each["metadata"]["name"]: _owner(each) for each in stored}
    others = set(found.values()) - {(release.namespace, release.name)}
    missing = sorted({kind.crd_name for kind in KINDS} - found.keys())
    if others and missing:
        raise HarnessError(f"the cluster has kinds of ours, but not {missing}: apply crds/")
    return not others


def _owner(stored: Object) -> tuple[str | None, str | None]:
    """Return namespace and name of the helm release that brought an object, if one did."""
    said = stored["metadata"].get("annotations") or {}
    return said.get(f"{_HELM}/release-namespace"), said.get(f"{_HELM}/release-name")


def uninstall(endpoints: Endpoints, release: Release) -> None:
    """Remove the operator; the kinds and all models stay."""
    helm(endpoints, release, "uninstall", release.name, "--ignore-not-found", "--wait")


def helm(endpoints: Endpoints, release: Release, *arguments: str, text: str = "") -> str:
    """Return what helm prints."""
    where = [f"--kubeconfig={endpoints.kubeconfig}", f"--namespace={release.namespace}"]
    done = subprocess.run(
        [str(endpoints.helm), *where, *arguments],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise HarnessError(f"helm {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def scrape_interval() -> str:
    """Return how often the pods are scraped; on one's own cluster as RLHF_SCRAPE_INTERVAL says."""
    if CURRENT:
        return os.environ.get("RLHF_SCRAPE_INTERVAL", _USUAL_SCRAPE_INTERVAL)
    return settings.SCRAPE_INTERVAL


def _values(endpoints: Endpoints, release: Release) -> Values:
    repository, _, tag = image("operator").rpartition(":")
    source = {"name": "default", "url": endpoints.prometheus_url_in_cluster}
    config: Values = {
        "metricSources": [source],
        "drain": "5s",
        "scrapeInterval": scrape_interval(),
        "logging": {"format": "text"},
    }
    return {
        "image": {"repository": repository, "tag": tag},
        "images": {name: image(name) for name in ("triton", "guard", "artifacts")},
        "watchNamespaces": list(release.watch),
        "podAnnotations": _marked(),
        "config": {**config, **release.config},
        **release.values,
    }


def _pods(endpoints: Endpoints, release: Release) -> str:
    """Return how the operator's pods are, and the end of what they said."""
    kubectl = Kubectl.of(endpoints, release.namespace)
    selector = f"--selector=app.kubernetes.io/instance={release.name}"
    try:
        log = kubectl.run("logs", selector, "--tail=15")
    except HarnessError as error:
        log = str(error)
    return f"{kubectl.run('get', 'pods')}\n{log}\n{kubectl.events()}"


def _marked() -> dict[str, str]:
    """Return an annotation that changes with the image, whose name stays the same."""
    digest = None if CURRENT else store.digest(image("operator"))
    return {"rlhf.dev/image": digest} if digest else {}

"""The chart without a cluster: its values, the copies in it, and what helm makes of it."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from rlhf_operator.controller.config import OperatorConfig

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/rlhf-operator"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SOURCE = {"name": "default", "url": "http://prometheus:9090"}


def find_helm():
    """Return a helm: the one that is asked for, the machine's, or the one built for the tests."""
    cache = Path(os.environ.get("RLHF_CACHE", Path.home() / ".cache/rlhf-operator"))
    built = sorted(cache.glob("bin/helm-*/helm"))
    return os.environ.get("HELM") or shutil.which("helm") or (str(built[-1]) if built else None)


HELM = find_helm()
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not there")


def render(**values):
    """Return the objects that helm makes of the chart with these values."""
    out = subprocess.run(
        [HELM, "template", "ops", str(CHART), "--namespace=rlhf-system", "--values=-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )
    if out.returncode:
        raise ValueError(out.stderr)
    return [each for each in yaml.safe_load_all(out.stdout) if each]


def of_kind(objects, kind):
    return [each for each in objects if each["kind"] == kind]


def changed(path, value):
    values = copy.deepcopy(VALUES)
    *way, last = path.split(".")
    target = values
    for key in way:
        target = target[key]
    target[last] = value
    return values


def test_default_values_fit_their_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


def test_every_value_is_known_to_the_schema_and_the_other_way_round():
    def keys(schema, values, path=""):
        known = schema.get("properties", {})
        if not known or not isinstance(values, dict):
            return
        optional = {"global", "successThreshold", "initialDelaySeconds", "claims"}
        assert set(values) | optional >= set(known), path
        for key in values:
            keys(known[key], values[key], f"{path}.{key}")

    keys(SCHEMA, VALUES)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("replicas", 2, id="an unknown key"),
        pytest.param("config.metricSource", {}, id="an unknown key further in"),
        pytest.param("config.metricSources", [{"name": "default"}], id="a source without url"),
        pytest.param("config.metricSources", [SOURCE | {"token": "x"}], id="a secret in a value"),
        pytest.param("rbac.scope", "cluster", id="an unknown scope"),
        pytest.param("config.drain", "2 minutes", id="a duration in words"),
        pytest.param("routers.nginx", True, id="an unknown router"),
        pytest.param("image.digest", "sha256:abc", id="a digest that is none"),
    ],
)
def test_a_wrong_value_is_refused(path, value):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed(path, value), SCHEMA)


def test_the_chart_carries_the_generated_kinds():
    there = {path.name: path.read_text() for path in (CHART / "files/crds").iterdir()}
    assert there == {path.name: path.read_text() for path in (ROOT / "crds").iterdir()}
    listed = yaml.safe_load(
        yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]["artifacthub.io/crds"]
    )
    assert {f"{each['name'].removesuffix('.rlhf.dev')}.yaml" for each in listed} == set(there)


def test_no_image_names_a_registry():
    values = yaml.safe_dump([VALUES["image"], VALUES["images"]])
    assert not any(mark in values for mark in (".io", ".com", "localhost"))


@needs_helm
def test_helm_finds_nothing_to_complain_about():
    subprocess.run([HELM, "lint", "--strict", str(CHART)], check=True, capture_output=True)


@needs_helm
def test_the_plain_manifests_are_what_the_chart_renders(tmp_path):
    made = tmp_path / "operator.yaml"
    subprocess.run(
        [ROOT / "manifests/render.sh", made], check=True, env=os.environ | {"HELM": HELM}
    )
    assert made.read_text() == (ROOT / "manifests/operator.yaml").read_text(), (
        "run manifests/render.sh"
    )


@needs_helm
def test_the_kinds_survive_the_release():
    kinds = of_kind(render(), "CustomResourceDefinition")
    assert len(kinds) == len(list((ROOT / "crds").iterdir()))
    for kind in kinds:
        assert kind["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        plain = yaml.safe_load((ROOT / f"crds/{kind['spec']['names']['plural']}.yaml").read_text())
        assert kind == plain


@needs_helm
def test_the_configuration_is_a_file_with_every_answer():
    (config,) = of_kind(
        render(
            config={"metricSources": [SOURCE], "mandatoryPolicies": ["house-rules"]},
            image={"registry": "images.example.org"},
            images={"guard": "other/guard:3"},
        ),
        "ConfigMap",
    )
    said = yaml.safe_load(config["data"]["config.yaml"])
    config = OperatorConfig.model_validate(said)
    assert config.settings().metric_sources == {"default"}
    assert said["namespace"] == "rlhf-system"
    assert said["watchNamespaces"] == []
    assert said["metricSources"] == [SOURCE]
    assert said["images"] == {
        "triton": "images.example.org/rlhf-triton:0.1.0",
        "guard": "other/guard:3",
        "artifacts": "images.example.org/rlhf-artifacts:0.1.0",
    }
    unset = {"guardTracing"}  # null takes a key out
    assert set(said) | unset == {
        *VALUES["config"],
        "namespace",
        "watchNamespaces",
        "images",
        "routers",
        "readNodes",
    }


@needs_helm
def test_a_change_of_the_configuration_makes_new_pods():
    def template(**values):
        (deployment,) = of_kind(render(**values), "Deployment")
        return deployment["spec"]["template"]

    assert template() == template()
    assert template() != template(config={"allowCode": True})


@needs_helm
def test_the_pod_is_restricted():
    (deployment,) = of_kind(render(), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@needs_helm
def test_two_operators_without_an_election_are_refused():
    with pytest.raises(ValueError, match="two operators would act at once"):
        render(replicaCount=2, config={"leaderElection": {"enabled": False}})


@needs_helm
def test_everything_can_be_switched_on():
    on = {"enabled": True}
    objects = render(
        podDisruptionBudget=on,
        networkPolicy=on | {"egress": [{}], "metricsFrom": [{"podSelector": {}}]},
        podMonitor=on,
        serviceMonitor=on,
        replicaCount=2,
        priorityClassName="high",
        imagePullSecrets=[{"name": "pull"}],
        crds={"annotations": {"a": "b"}},
        extraObjects=[
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-x"}}
        ],
    )
    kinds = {each["kind"] for each in objects}
    assert kinds >= {"PodDisruptionBudget", "NetworkPolicy", "PodMonitor", "ServiceMonitor"}
    (monitor,) = of_kind(objects, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is False
    assert [each["targetLabel"] for each in endpoint["relabelings"]] == [
        "namespace",
        "rlhf_model",
        "rlhf_version",
    ]
    assert "ops-x" in {each["metadata"]["name"] for each in objects}

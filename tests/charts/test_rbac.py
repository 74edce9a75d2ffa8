"""The operator's rights: as few as it needs, and never those that lead to all others."""

from __future__ import annotations

import re

import pytest
import yaml

from .test_chart import CHART, needs_helm, of_kind, render

FORBIDDEN_VERBS = {"*", "escalate", "bind", "impersonate", "deletecollection", "onbehalf"}
FORBIDDEN_RESOURCES = {
    "*",
    "pods/exec",
    "pods/attach",
    "pods/portforward",
    "pods/ephemeralcontainers",
}


def largest_rules():
    """Return the rules with every switch on, read from the template without helm."""
    text = (CHART / "templates/_rules.tpl").read_text()
    return yaml.safe_load(re.sub(r"\{\{.*?\}\}", "", text))


def bound(objects, suffixes=("", "-own")):
    """Return each role that is bound to the operator, with its rules."""
    names = {f"ops-rlhf-operator{suffix}" for suffix in suffixes}
    return [
        each
        for each in objects
        if each["kind"] in ("ClusterRole", "Role") and each["metadata"]["name"] in names
    ]


def check(rules):
    for rule in rules:
        assert not FORBIDDEN_VERBS & set(rule["verbs"]), rule
        assert not FORBIDDEN_RESOURCES & set(rule["resources"]), rule
        assert "*" not in rule["apiGroups"], rule
        if "secrets" in rule["resources"]:
            assert (rule["resources"], rule["verbs"]) == (["secrets"], ["create"]), rule
        for resource in ("rlhfmodels", "rlhfmodelversions", "alignmentpolicies", "rlhfdecisions"):
            if resource in rule["resources"]:
                assert set(rule["verbs"]) <= {"get", "list", "watch"}, rule


def test_the_largest_rules_stay_within_bounds():
    rules = largest_rules()
    assert len(rules) > 5
    check(rules)


@pytest.mark.parametrize(
    "resource",
    ["deployments", "services", "networkpolicies", "configmaps", "controllerrevisions",
     "rlhfrollouts"],
)  # fmt: skip
def test_what_the_operator_makes_it_may_remove(resource):
    verbs = {
        verb for rule in largest_rules() if resource in rule["resources"] for verb in rule["verbs"]
    }
    assert verbs >= {"get", "create", "delete"}


@needs_helm
@pytest.mark.parametrize("scope", ["Cluster", "Namespaces"])
def test_what_is_bound_stays_within_bounds(scope):
    objects = render(rbac={"scope": scope}, routers={"istio": True})
    roles = bound(objects)
    assert len(roles) == 2
    for role in roles:
        check(role["rules"])


@needs_helm
def test_the_namespaced_operator_has_nothing_cluster_wide():
    objects = render(rbac={"scope": "Namespaces"}, watchNamespaces=["team-a", "team-b"])
    assert not of_kind(objects, "ClusterRoleBinding")
    roles = bound(objects, suffixes=("",))
    assert {role["metadata"]["namespace"] for role in roles} == {"team-a", "team-b"}
    assert not any("nodes" in rule["resources"] for role in roles for rule in role["rules"])


@needs_helm
def test_gpus_are_looked_for_cluster_wide_only_where_that_is_allowed():
    scope = {"scope": "Namespaces", "gpuPreflight": True}
    objects = render(rbac=scope, watchNamespaces=["team-a"])
    (role,) = bound(objects, suffixes=("-gpus",))
    check(role["rules"])
    assert {name: rule["verbs"] for rule in role["rules"] for name in rule["resources"]} == {
        "nodes": ["get", "list", "watch"],
        "pods": ["list"],
    }
    assert [each["roleRef"]["name"] for each in of_kind(objects, "ClusterRoleBinding")] == [
        "ops-rlhf-operator-gpus"
    ]
    assert not bound(render(rbac={"gpuPreflight": True}), suffixes=("-gpus",))


@needs_helm
@pytest.mark.parametrize(("gpus", "reads"), [(True, True), (False, False)])
def test_the_operator_is_told_whether_it_may_read_nodes(gpus, reads):
    objects = render(rbac={"scope": "Namespaces", "gpuPreflight": gpus}, watchNamespaces=["team-a"])
    (config,) = of_kind(objects, "ConfigMap")
    assert yaml.safe_load(config["data"]["config.yaml"])["readNodes"] is reads


@needs_helm
@pytest.mark.parametrize(
    ("router", "resource"),
    [("gatewayAPI", "httproutes"), ("istio", "virtualservices")],
)
def test_a_router_that_is_off_gives_no_rights(router, resource):
    def resources(on):
        objects = render(routers={router: on})
        return {
            name for role in bound(objects) for rule in role["rules"] for name in rule["resources"]
        }

    assert resource in resources(on=True)
    assert resource not in resources(on=False)


@needs_helm
def test_pods_are_only_written_for_the_replica_ratio():
    def verbs(on):
        roles = bound(render(routers={"service": on}))
        return {
            verb
            for role in roles
            for rule in role["rules"]
            if "pods" in rule["resources"]
            for verb in rule["verbs"]
        }

    assert verbs(on=True) == {"get", "list", "watch", "patch"}
    assert verbs(on=False) == {"get", "list", "watch"}


@needs_helm
def test_without_the_signing_key_there_are_no_rights_on_secrets():
    objects = render(rbac={"signingKey": False})
    assert not any(
        "secrets" in rule["resources"] for role in bound(objects) for rule in role["rules"]
    )


@needs_helm
def test_nobody_else_may_write_the_record():
    for role in of_kind(render(), "ClusterRole"):
        if role["metadata"]["name"] == "ops-rlhf-operator":
            continue
        for rule in role["rules"]:
            if "rlhfrollouts" in rule["resources"]:
                assert rule["verbs"] == ["get", "list", "watch"]

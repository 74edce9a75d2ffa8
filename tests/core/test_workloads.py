"""A version as Kubernetes objects: golden manifests, refusals, merging, the pin."""

import copy
import json

import pytest
import yaml

from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.operation import GuardTracing
from rlhf_operator.api.sampling import FLUSH_SECONDS
from rlhf_operator.api.version import VersionSpec
from rlhf_operator.core import names, patches, rendering, workloads
from rlhf_operator.core.guards import Offer
from rlhf_operator.core.observed import Key
from rlhf_operator.core.triton import EXIT_SECONDS
from tests.golden import files

KEY = Key(namespace="shop", name="support")
OWNER = workloads.owner_reference("support", "11111111-2222-3333-4444-555555555555")
DIGEST = "sha256:" + "ab" * 32
DEFAULTS = rendering.ServingDefaults(
    triton_image="example/triton:1",
    guard_image="example/guard:1",
    artifacts_image="example/artifacts:1",
    signing_secret="rlhf-guard",
)
OFFERS = (Offer(name="moderation", url="https://moderation.example/v1"),)
CODE = rendering.ServingDefaults(
    triton_image="example/triton:1",
    guard_image="example/guard:1",
    artifacts_image="example/artifacts:1",
    signing_secret="rlhf-guard",
    allow_code=True,
    guard_providers=OFFERS,
    guard_tracing=GuardTracing(endpoint="http://collector.monitoring:4318"),
)


GUARDED = {
    "stages": [
        {
            "name": "classifier",
            "type": "Model",
            "appliesTo": ["Output"],
            "action": "Block",
            "model": {
                "service": {"name": "checks", "port": 8000},
                "model": "toxic",
                "labels": ["toxic"],
                "categories": [{"category": "toxic", "atLeast": "0.5"}],
            },
        },
        {
            "name": "service",
            "type": "External",
            "appliesTo": ["Input"],
            "action": "Block",
            "external": {
                "provider": "moderation",
                "contract": "OpenAIModeration",
                "credentials": {"secretName": "moderation-token", "key": "token"},
            },
        },
    ],
    "tls": {"secretName": "support-tls"},
    "limits": {"concurrency": 64},
}


def a_model(guard=None, **serving):
    return ModelSpec.model_validate(
        {
            "version": "support-v7",
            "fallback": {"version": "support-sft"},
            "rollout": {
                "strategy": "Canary",
                "surge": serving.pop("surge", "One"),
                "canary": {"steps": [{"weight": 5, "hold": "1m"}]},
            },
            "serving": serving,
            "guard": guard or {},
        }
    )


def a_version(uri="oci://registry.example/models/support", **serving):
    return VersionSpec.model_validate(
        {
            "model": "support",
            "stage": "RLHF",
            "artifact": {"uri": uri, "digest": DIGEST},
            "serving": {"gpu": {"count": 0}, **serving},
        }
    )


def a_rendering(model=None, version=None, defaults=CODE, **more):
    return rendering.render(
        KEY, model or a_model(), "support-v7", version or a_version(), defaults, **more
    )


def container(found, name):
    spec = found.template["spec"]
    return next(c for c in spec["containers"] + spec["initContainers"] if c["name"] == name)


CASES = {
    "huggingface": (a_model(), a_version()),
    "vllm-gpu": (
        a_model(surge="None"),
        a_version("hf://owner/name@" + "c" * 40, backend="vllm", gpu={"count": 2}),
    ),
    "guarded": (a_model(guard=GUARDED), a_version()),
    "tensorrtllm": (a_model(), a_version(backend="tensorrtllm", gpu={"count": 1})),
    "repository": (
        a_model(serviceAccountName="server", credentials={"secretName": "bucket"}),
        a_version("pvc://models/support/v7", backend="repository"),
    ),
    "patched": (
        a_model(
            credentials={"secretName": "bucket"},
            podTemplate={
                "metadata": {"labels": {"team": "a"}},
                "spec": {
                    "tolerations": [{"key": "gpu", "operator": "Exists"}],
                    "volumes": [{"name": "cache", "emptyDir": {}}],
                    "containers": [
                        {
                            "name": "triton",
                            "env": [{"name": "OMP_NUM_THREADS", "value": "4"}],
                            "resources": {"limits": {"memory": "8Gi"}},
                            "volumeMounts": [{"name": "cache", "mountPath": "/mnt/cache"}],
                        }
                    ],
                },
            },
        ),
        a_version("s3://bucket/prefix"),
    ),
}


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


@pytest.mark.parametrize("name", CASES)
def test_the_objects_are_as_in_the_golden_file(name):
    model, version = CASES[name]
    assert rendering.refusal(model, version, CODE) is None
    found = a_rendering(model, version)
    objects = [
        workloads.deployment(OWNER, found, 2, found.revision_name),
        workloads.service(OWNER, found),
        workloads.peers(OWNER, found),
        workloads.config_map(OWNER, found),
        workloads.network_policy(OWNER, found),
    ]
    text = "---\n".join(yaml.dump(each, Dumper=_Plain, sort_keys=False) for each in objects)
    files.compare(f"workloads/{name}.yaml", text)


def patched(spec):
    return {"model": a_model(podTemplate={"spec": spec})}


@pytest.mark.parametrize(
    ("given", "reason", "sentence"),
    [
        pytest.param({}, None, "", id="an ordinary version passes"),
        pytest.param(
            {"version": a_version(backend="tensorrtllm")},
            "CodeNotAllowed",
            "allowCode",
            id="engine",
        ),
        pytest.param(
            {"version": a_version(backend="repository")}, "CodeNotAllowed", "allowCode", id="code"
        ),
        pytest.param(
            {"version": a_version("pvc://claim/../x")}, "SpecInvalid", "plain path", id="dots"
        ),
        pytest.param(
            {"version": a_version(chatTemplate="x")}, "SpecInvalid", "chatTemplate", id="template"
        ),
        pytest.param(
            {"version": a_version(engineArgs={"x": "1"})}, "SpecInvalid", "engineArgs.x", id="args"
        ),
        pytest.param(
            {"model": a_model(podTemplate={"spec": 3})}, "SpecInvalid", "spec", id="not a template"
        ),
        *(
            pytest.param(patched(spec), "SpecInvalid", sentence, id=sentence)
            for spec, sentence in [
                ({"hostNetwork": True}, "spec.hostNetwork may not be set"),
                ({"hostPID": True}, "spec.hostPID may not be set"),
                (
                    {"automountServiceAccountToken": True},
                    "spec.automountServiceAccountToken may not be set",
                ),
                ({"serviceAccountName": "x"}, "spec.serviceAccountName may not be set"),
                (
                    {"securityContext": {"runAsNonRoot": False}},
                    "spec.securityContext.runAsNonRoot may not be set",
                ),
                ({"securityContext": {"runAsUser": 0}}, "runAsUser must not be 0"),
                (
                    {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
                    "spec.volumes: x is of hostPath",
                ),
                (
                    {"volumes": [{"name": "artifact", "emptyDir": {}}]},
                    "a volume needs a name that is not among",
                ),
                (
                    {"containers": [{"name": "triton", "securityContext": {"privileged": True}}]},
                    "securityContext may not be set",
                ),
                (
                    {"containers": [{"name": "guard", "image": "x"}]},
                    "spec.containers.0.image may not be set",
                ),
                (
                    {"containers": [{"name": "guard", "command": ["sh"]}]},
                    "spec.containers.0.command may not be set",
                ),
                (
                    {"containers": [{"name": "sidecar"}]},
                    "spec.containers[sidecar]: only triton, guard can be changed",
                ),
                (
                    {"initContainers": [{"name": "triton"}]},
                    "spec.initContainers[triton]: only artifact can be changed",
                ),
                (
                    {"containers": [{"name": "triton", "env": [{"name": "LD_PRELOAD"}]}]},
                    "LD_PRELOAD may not be set",
                ),
                (
                    {"containers": [{"name": "guard", "env": [{"name": "GUARD_SIGNING_KEY"}]}]},
                    "GUARD_SIGNING_KEY may not be set",
                ),
                (
                    {
                        "containers": [
                            {"name": "triton", "volumeMounts": [{"mountPath": "/artifact"}]}
                        ]
                    },
                    "/artifact does not lie under /mnt/",
                ),
            ]
        ),
        pytest.param(
            {"model": a_model(podTemplate={"metadata": {"labels": {"rlhf.dev/version": "x"}}})},
            "SpecInvalid",
            "rlhf.dev/version is set by the operator",
            id="a pod cannot pose as another version",
        ),
        pytest.param(
            {"model": a_model(podTemplate={"metadata": {"annotations": {"rlhf.dev/scrape": ""}}})},
            "SpecInvalid",
            "rlhf.dev/scrape is set by the operator",
            id="a pod cannot hide from the scrape",
        ),
    ],
)
def test_refusal(given, reason, sentence):
    found = rendering.refusal(
        given.get("model", a_model()), given.get("version", a_version()), DEFAULTS
    )
    assert (found.reason if found else None) == reason
    assert sentence in (found.message if found else "")


def test_the_pin_survives_json_and_gives_the_same_objects():
    found = a_rendering()
    read = rendering.Rendering.from_json(json.loads(json.dumps(found.to_json())))
    assert read == found
    assert read.digest == found.digest
    assert workloads.deployment(OWNER, read, 3, "pin") == workloads.deployment(
        OWNER, found, 3, "pin"
    )


def test_the_pin_is_told_on_the_deployment_and_restarts_no_pod():
    found = a_rendering()
    one, other = (workloads.deployment(OWNER, found, 2, pin) for pin in ("pin-a", "pin-b"))
    assert one["metadata"]["annotations"] != other["metadata"]["annotations"]
    assert one["spec"] == other["spec"]


def test_other_content_gets_another_config_map_and_another_pin():
    one, other = a_rendering(), a_rendering(force_block=True)
    assert one.config_map != other.config_map
    assert one.revision_name != other.revision_name
    assert one == a_rendering()


def test_the_guard_reads_its_configuration():
    found = a_rendering(arm_token="token", version=a_version(backend="vllm"))
    config = GuardConfig.model_validate_json(found.data["guard.json"])
    assert (config.model, config.version) == ("support", "support-v7")
    assert config.exclude_input
    assert config.stickiness.arm_token == "token"


def test_the_pod_outlives_its_longest_answer_and_its_last_samples():
    found = a_rendering()
    config = GuardConfig.model_validate_json(found.data["guard.json"])
    guard = config.lame_duck_seconds + config.drain_seconds + FLUSH_SECONDS
    assert config.drain_seconds >= config.limits.timeout_seconds
    # One after the other: Triton waits for the guard's end, and then has its own time.
    grace = found.template["spec"]["terminationGracePeriodSeconds"]
    assert grace == guard + EXIT_SECONDS + 10


def test_the_probes_stand_a_long_model_load():
    probe = container(a_rendering(), "triton")["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 30 * 60


@pytest.mark.parametrize(
    ("surge", "gpus", "strategy"), [("None", 1, 0), ("None", 0, 1), ("One", 1, 1)]
)
def test_a_pod_is_replaced_in_place_only_where_no_gpu_may_be_added(surge, gpus, strategy):
    found = a_rendering(a_model(surge=surge), a_version(gpu={"count": gpus}))
    update = workloads.deployment(OWNER, found, 2, found.revision_name)["spec"]["strategy"][
        "rollingUpdate"
    ]
    assert update["maxSurge"] == strategy
    assert update["maxUnavailable"] == 1 - strategy


def test_every_container_holds_to_the_restricted_standard():
    for model, version in CASES.values():
        spec = a_rendering(model, version).template["spec"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in spec["containers"] + spec["initContainers"]:
            security = each["securityContext"]
            assert security["runAsNonRoot"]
            assert security["readOnlyRootFilesystem"]
            assert not security["allowPrivilegeEscalation"]
            assert security["capabilities"] == {"drop": ["ALL"]}
        mounted = {m["name"] for c in spec["containers"] for m in c["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize(
    ("base", "patch", "result"),
    [
        pytest.param({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}, id="maps are merged"),
        pytest.param({"args": [1]}, {"args": [2]}, {"args": [2]}, id="plain lists are replaced"),
        pytest.param(
            {"env": [{"name": "a", "value": "1"}, {"name": "b"}]},
            {"env": [{"name": "c"}, {"name": "a", "value": "2"}]},
            {"env": [{"name": "a", "value": "2"}, {"name": "b"}, {"name": "c"}]},
            id="named lists are merged by name and keep their order",
        ),
    ],
)
def test_merge(base, patch, result):
    before = copy.deepcopy(base)
    assert patches.merge(base, patch) == result
    assert base == before


@pytest.mark.parametrize(
    ("name", "start"),
    [
        pytest.param("support-v7", "support-v7-serving", id="a short name stays as it is"),
        pytest.param("7b-chat", "v7b-chat-", id="a Service's name starts with a letter"),
        pytest.param("a" * 63, "a" * 40, id="a long name is cut"),
    ],
)
def test_child_names_are_dns_labels(name, start):
    found = names.child(name, "serving")
    assert found.startswith(start)
    assert len(found) <= 63
    assert found[0].isalpha()


def test_cut_names_stay_apart():
    assert names.child("a" * 62 + "b", "x") != names.child("a" * 62 + "c", "x")

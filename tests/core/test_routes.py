"""One table of what every router must do, and one of who may use a host name."""

from __future__ import annotations

import copy
import dataclasses
import json
from datetime import UTC, datetime

import pytest

from rlhf_operator.api.arms import Arms
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.traffic import Traffic
from rlhf_operator.core import routes
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.routes import claims, port

PARENT = {"name": "gate", "namespace": "infra"}
TRAFFICS = {
    "GatewayAPI": Traffic.model_validate(
        {"router": "GatewayAPI", "parentRefs": [PARENT], "hostnames": ["chat.example.com"]}
    ),
    "Istio": Traffic.model_validate(
        {"router": "Istio", "parentRefs": [PARENT], "hostnames": ["chat.example.com"]}
    ),
    "Service": Traffic(),
}
OWNER = {"apiVersion": "rlhf.dev/v1alpha1", "kind": "RLHFModel", "name": "support", "uid": "u"}


FIVE = Arms(canary="v7", percent=5, step=1, run="support-7")


def make_split(router="GatewayAPI", *, sticky=False, mirror=None, **weights):
    traffic = TRAFFICS[router]
    if sticky:
        traffic = Traffic.model_validate(traffic.dump() | {"stickiness": {"mode": "Arm"}})
    arms = tuple(
        port.Arm(
            version=version,
            service=f"support-{version}",
            weight=weight,
            tokens=(f"t.{version}",),
            pods=tuple(
                port.Pod(name=f"{version}-{n:02}", uid=f"{version}{n}", ready=True)
                for n in range(20)
            ),
        )
        for version, weight in weights.items()
    )
    return port.Split(
        namespace="team", model="support", owner=OWNER, traffic=traffic, arms=arms, mirror=mirror
    )


class Cluster:
    """Stores what a router renders, as an API server and a gateway would."""

    def __init__(self, router):
        self.router = routes.ROUTERS[router]
        self.objects = {}
        self.pods = {}
        self.writes = 0

    def see(self, split):
        """Return the split with the pods as they are labelled now."""
        arms = tuple(
            port.Arm(
                version=arm.version,
                service=arm.service,
                weight=arm.weight,
                tokens=arm.tokens,
                pods=tuple(
                    port.Pod(
                        name=pod.name,
                        uid=pod.uid,
                        ready=pod.ready,
                        traffic=self.pods.get(pod.name, pod.traffic),
                    )
                    for pod in arm.pods
                ),
            )
            for arm in split.arms
        )
        return dataclasses.replace(split, arms=arms)

    def apply(self, split):
        for manifest in self.router.render(self.see(split)):
            self.store(copy.deepcopy(manifest))

    def store(self, manifest):
        kind, meta = manifest["kind"], manifest["metadata"]
        if kind == "Pod":
            self.pods[meta["name"]] = meta["labels"][port.TRAFFIC_LABEL]
            self.writes += 1
            return
        old = self.objects.get(kind)
        if old is not None and old["spec"] == manifest["spec"]:
            return
        self.writes += 1
        meta["generation"] = old["metadata"]["generation"] + 1 if old else 1
        self.objects[kind] = manifest
        if kind == "HTTPRoute":
            manifest["status"] = {"parents": [self.answer(manifest)]}

    def answer(self, route):
        generation = route["metadata"]["generation"]
        return {
            "parentRef": route["spec"]["parentRefs"][0],
            "controllerName": "example.com/gateway",
            "conditions": [
                {"type": kind, "status": "True", "reason": kind, "observedGeneration": generation}
                for kind in ("Accepted", "ResolvedRefs")
            ],
        }

    def read(self, split):
        return self.router.read(self.see(split), self.objects)


@pytest.mark.parametrize("router", routes.ROUTERS)
@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({"sft": 100}, id="one arm alone"),
        pytest.param({"sft": 100, "v7": 0}, id="an arm that waits"),
        pytest.param({"sft": 95, "v7": 5}, id="a first step"),
        pytest.param({"sft": 50, "v7": 50}, id="halves"),
        pytest.param({"sft": 0, "v7": 100}, id="all on the second"),
        pytest.param({"sft": 70, "v6": 10, "v7": 20}, id="three arms"),
    ],
)
def test_what_is_rendered_is_read_back(router, weights):
    cluster, split = Cluster(router), make_split(router, **weights)
    cluster.apply(split)
    state = cluster.read(split)
    assert state.accepted
    assert state.weights == {name: weight for name, weight in weights.items() if weight}
    assert state.matches(split)


@pytest.mark.parametrize("router", routes.ROUTERS)
def test_the_same_pass_twice_writes_nothing(router):
    cluster, split = Cluster(router), make_split(router, sft=75, v7=25)
    cluster.apply(split)
    before = cluster.writes
    cluster.apply(split)
    assert cluster.writes == before


@pytest.mark.parametrize("router", routes.ROUTERS)
def test_nothing_is_in_force_before_there_is_an_object(router):
    split = make_split(router, sft=100)
    state = Cluster(router).read(split)
    assert (state.weights, state.accepted, state.reason) == (
        None,
        False,
        Reason.WEIGHT_NOT_IN_FORCE,
    )
    assert not state.matches(split)


@pytest.mark.parametrize("router", routes.ROUTERS)
def test_a_declared_weight_is_not_in_force_before_it_is_applied(router):
    cluster = Cluster(router)
    cluster.apply(make_split(router, sft=95, v7=5))
    wanted = make_split(router, sft=75, v7=25)
    assert not cluster.read(wanted).matches(wanted)


@pytest.mark.parametrize("router", routes.ROUTERS)
def test_a_rollback_is_one_write_and_leaves_no_way_to_the_canary(router):
    cluster = Cluster(router)
    sticky = router != "Service"
    cluster.apply(make_split(router, sticky=sticky, sft=75, v7=25))
    back = make_split(router, sticky=sticky, sft=100, v7=0)
    before = cluster.writes
    assert not cluster.read(back).matches(back)
    cluster.apply(back)
    assert cluster.writes == before + 1
    assert cluster.read(back).matches(back)
    main = cluster.objects[cluster.router.kinds[0].kind]
    assert "v7" not in str(main["spec"])


TENTH = Mirror(version="v7", percent=10)


@pytest.mark.parametrize("router", ["GatewayAPI", "Istio"])
def test_copies_are_rendered_and_read_back(router):
    cluster = Cluster(router)
    split = make_split(router, sticky=True, mirror=TENTH, sft=100, v7=0)
    cluster.apply(split)
    state = cluster.read(split)
    assert (state.weights, state.mirror) == ({"sft": 100}, TENTH)
    assert state.matches(split)


@pytest.mark.parametrize("router", ["GatewayAPI", "Istio"])
def test_copies_end_with_one_write(router):
    cluster = Cluster(router)
    cluster.apply(make_split(router, mirror=TENTH, sft=100, v7=0))
    back = make_split(router, sft=100, v7=0)
    before = cluster.writes
    assert not cluster.read(back).matches(back), "a copy that nobody wants is not in force"
    cluster.apply(back)
    assert cluster.writes == before + 1
    assert cluster.read(back).matches(back)


@pytest.mark.parametrize("router", ["GatewayAPI", "Istio"])
def test_other_copies_than_wanted_are_not_in_force(router):
    cluster = Cluster(router)
    cluster.apply(make_split(router, mirror=TENTH, sft=100, v7=0))
    more = make_split(router, mirror=Mirror(version="v7", percent=20), sft=100, v7=0)
    assert not cluster.read(more).matches(more)


@pytest.mark.parametrize("router", ["GatewayAPI", "Istio"])
def test_rules_that_copy_differently_are_not_in_force(router):
    cluster, split = Cluster(router), make_split(router, sticky=True, sft=50, v7=50)
    cluster.apply(split)
    (main,) = cluster.objects.values()
    rules = main["spec"].get("rules") or main["spec"]["http"]
    target = {"name": "support-v7", "port": 80}
    rules[0] |= {
        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": target}}],
        "mirror": {"host": "support-v7"},
    }
    state = cluster.read(split)
    assert not state.matches(split)
    assert "100% to v7, none" in state.message


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({"sft": 90, "v7": 10}, id="an arm that answers users"),
        pytest.param({"sft": 100}, id="no arm at all"),
    ],
)
def test_copies_go_only_to_an_arm_without_weight(weights):
    with pytest.raises(ValueError, match="copies"):
        make_split(mirror=TENTH, **weights)


@pytest.mark.parametrize("router", ["GatewayAPI", "Istio"])
def test_clients_keep_their_arm_through_weights_and_lose_it_with_a_rollback(router):
    cluster = Cluster(router)
    for weight in (5, 25, 50):
        cluster.apply(make_split(router, sticky=True, sft=100 - weight, v7=weight))
        (main,) = cluster.objects.values()
        assert str(main["spec"]).count("'t.v7'") == 1, f"one header brings them back at {weight}%"
    cluster.apply(make_split(router, sticky=True, sft=100, v7=0))
    (main,) = cluster.objects.values()
    assert "t.v7" not in str(main["spec"])


def headers_of(cluster):
    """Return what each rule of the stored route sets and removes, as (set, removed)."""
    spec = cluster.objects[cluster.router.kinds[0].kind]["spec"]
    if "http" in spec:
        found = [entry["headers"]["request"] for entry in spec["http"]]
        return [(each.get("set", {}), each.get("remove", [])) for each in found]
    filters = [rule["filters"][0]["requestHeaderModifier"] for rule in spec["rules"]]
    return [
        ({each["name"]: each["value"] for each in found.get("set", [])}, found.get("remove", []))
        for found in filters
    ]


@pytest.mark.parametrize("router", ["GatewayAPI", "Istio"])
@pytest.mark.parametrize(
    ("run", "arms", "told", "removed"),
    [
        pytest.param(
            "support-7", FIVE, {"x-rlhf-run": "support-7", "x-rlhf-arms": FIVE.header}, [],
            id="users are counted in a run",
        ),
        pytest.param(
            None, FIVE, {"x-rlhf-arms": FIVE.header}, ["x-rlhf-run"], id="answers are counted",
        ),
        pytest.param(None, None, {}, ["x-rlhf-run", "x-rlhf-arms"], id="nothing is tried"),
    ],
)  # fmt: skip
def test_every_request_tells_of_the_run_in_place_of_the_client(router, run, arms, told, removed):
    split = make_split(router, sticky=True, sft=95, v7=5)
    split, cluster = dataclasses.replace(split, run=run, trial=arms), Cluster(router)
    cluster.apply(split)
    assert headers_of(cluster) == [(told, removed)] * 3
    assert cluster.read(split).matches(split)
    before = cluster.writes
    cluster.apply(split)
    assert cluster.writes == before, "the same pass twice changes nothing"


@pytest.mark.parametrize("router", ["GatewayAPI", "Istio"])
def test_what_is_told_changes_with_the_weights_in_one_write(router):
    cluster = Cluster(router)
    for weight in (5, 25, 0):
        split = make_split(router, sft=100 - weight, v7=weight)
        arms = Arms(canary="v7", percent=weight, step=weight // 20, run="r") if weight else None
        split = dataclasses.replace(split, trial=arms)
        before = cluster.writes
        cluster.apply(split)
        assert cluster.writes == before + 1
        assert headers_of(cluster)[0][0] == ({"x-rlhf-arms": arms.header} if arms else {})
        assert cluster.read(split).matches(split)


@pytest.mark.parametrize("router", ["GatewayAPI", "Istio"])
def test_a_backend_of_someone_else_is_seen(router):
    cluster, split = Cluster(router), make_split(router, sft=100)
    cluster.apply(split)
    main = cluster.objects[cluster.router.kinds[0].kind]
    main["spec"] = json.loads(json.dumps(main["spec"]).replace("support-sft", "stranger"))
    assert cluster.read(split).weights == {"stranger": 100}
    assert not cluster.read(split).matches(split)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param({}, id="no arm"),
        pytest.param({"sft": 0}, id="a sum of 0"),
        pytest.param({"sft": 60, "v7": 30}, id="a sum below 100"),
        pytest.param({"sft": 110, "v7": -10}, id="a negative weight"),
    ],
)
def test_a_split_that_is_none_cannot_be_written(weights):
    with pytest.raises(ValueError, match="do not add up to 100"):
        make_split(**weights)


def claim(model, day, router="GatewayAPI", namespace="team", **traffic):
    found = {"router": router, "hostnames": ["chat.example.com"], "parentRefs": [PARENT]} | traffic
    return claims.Claim(
        namespace=namespace,
        model=model,
        created=datetime(2026, 1, day, tzinfo=UTC),
        traffic=Traffic.model_validate(found),
    )


@pytest.mark.parametrize(
    ("other", "wins"),
    [
        pytest.param(claim("first", 1), True, id="an older model with the same host"),
        pytest.param(claim("later", 3), False, id="a younger model yields to us"),
        pytest.param(claim("a", 2), True, id="of one second, the first by name"),
        pytest.param(claim("first", 1, hostnames=["b.example.com"]), False, id="another host"),
        pytest.param(claim("first", 1, hostnames=["*.example.com"]), False, id="a wider host"),
        pytest.param(claim("first", 1, hostnames=[]), False, id="every other host"),
        pytest.param(claim("first", 1, parentRefs=[{"name": "gate"}]), False, id="other gateway"),
        pytest.param(
            claim("first", 1, namespace="infra", parentRefs=[{"name": "gate"}]),
            True,
            id="the same gateway, written from its own namespace",
        ),
        pytest.param(
            claim("first", 1, parentRefs=[PARENT | {"sectionName": "https"}]),
            True,
            id="one listener of the same gateway",
        ),
        pytest.param(claim("first", 1, router="Istio"), False, id="another router"),
    ],
)
def test_the_older_model_keeps_the_host(other, wins):
    found = claims.conflict(claim("support", 2), [other])
    assert (found is not None) == wins
    if found is not None:
        assert found.reason == Reason.HOST_CONFLICT
        assert f"{other.namespace}/{other.model}" in found.message


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param("https", "http", id="listeners"),
    ],
)
def test_two_listeners_do_not_meet(one, two):
    mine = claim("support", 2, parentRefs=[PARENT | {"sectionName": one}])
    other = claim("first", 1, parentRefs=[PARENT | {"sectionName": two}])
    assert claims.conflict(mine, [other]) is None

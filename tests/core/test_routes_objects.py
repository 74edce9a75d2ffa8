"""What each router writes, word for word, and how it reads answers that are not a plain yes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.model import Rollout
from rlhf_operator.api.reasons import Reason
from rlhf_operator.core import routes
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.routes import port, ratio, sticky
from tests import builders as make

from .test_routes import TRAFFICS, Cluster, make_split


def backend(name, weight):
    return {
        "group": "",
        "kind": "Service",
        "name": f"support-{name}",
        "port": 80,
        "weight": weight,
    }


OURS = ["x-rlhf-run", "x-rlhf-arms"]
"""Headers that nobody but the router sets."""


def stripped():
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": OURS}}


def test_http_route_of_a_sticky_run():
    (route,) = routes.ROUTERS["GatewayAPI"].render(make_split(sticky=True, sft=95, v7=5))
    path = {"type": "PathPrefix", "value": "/"}
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["metadata"]["name"] == "support"
    assert route["spec"]["hostnames"] == ["chat.example.com"]
    assert route["spec"]["parentRefs"] == [
        {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "name": "gate",
            "namespace": "infra",
        }
    ]
    *arms, weighted = route["spec"]["rules"]
    assert [rule["backendRefs"] for rule in arms] == [[backend("sft", 100)], [backend("v7", 100)]]
    assert arms[1]["matches"] == [
        {
            "path": path,
            "headers": [{"type": "Exact", "name": "x-rlhf-arm", "value": "t.v7"}],
        },
        {
            "path": path,
            "headers": [
                {
                    "type": "RegularExpression",
                    "name": "Cookie",
                    "value": r"^(.*; *)?rlhf-arm=t\.v7(;.*)?$",
                }
            ],
        },
    ]
    assert weighted == {
        "matches": [{"path": path}],
        "filters": [stripped()],
        "backendRefs": [backend("sft", 95), backend("v7", 5)],
        "timeouts": {"request": "0s"},
    }


def test_virtual_service_of_a_sticky_run():
    (service,) = routes.ROUTERS["Istio"].render(make_split("Istio", sticky=True, sft=95, v7=5))
    target = {"host": "support-v7", "port": {"number": 80}}
    assert service["apiVersion"] == "networking.istio.io/v1"
    assert service["spec"]["gateways"] == ["infra/gate"]
    assert service["spec"]["http"][1] == {
        "match": [
            {"headers": {"x-rlhf-arm": {"exact": "t.v7"}}},
            {"headers": {"cookie": {"regex": r"^(.*; *)?rlhf-arm=t\.v7(;.*)?$"}}},
        ],
        "route": [{"destination": target, "weight": 100}],
        "headers": {"request": {"remove": OURS}},
    }
    assert service["spec"]["http"][2]["route"][1] == {"destination": target, "weight": 5}


def test_http_route_of_a_shadow():
    split = make_split(mirror=Mirror(version="v7", percent=10), sft=100, v7=0)
    (route,) = routes.ROUTERS["GatewayAPI"].render(split)
    target = {"group": "", "kind": "Service", "name": "support-v7", "port": 80}
    assert route["spec"]["rules"] == [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "filters": [
                stripped(),
                {
                    "type": "RequestMirror",
                    "requestMirror": {"backendRef": target, "percent": 10},
                },
            ],
            "backendRefs": [backend("sft", 100)],
            "timeouts": {"request": "0s"},
        }
    ]


def test_virtual_service_of_a_shadow():
    split = make_split("Istio", mirror=Mirror(version="v7", percent=10), sft=100, v7=0)
    (service,) = routes.ROUTERS["Istio"].render(split)
    stable = {"host": "support-sft", "port": {"number": 80}}
    assert service["spec"]["http"] == [
        {
            "route": [{"destination": stable, "weight": 100}],
            "mirror": {"host": "support-v7", "port": {"number": 80}},
            "mirrorPercentage": {"value": 10},
            "headers": {"request": {"remove": OURS}},
        }
    ]


def test_a_service_cannot_copy_requests():
    rollout = Rollout.model_validate(
        {"strategy": "Shadow", "shadow": {"percent": 10, "hold": "1m"}}
    )
    (problem,) = ratio.problems(rollout, 4)
    assert problem.reason == Reason.CANNOT_MIRROR
    assert "GatewayAPI or Istio" in problem.message


def test_a_service_can_switch_all_at_once():
    rollout = Rollout.model_validate(
        {"strategy": "BlueGreen", "blueGreen": {"hold": "1m"}, "surge": "Full"}
    )
    assert ratio.problems(rollout, 3) == ()


def test_one_arm_needs_no_rule_to_keep_its_clients():
    (route,) = routes.ROUTERS["GatewayAPI"].render(make_split(sticky=True, sft=100, v7=0))
    assert len(route["spec"]["rules"]) == 1


@pytest.mark.parametrize(
    ("cookies", "found"),
    [
        pytest.param("rlhf-arm=t.v7", True, id="alone"),
        pytest.param("a=1; rlhf-arm=t.v7; b=2", True, id="among others"),
        pytest.param("a=1;rlhf-arm=t.v7", True, id="without a space"),
        pytest.param("rlhf-arm=t.v77", False, id="a longer token"),
        pytest.param("rlhf-arm=txv7", False, id="the dot is a dot"),
        pytest.param("my-rlhf-arm=t.v7", False, id="another cookie that ends alike"),
    ],
)
def test_the_cookie_is_recognised(cookies, found):
    pattern = sticky.cookie_pattern("t.v7")
    assert bool(re.search(pattern, cookies)) == found
    assert bool(re.fullmatch(pattern, cookies)) == found


def condition(kind, status="True", generation=1, message="listener says no"):
    return {
        "type": kind,
        "status": status,
        "reason": "Because",
        "message": message,
        "observedGeneration": generation,
    }


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        pytest.param(None, Reason.WEIGHT_NOT_IN_FORCE, id="the gateway is silent"),
        pytest.param([], Reason.WEIGHT_NOT_IN_FORCE, id="no condition yet"),
        pytest.param(
            [condition("Accepted"), condition("ResolvedRefs", generation=0)],
            Reason.WEIGHT_NOT_IN_FORCE,
            id="an answer to an older generation",
        ),
        pytest.param(
            [condition("Accepted", "False"), condition("ResolvedRefs")],
            Reason.ROUTE_NOT_ACCEPTED,
            id="not accepted",
        ),
        pytest.param(
            [condition("Accepted"), condition("ResolvedRefs", "False")],
            Reason.ROUTE_NOT_ACCEPTED,
            id="a backend is not found",
        ),
        pytest.param(
            [condition("Accepted"), condition("ResolvedRefs"), condition("PartiallyInvalid")],
            Reason.ROUTE_NOT_ACCEPTED,
            id="accepted in part",
        ),
        pytest.param([condition("Accepted"), condition("ResolvedRefs")], None, id="accepted"),
    ],
)
def test_what_a_gateway_answers(conditions, reason):
    cluster, split = Cluster("GatewayAPI"), make_split(sft=100)
    cluster.apply(split)
    parents = cluster.objects["HTTPRoute"]["status"]["parents"]
    if conditions is None:
        parents.clear()
    else:
        parents[0]["conditions"] = conditions
    # Someone else's gateway answers too; that is not our concern.
    parents.append({"parentRef": {"name": "other"}, "conditions": [condition("Accepted", "False")]})
    state = cluster.read(split)
    assert (state.accepted, state.reason) == (reason is None, reason)
    if reason == Reason.ROUTE_NOT_ACCEPTED:
        assert "listener says no" in state.message
        assert "gate" in state.message


def test_a_rule_that_still_leads_to_the_canary_is_not_a_rollback():
    cluster = Cluster("GatewayAPI")
    cluster.apply(make_split(sticky=True, sft=75, v7=25))
    weighted = cluster.objects["HTTPRoute"]["spec"]["rules"][-1]
    weighted["backendRefs"] = [backend("sft", 100)]
    back = make_split(sticky=True, sft=100, v7=0)
    state = cluster.read(back)
    assert not state.matches(back)
    assert "support-v7" in state.message


@pytest.mark.parametrize(
    ("status", "accepted"),
    [
        pytest.param({}, True, id="no status, as most installations"),
        pytest.param(
            {
                "observedGeneration": "1",
                "validationMessages": [{"level": "ERROR", "type": {"code": "IST0101"}}],
            },
            False,
            id="an error about this generation",
        ),
        pytest.param(
            {
                "observedGeneration": "0",
                "validationMessages": [{"level": "ERROR", "type": {"code": "IST0101"}}],
            },
            True,
            id="an error about an older generation",
        ),
    ],
)
def test_what_istio_answers(status, accepted):
    cluster, split = Cluster("Istio"), make_split("Istio", sft=100)
    cluster.apply(split)
    cluster.objects["VirtualService"]["status"] = status
    assert cluster.read(split).accepted is accepted


def arm(version, weight, ready, unready=0, traffic=None):
    pods = tuple(
        port.Pod(name=f"{version}-{n}", uid=f"{version}{n}", ready=n < ready, traffic=traffic)
        for n in range(ready + unready)
    )
    return port.Arm(version=version, service=version, weight=weight, pods=pods)


def service_split(*arms):
    return port.Split(
        namespace="team", model="support", owner={}, traffic=TRAFFICS["Service"], arms=arms
    )


def labelled(manifests):
    *pods, service = manifests
    mark = service["spec"]["selector"][port.TRAFFIC_LABEL]
    return [
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"]["labels"][port.TRAFFIC_LABEL] == mark
    ]


@pytest.mark.parametrize(
    ("arms", "chosen"),
    [
        pytest.param(
            (arm("sft", 75, 4), arm("v7", 25, 1)),
            ["sft-0", "sft-1", "sft-2", "v7-0"],
            id="one of four stands aside for the exact ratio",
        ),
        pytest.param(
            (arm("sft", 50, 2, unready=1), arm("v7", 50, 2)),
            ["sft-0", "sft-1", "v7-0", "v7-1"],
            id="pods that are not ready do not count",
        ),
        pytest.param(
            (arm("sft", 90, 2), arm("v7", 10, 1)),
            ["sft-0", "sft-1"],
            id="the canary waits when its share would be too large",
        ),
        pytest.param(
            (arm("sft", 90, 0, unready=2), arm("v7", 10, 1)),
            ["sft-0", "sft-1"],
            id="the canary does not inherit what stable lost",
        ),
    ],
)
def test_which_pods_stand_behind_the_service(arms, chosen):
    assert labelled(routes.ROUTERS["Service"].render(service_split(*arms))) == chosen


def test_labels_of_an_earlier_run_let_nobody_in():
    earlier = routes.ROUTERS["Service"].render(service_split(arm("v5", 50, 1), arm("v6", 50, 1)))
    later = routes.ROUTERS["Service"].render(service_split(arm("v6", 50, 1), arm("v7", 50, 1)))
    assert earlier[-1]["spec"]["selector"] != later[-1]["spec"]["selector"]


def test_a_lost_pod_shows_as_a_weight_that_is_not_in_force():
    cluster, split = Cluster("Service"), service_split(arm("sft", 75, 3), arm("v7", 25, 1))
    cluster.apply(split)
    assert cluster.read(split).matches(split)
    lost = service_split(arm("sft", 75, 1, unready=2), arm("v7", 25, 1))
    state = cluster.read(lost)
    assert not state.matches(lost)
    assert state.reason == Reason.WEIGHT_NOT_IN_FORCE
    assert state.message == "behind the Service are 1 of sft, 1 of v7"


def plan(surge, *weights):
    steps = [{"weight": weight, "hold": "1m"} for weight in weights]
    return Rollout.model_validate(
        {"strategy": "Canary", "canary": {"steps": steps}, "surge": surge}
    )


@pytest.mark.parametrize(
    ("surge", "replicas", "weights", "told"),
    [
        pytest.param("One", 4, (25, 50, 75), [], id="quarters of four"),
        pytest.param("Full", 1, (50,), [], id="one against one"),
        pytest.param("None", 2, (50,), [], id="half of two"),
        pytest.param("Full", 10, (5,), ["not 5%: raise serving.replicas to 16"], id="5% of ten"),
        pytest.param("One", 2, (5,), ["not 5%"], id="5% of two"),
        pytest.param("One", 3, (33, 66), [], id="thirds within a point"),
        pytest.param("None", 2, (10, 50), ["not 10%"], id="one of two is a half"),
    ],
)
def test_steps_that_the_ratio_cannot_give(surge, replicas, weights, told):
    found = ratio.problems(plan(surge, *weights), replicas)
    assert len(found) == len(told)
    for failure, part in zip(found, told, strict=True):
        assert failure.reason == Reason.STEPS_UNREACHABLE
        assert part in failure.message


@pytest.mark.parametrize(
    ("replicas", "holdback", "told"),
    [
        pytest.param(9, 10, 0, id="one pod beside nine is a tenth"),
        pytest.param(2, 5, 1, id="one beside two is a third"),
        pytest.param(2, 0, 0, id="no control arm, no share"),
        pytest.param(1, 20, 1, id="none can give what a last step of 99% leaves"),
    ],
)
def test_a_control_arm_that_the_ratio_cannot_give(replicas, holdback, told):
    weight = 50 if replicas > 1 else 99
    rollout = {"canary": {"steps": [{"weight": weight, "hold": "1m"}]}, "surge": "Full"}
    spec = make.model_spec(
        rollout=rollout, serving={"replicas": replicas}, standby={"holdback": holdback}
    )
    found = [each for each in ratio.unreachable(spec) if "standby.holdback" in each.message]
    assert len(found) == told


def test_a_switch_leaves_no_share_to_a_control_arm():
    rollout = {"strategy": "BlueGreen", "blueGreen": {"hold": "1m"}, "canary": None}
    with pytest.raises(ValueError, match="leaves the previous version no share"):
        make.model_spec(rollout=rollout | {"surge": "Full"}, standby={"holdback": 5})
    assert make.model_spec(rollout=rollout | {"surge": "Full"}).standby.holdback == 0


@pytest.mark.parametrize(
    ("replicas", "surge", "weights", "told"),
    [
        pytest.param(4, "One", (25, 25), None, id="a pod for each and two for stable"),
        pytest.param(5, "One", (20, 20, 20), None, id="three of five and two for stable"),
        pytest.param(4, "One", (20, 20), None, id="one for each beside three of four"),
        pytest.param(2, "One", (10, 40), "not 10%, 40%: raise serving.replicas to 9",
                     id="too few for a tenth"),
    ],
)  # fmt: skip
def test_weights_of_several_that_the_ratio_cannot_give(replicas, surge, weights, told):
    first, *others = weights
    primary = {"name": "t", "indicator": {"type": "ThumbsDownRate"}}
    listed = [{"version": f"v{number}", "weight": part} for number, part in enumerate(others)]
    test = {"weight": first, "primary": primary, "others": listed}
    rollout = Rollout.model_validate({"strategy": "ABTest", "abTest": test, "surge": surge})
    found = ratio.problems(rollout, replicas)
    assert [each.reason for each in found] == ([Reason.STEPS_UNREACHABLE] if told else [])
    assert told is None or told in found[0].message


def test_a_drill_that_the_ratio_cannot_give():
    spec = make.model_spec(serving={"replicas": 2}, rollbackDrill={"percent": 1})
    assert "rollbackDrill.percent" in ratio.unreachable(spec)[-1].message
    enough = make.model_spec(serving={"replicas": 49}, rollbackDrill={"percent": 2})
    assert not [each for each in ratio.unreachable(enough) if "Drill" in each.message]


@pytest.mark.parametrize("weight", range(1, 100))
def test_a_hundred_pods_give_every_step(weight):
    assert ratio.choose((100 - weight, weight), (100 - weight, weight)) is not None


@given(weight=st.integers(1, 99), stable=st.integers(0, 60), canary=st.integers(0, 60))
def test_a_share_is_right_or_there_is_none(weight, stable, canary):
    counts = ratio.choose((100 - weight, weight), (stable, canary))
    if counts is not None:
        assert 0 < counts[0] <= stable
        assert 0 < counts[1] <= canary
        assert abs(100 * counts[1] / sum(counts) - weight) <= ratio.TOLERANCE


@given(
    weight=st.integers(0, 100),
    stable=st.integers(0, 12),
    canary=st.integers(0, 12),
    lost=st.integers(0, 12),
)
def test_the_canary_never_gets_more_than_its_step(weight, stable, canary, lost):
    cluster = Cluster("Service")
    cluster.apply(service_split(arm("sft", 100 - weight, stable), arm("v7", weight, canary)))
    left = max(0, stable - lost)
    now = service_split(arm("sft", 100 - weight, left, unready=lost), arm("v7", weight, canary))
    cluster.apply(now)
    share = (cluster.read(now).weights or {}).get("v7", 0)
    assert share <= weight + ratio.TOLERANCE

"""By what a pod is kept off a node."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_operator.core.nodes import obstacle
from tests.core.test_gpus import GPU, node

TAINT = {"key": "team", "value": "a", "effect": "NoSchedule"}
READY = {"type": "Ready", "status": "True"}
CORDONED = "node.kubernetes.io/unschedulable"


def required(*terms: Any) -> dict[str, Any]:
    rule = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": rule}}}


def term(*asked: tuple[str, ...]) -> dict[str, Any]:
    """A term of (key, operator, value, …)."""
    return {
        "matchExpressions": [
            {"key": key, "operator": operator, "values": values} for key, operator, *values in asked
        ]
    }


def tolerating(**toleration: str) -> dict[str, Any]:
    return {"tolerations": [toleration]}


@pytest.mark.parametrize(
    ("on", "pod", "why"),
    [
        pytest.param({}, {}, None, id="nothing keeps it off"),
        pytest.param({"unschedulable": True}, {}, "cordoned", id="a cordoned node"),
        pytest.param({"unschedulable": True}, tolerating(key=CORDONED, operator="Exists"), None,
                     id="a cordoned node that it tolerates"),
        pytest.param({"conditions": [READY]}, {}, None, id="a node that is ready"),
        pytest.param({"conditions": [READY | {"status": "False"}]}, {}, "not ready",
                     id="a node that is not"),
        pytest.param({"conditions": [READY | {"status": "Unknown"}]}, {}, "not ready",
                     id="a node that says nothing any more"),
        pytest.param({"conditions": [{"type": "DiskPressure", "status": "False"}]}, {}, None,
                     id="other conditions say nothing of it"),
    ],
)  # fmt: skip
def test_the_state_of_a_node(on: dict[str, Any], pod: dict[str, Any], why: str | None) -> None:
    assert obstacle(node("n", 1, **on), pod, GPU) == why


@pytest.mark.parametrize(
    ("taints", "pod", "why"),
    [
        pytest.param([TAINT], {}, "by taint team", id="a taint"),
        pytest.param([TAINT | {"effect": "NoExecute"}], {}, "by taint team", id="that drives out"),
        pytest.param([TAINT | {"effect": "PreferNoSchedule"}], {}, None, id="that only asks"),
        pytest.param([TAINT], tolerating(key="team", value="a"), None, id="tolerated"),
        pytest.param([TAINT], tolerating(key="team", value="b"), "by taint team",
                     id="tolerated of another value"),
        pytest.param([TAINT], tolerating(key="team", operator="Exists"), None,
                     id="tolerated of any value"),
        pytest.param([TAINT], tolerating(operator="Exists"), None, id="all are tolerated"),
        pytest.param([TAINT], tolerating(key="team", operator="Exists", effect="NoExecute"),
                     "by taint team", id="tolerated of another effect"),
        pytest.param([TAINT, TAINT | {"key": "other"}], tolerating(key="team", operator="Exists"),
                     "by taint other", id="one of two"),
        pytest.param([{"key": GPU, "effect": "NoSchedule"}], {}, None,
                     id="of the resource that it asks for"),
    ],
)  # fmt: skip
def test_taints(taints: list[Any], pod: dict[str, Any], why: str | None) -> None:
    assert obstacle(node("n", 1, taints=taints), pod, GPU) == why


@pytest.mark.parametrize(
    ("labels", "pod", "takes"),
    [
        pytest.param({"pool": "a"}, {"nodeSelector": {"pool": "a"}}, True, id="a selector"),
        pytest.param({"pool": "a"}, {"nodeSelector": {"pool": "b"}}, False, id="another"),
        pytest.param({"zone": "1"}, required(term(("zone", "In", "1", "2"))), True, id="In"),
        pytest.param({"zone": "3"}, required(term(("zone", "In", "1", "2"))), False, id="not In"),
        pytest.param({}, required(term(("zone", "NotIn", "1"))), True, id="NotIn, not there"),
        pytest.param({"zone": "1"}, required(term(("zone", "NotIn", "1"))), False, id="not NotIn"),
        pytest.param({"gpu": ""}, required(term(("gpu", "Exists"))), True, id="Exists"),
        pytest.param({}, required(term(("gpu", "Exists"))), False, id="not Exists"),
        pytest.param({}, required(term(("old", "DoesNotExist"))), True, id="DoesNotExist"),
        pytest.param({"old": ""}, required(term(("old", "DoesNotExist"))), False,
                     id="not DoesNotExist"),
        pytest.param({"memory": "80"}, required(term(("memory", "Gt", "40"))), True, id="Gt"),
        pytest.param({"memory": "40"}, required(term(("memory", "Lt", "40"))), False, id="not Lt"),
        pytest.param({"memory": "much"}, required(term(("memory", "Gt", "40"))), False,
                     id="no number"),
        pytest.param({"zone": "1"}, required(term(("zone", "In", "2")), term(("zone", "In", "1"))),
                     True, id="one of several terms is enough"),
        pytest.param({"zone": "1"}, required(term(("zone", "In", "1"), ("gpu", "Exists"))), False,
                     id="all of a term must hold"),
        pytest.param({}, required({}), False, id="an empty term holds nowhere"),
        pytest.param({}, required({"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": ["n"]}]}), True, id="by name"),
        pytest.param({}, {"affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{}]}}}, True,
                     id="what is only preferred"),
    ],
)  # fmt: skip
def test_labels(labels: dict[str, str], pod: dict[str, Any], takes: bool) -> None:
    kept_off = "by nodeSelector" if "nodeSelector" in pod else "by nodeAffinity"
    assert obstacle(node("n", 1, labels), pod, GPU) == (None if takes else kept_off)

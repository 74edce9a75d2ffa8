"""Gateway API: one `HTTPRoute` v1 per model, named after it.

Stickiness needs two matches per arm. The header is the portable one: exact header matches are
core in every conformant gateway. A browser cannot repeat a header by itself, and HTTPRoute has
no cookie match, so the cookie is matched as a pattern on the `Cookie` header, which is up to
the implementation. A gateway that cannot do it says so in the route's status, and `read` then
passes its sentence on; only models that ask for stickiness meet that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.traffic import ParentRef
from rlhf_operator.core.mirrors import Mirror
from rlhf_operator.core.routes import sticky
from rlhf_operator.core.routes.port import (
    ARM_HEADER,
    Arm,
    Manifest,
    Resource,
    RouteState,
    Split,
    Stored,
    absent,
    kept_elsewhere,
    mixed,
    percentages,
)

_GROUP = "gateway.networking.k8s.io"
_ANY_PATH = {"type": "PathPrefix", "value": "/"}


class GatewayAPI:
    """Splits by the weights of an HTTPRoute."""

    kinds: tuple[Resource, ...] = (
        Resource(api_version=f"{_GROUP}/v1", kind="HTTPRoute", plural="httproutes"),
    )

    def render(self, split: Split) -> tuple[Manifest, ...]:
        """Return the HTTPRoute, with the server's defaults spelled so that no diff arises."""
        spec: Manifest = {
            "parentRefs": [_parent(parent) for parent in split.traffic.parent_refs],
            "rules": [
                *(_arm_rule(arm, split) for arm in split.sticky),
                _rule([{"path": dict(_ANY_PATH)}], split.live, split),
            ],
        }
        if split.traffic.hostnames:
            spec["hostnames"] = list(split.traffic.hostnames)
        return (
            {
                "apiVersion": f"{_GROUP}/v1",
                "kind": "HTTPRoute",
                "metadata": split.metadata(),
                "spec": spec,
            },
        )

    def read(self, split: Split, objects: Stored) -> RouteState:
        """Return the stored weights, and whether every parent took this generation."""
        route = objects.get("HTTPRoute")
        if route is None:
            return absent("HTTPRoute", split)
        rules = route.get("spec", {}).get("rules") or []
        weights = _weights(rules, split)
        stray = _arm_services(rules) - {arm.service for arm in split.live}
        if stray:
            return kept_elsewhere(weights, stray)
        copies = {_copies(rule, split) for rule in rules}
        if len(copies) > 1:
            return mixed(weights, copies)
        found = RouteState(weights=weights, mirror=next(iter(copies), None), accepted=True)
        for parent in split.traffic.parent_refs:
            if refusal := _refusal(route, parent, split.namespace):
                reason, message = refusal
                return replace(found, accepted=False, reason=reason, message=message)
        return found


def _parent(parent: ParentRef) -> Manifest:
    found: Manifest = {"group": _GROUP, "kind": "Gateway", "name": parent.name}
    if parent.namespace is not None:
        found["namespace"] = parent.namespace
    if parent.section_name is not None:
        found["sectionName"] = parent.section_name
    return found


def _arm_rule(arm: Arm, split: Split) -> Manifest:
    ways = []
    for token in arm.tokens:
        pattern = sticky.cookie_pattern(token)
        ways.append({"type": "Exact", "name": ARM_HEADER, "value": token})
        ways.append({"type": "RegularExpression", "name": "Cookie", "value": pattern})
    matches = [{"path": dict(_ANY_PATH), "headers": [each]} for each in ways]
    return _rule(matches, (arm,), split)


def _rule(matches: list[Manifest], arms: Iterable[Arm], split: Split) -> Manifest:
    arms = tuple(arms)
    return {
        "matches": matches,
        "filters": [_naming(split), *([_copying(split, split.mirror)] if split.mirror else [])],
        "backendRefs": [
            {
                "group": "",
                "kind": "Service",
                "name": arm.service,
                "port": split.port,
                "weight": arm.weight if len(arms) > 1 else 100,
            }
            for arm in arms
        ],
        # Gateways have defaults of their own (Envoy: 15 s), which would cut long answers off.
        # The guard in the pod is the one that limits how long an answer may take.
        "timeouts": {"request": "0s"},
    }


def _copying(split: Split, mirror: Mirror) -> Manifest:
    """Return the filter that copies requests: Gateway API has shares of them from v1.3 on."""
    backend = {"group": "", "kind": "Service", "name": split.mirrored.service, "port": split.port}
    return {
        "type": "RequestMirror",
        "requestMirror": {"backendRef": backend, "percent": mirror.percent},
    }


def _copies(rule: Mapping[str, Any], split: Split) -> Mirror | None:
    """Return the copies that a rule makes; without a share it is of every request."""
    versions = {arm.service: arm.version for arm in split.arms}
    for each in rule.get("filters") or []:
        if each.get("type") == "RequestMirror":
            made = each["requestMirror"]
            name = made["backendRef"]["name"]
            return Mirror(version=versions.get(name, name), percent=made.get("percent", 100))
    return None


def _naming(split: Split) -> Manifest:
    """Return the filter that tells the guards of the run, in place of whatever clients say."""
    headers: Manifest = {}
    if split.told:
        headers["set"] = [{"name": name, "value": value} for name, value in split.told.items()]
    if split.untold:
        headers["remove"] = list(split.untold)
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": headers}


def _is_weighted(rule: Mapping[str, Any]) -> bool:
    return not any(match.get("headers") for match in rule.get("matches") or [])


def _weights(rules: Iterable[Mapping[str, Any]], split: Split) -> dict[str, int]:
    versions = {arm.service: arm.version for arm in split.arms}
    found: dict[str, int] = {}
    for rule in filter(_is_weighted, rules):
        for backend in rule.get("backendRefs") or []:
            name = versions.get(backend["name"], backend["name"])
            found[name] = found.get(name, 0) + backend.get("weight", 1)
    return percentages(found)


def _arm_services(rules: Iterable[Mapping[str, Any]]) -> set[str]:
    return {
        backend["name"]
        for rule in rules
        if not _is_weighted(rule)
        for backend in rule.get("backendRefs") or []
        if backend.get("weight", 1) > 0
    }


def _refusal(
    route: Mapping[str, Any], parent: ParentRef, namespace: str
) -> tuple[Reason, str] | None:
    """Return why one parent does not carry the stored route, if it does not."""
    generation = route["metadata"].get("generation", 0)
    answers = [
        answer
        for answer in route.get("status", {}).get("parents") or []
        if _speaks_of(answer["parentRef"], parent, namespace)
    ]
    if not answers:
        return Reason.WEIGHT_NOT_IN_FORCE, f"gateway {parent.name} has not answered yet"
    for answer in answers:
        conditions = {each["type"]: each for each in answer.get("conditions") or []}
        for kind, wanted in (("Accepted", "True"), ("ResolvedRefs", "True")):
            condition = conditions.get(kind)
            if condition is None or condition.get("observedGeneration") != generation:
                return (
                    Reason.WEIGHT_NOT_IN_FORCE,
                    f"gateway {parent.name} has not looked at generation {generation} yet",
                )
            if condition["status"] != wanted:
                return _refused(parent, condition)
        # Part of the route is dropped or stays as it was, and nobody says which part.
        partial = conditions.get("PartiallyInvalid")
        if partial is not None and partial["status"] == "True":
            return _refused(parent, partial)
    return None


def _refused(parent: ParentRef, condition: Mapping[str, Any]) -> tuple[Reason, str]:
    said = condition.get("message") or "no message"
    text = f"gateway {parent.name}: {condition['type']} is {condition['status']}"
    return Reason.ROUTE_NOT_ACCEPTED, f"{text}, {condition.get('reason', 'no reason')}: {said}"


def _speaks_of(ref: Mapping[str, Any], parent: ParentRef, namespace: str) -> bool:
    return (
        ref.get("group", _GROUP) == _GROUP
        and ref.get("kind", "Gateway") == "Gateway"
        and ref["name"] == parent.name
        and (ref.get("namespace") or namespace) == (parent.namespace or namespace)
        and ref.get("sectionName") == parent.section_name
    )

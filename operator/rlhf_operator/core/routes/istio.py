"""Istio: one `VirtualService` v1 per model, named after it.

We apply hosts, gateways and the HTTP routes; what others set beside them survives, because
server-side apply touches only the fields that one sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rlhf_operator.api.reasons import Reason
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

_API = "networking.istio.io/v1"


class Istio:
    """Splits by the weights of a VirtualService."""

    kinds: tuple[Resource, ...] = (
        Resource(api_version=_API, kind="VirtualService", plural="virtualservices"),
    )

    def render(self, split: Split) -> tuple[Manifest, ...]:
        """Return the VirtualService."""
        spec: Manifest = {
            "hosts": list(split.traffic.hostnames),
            "http": [
                *(_arm_route(arm, split) for arm in split.sticky),
                {
                    "route": _destinations(split.live, split),
                    **_copying(split),
                    "headers": _naming(split),
                },
            ],
        }
        # Without gateways the routes hold for the mesh, which is Istio's own default.
        if split.traffic.parent_refs:
            spec["gateways"] = [
                f"{parent.namespace or split.namespace}/{parent.name}"
                for parent in split.traffic.parent_refs
            ]
        return (
            {
                "apiVersion": _API,
                "kind": "VirtualService",
                "metadata": split.metadata(),
                "spec": spec,
            },
        )

    def read(self, split: Split, objects: Stored) -> RouteState:
        """Return the stored weights, and what Istio says where it says anything."""
        service = objects.get("VirtualService")
        if service is None:
            return absent("VirtualService", split)
        routes = service.get("spec", {}).get("http") or []
        weights = _weights(routes, split)
        stray = _arm_hosts(routes) - {arm.service for arm in split.live}
        if stray:
            return kept_elsewhere(weights, stray)
        copies = {_copies(entry, split) for entry in routes}
        if len(copies) > 1:
            return mixed(weights, copies)
        if refusal := _refusal(service):
            return RouteState(weights=weights, reason=Reason.ROUTE_NOT_ACCEPTED, message=refusal)
        return RouteState(weights=weights, mirror=next(iter(copies), None), accepted=True)


def _arm_route(arm: Arm, split: Split) -> Manifest:
    # Istio wants header names in lower case.
    matches: list[Manifest] = []
    for token in arm.tokens:
        matches.append({"headers": {ARM_HEADER: {"exact": token}}})
        matches.append({"headers": {"cookie": {"regex": sticky.cookie_pattern(token)}}})
    return {
        "match": matches,
        "route": _destinations((arm,), split),
        **_copying(split),
        "headers": _naming(split),
    }


def _naming(split: Split) -> Manifest:
    """Return what tells the guards of the run, in place of whatever clients say."""
    headers: Manifest = {}
    if split.told:
        headers["set"] = split.told
    if split.untold:
        headers["remove"] = list(split.untold)
    return {"request": headers}


def _destinations(arms: tuple[Arm, ...], split: Split) -> list[Manifest]:
    # A name without dots is looked up in the VirtualService's own namespace; that way the
    # cluster's domain need not be known.
    return [
        {
            "destination": {"host": arm.service, "port": {"number": split.port}},
            "weight": arm.weight if len(arms) > 1 else 100,
        }
        for arm in arms
    ]


def _copying(split: Split) -> Manifest:
    """Return the fields of an HTTP route that copy requests."""
    if split.mirror is None:
        return {}
    target = {"host": split.mirrored.service, "port": {"number": split.port}}
    return {"mirror": target, "mirrorPercentage": {"value": split.mirror.percent}}


def _copies(entry: Mapping[str, Any], split: Split) -> Mirror | None:
    """Return the copies that an HTTP route makes; without a share it is of every request."""
    target = entry.get("mirror")
    if target is None:
        return None
    versions = {arm.service: arm.version for arm in split.arms}
    share = entry.get("mirrorPercentage", {}).get("value", 100)
    return Mirror(version=versions.get(target["host"], target["host"]), percent=round(share))


def _weights(routes: Iterable[Mapping[str, Any]], split: Split) -> dict[str, int]:
    versions = {arm.service: arm.version for arm in split.arms}
    found: dict[str, int] = {}
    for entry in routes:
        if entry.get("match"):
            continue
        for target in entry.get("route") or []:
            host = target["destination"]["host"]
            name = versions.get(host, host)
            # Istio reads a single destination without weight as all of the traffic.
            found[name] = found.get(name, 0) + target.get("weight", 100)
    return percentages(found)


def _arm_hosts(routes: Iterable[Mapping[str, Any]]) -> set[str]:
    return {
        target["destination"]["host"]
        for entry in routes
        if entry.get("match")
        for target in entry.get("route") or []
    }


def _refusal(service: Mapping[str, Any]) -> str | None:
    """Return Istio's complaint about the stored generation, if it writes any status."""
    # Most installations write none: the validating webhook refuses a bad object at the write,
    # so what is stored was accepted.
    status = service.get("status", {})
    if int(status.get("observedGeneration") or 0) != service["metadata"].get("generation", 0):
        return None
    for each in status.get("validationMessages") or []:
        if each.get("level") == "ERROR":
            code = each.get("type", {}).get("code", "error")
            return f"Istio refuses the VirtualService: {code} {each.get('documentationUrl', '')}"
    for condition in status.get("conditions") or []:
        if condition["type"] == "Reconciled" and condition["status"] == "False":
            return f"Istio has not taken the VirtualService: {condition.get('message', '')}"
    return None

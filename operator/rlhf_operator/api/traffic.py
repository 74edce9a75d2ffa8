"""How requests reach a model: what splits them, under which host names, and who stays where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.schema import ApiType, Duration, Name, rule

Hostname = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]


class ParentRef(ApiType):
    """The gateway that the route attaches to."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """The name of the Gateway."""
    namespace: Name | None = None
    """Its namespace; the model's own when unset."""
    section_name: Annotated[str, Field(max_length=253)] | None = None
    """One listener of the Gateway."""


class Stickiness(ApiType):
    """Whether a client stays on the arm that first answered it."""

    mode: Literal["None", "Arm"] = "None"
    """Arm: a signed token, given as cookie and header, brings the client back to its arm."""
    max_age: Duration = "24h"
    """How long the token is good for."""


class Traffic(ApiType):
    """How requests reach the model."""

    router: Literal["GatewayAPI", "Istio", "Service"] = "Service"
    """What splits the traffic: an HTTPRoute, a VirtualService, or the ratio of replicas."""
    parent_refs: Annotated[tuple[ParentRef, ...], Field(max_length=8)] = ()
    """The gateways: for GatewayAPI the parents of the route; for Istio the gateways by name."""
    hostnames: Annotated[tuple[Hostname, ...], Field(max_length=16)] = ()
    """The host names that belong to this model."""
    stickiness: Stickiness = Stickiness()
    """Whether a client stays on the arm that first answered it."""

    @rule(
        "!has(self.router) || self.router != 'GatewayAPI' || "
        "(has(self.parentRefs) && size(self.parentRefs) > 0)",
        "router GatewayAPI needs parentRefs",
    )
    def gateway_is_named(self) -> bool:
        """Return whether the route has a parent."""
        return self.router != "GatewayAPI" or bool(self.parent_refs)

    @rule(
        "!has(self.router) || self.router != 'Istio' || "
        "(has(self.hostnames) && size(self.hostnames) > 0)",
        "router Istio needs hostnames",
    )
    def istio_has_hosts(self) -> bool:
        """Return whether a VirtualService has a host."""
        return self.router != "Istio" or bool(self.hostnames)

    @rule(
        "!has(self.router) || self.router != 'Service' || !has(self.stickiness) || "
        "!has(self.stickiness.mode) || self.stickiness.mode == 'None'",
        "router Service cannot keep clients on an arm",
    )
    def service_is_not_sticky(self) -> bool:
        """Return whether stickiness can be kept."""
        return self.router != "Service" or self.stickiness.mode == "None"

"""Routes: how the weights of a run become objects of the cluster's own router, and back.

Three routers fulfil one small port. Pure: values in, plain objects out. Knows no client and
decides nothing; which weights are wanted is the rollout record's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rlhf_operator.api.traffic import Traffic
from rlhf_operator.core.routes.gateway_api import GatewayAPI
from rlhf_operator.core.routes.istio import Istio
from rlhf_operator.core.routes.port import Router
from rlhf_operator.core.routes.service import ServiceRatio

ROUTERS: Mapping[str, Router] = MappingProxyType(
    {"GatewayAPI": GatewayAPI(), "Istio": Istio(), "Service": ServiceRatio()}
)


def router_for(traffic: Traffic) -> Router:
    """Return the router that a model asks for."""
    return ROUTERS[traffic.router]

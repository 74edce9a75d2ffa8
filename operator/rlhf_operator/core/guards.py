"""The guards of a model: what they are told while they run, and what only new pods bring.

Stages and limits change by a ConfigMap of the model. Secrets, network and certificates are part
of the pods: a change that needs more of them is told, and waits for a rollout or a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rlhf_operator.api.common import Failure
from rlhf_operator.api.guard import GuardSpec, LiveGuard, Provider, compile_problems
from rlhf_operator.api.model import ModelSpec
from rlhf_operator.api.operation import GuardLimits
from rlhf_operator.api.reasons import Reason
from rlhf_operator.api.schema import parse_duration
from rlhf_operator.api.stages import SecretKey, ServiceRef
from rlhf_operator.core import names

Manifest = dict[str, Any]

FILE = "live.json"
LIVE = "rules that change while they run"
"""What every guard reaches that this operator has made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A provider that the operator's configuration lists."""

    name: str
    url: str
    namespaces: frozenset[str] = frozenset()
    """The namespaces that may use it; all when empty."""

    @property
    def port(self) -> int:
        """Return the TCP port by which it is reached."""
        return port_of(self.url)


def port_of(url: str) -> int:
    """Return the TCP port of an address."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def config_map_name(model: str) -> str:
    """Return the name of the ConfigMap with a model's live rules."""
    return names.child(model, "guard")


def live(spec: GuardSpec, namespace: str, offers: tuple[Offer, ...]) -> LiveGuard:
    """Return what the guards are told now; every provider that the spec names must be offered."""
    usable = {each.name: each for each in offered(namespace, offers)}
    wanted = sorted(set(providers(spec)) & set(usable))
    found = tuple(Provider(name=name, url=usable[name].url) for name in wanted)
    return LiveGuard(guard=spec, providers=found)


def config_map(owner: Mapping[str, Any], namespace: str, model: str, told: LiveGuard) -> Manifest:
    """Return the ConfigMap that all guards of a model read."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": config_map_name(model),
            "namespace": namespace,
            "labels": names.labels_of_model(model, "guard"),
            "ownerReferences": [dict(owner)],
        },
        "data": {FILE: told.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"},
    }


def offered(namespace: str, offers: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """Return the providers that a namespace may use."""
    return tuple(each for each in offers if not each.namespaces or namespace in each.namespaces)


def providers(spec: GuardSpec) -> Iterator[str]:
    """Yield the providers that a spec names."""
    for stage in spec.stages:
        if stage.external is not None and stage.external.provider is not None:
            yield stage.external.provider
    if spec.sampling is not None and spec.sampling.provider is not None:
        yield spec.sampling.provider


def services(spec: GuardSpec) -> Iterator[ServiceRef]:
    """Yield the Services of the model's namespace that a spec names."""
    for stage in spec.stages:
        for remote in (stage.model, stage.external):
            if remote is not None and remote.service is not None:
                yield remote.service
    if spec.sampling is not None and spec.sampling.service is not None:
        yield spec.sampling.service


def credentials(spec: GuardSpec) -> dict[str, tuple[str, ...]]:
    """Return the Secrets that a spec names, each with its keys."""
    asking = [stage.external for stage in spec.stages if stage.external is not None]
    given = [*(each.credentials for each in asking)]
    if spec.sampling is not None:
        given.append(spec.sampling.credentials)
    keys: dict[str, set[str]] = {}
    for each in given:
        if isinstance(each, SecretKey):
            keys.setdefault(each.secret_name, set()).add(each.key)
    return {secret: tuple(sorted(found)) for secret, found in sorted(keys.items())}


def egress_ports(spec: GuardSpec, namespace: str, offers: tuple[Offer, ...]) -> frozenset[int]:
    """Return the TCP ports by which the named providers are reached."""
    named = set(providers(spec))
    return frozenset(each.port for each in offered(namespace, offers) if each.name in named)


def reach(spec: ModelSpec, namespace: str, offers: tuple[Offer, ...]) -> tuple[str, ...]:
    """Return what pods must have been made with for their guards to carry a spec out."""
    guard = spec.guard
    found = {LIVE}
    found |= {
        f"key {key} of Secret {secret}"
        for secret, keys in credentials(guard).items()
        for key in keys
    }
    found |= {f"Service {each.name}, port {each.port}" for each in services(guard)}
    found |= {f"port {port} outside" for port in egress_ports(guard, namespace, offers)}
    if guard.fallback.type == "Version":
        found.add(f"{_FLOOR}{spec.fallback.version}")
    if guard.tls is not None:
        found.add(f"{_TLS}{guard.tls.secret_name}")
    return tuple(sorted(found))


def reach_without_floor(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the fallback's own guards need: they have no other version answer."""
    return tuple(each for each in wanted if not each.startswith(_FLOOR))


_FLOOR = "fallback version "
_TLS = "certificate in Secret "


def lacking(wanted: tuple[str, ...], has: tuple[str, ...]) -> tuple[str, ...]:
    """Return what pods lack of what their guards need; more than they need does no harm.

    Only a certificate that is needed no longer counts: they would go on serving HTTPS.
    """
    surplus = {each for each in set(has) - set(wanted) if each.startswith(_TLS)}
    return tuple(sorted((set(wanted) - set(has)) | {f"no {each}" for each in surplus}))


def problem(
    spec: ModelSpec, namespace: str, offers: tuple[Offer, ...], bounds: GuardLimits
) -> Failure | None:
    """Return why guards cannot be told this spec, with what to do; or nothing."""
    broken = compile_problems(spec.guard)
    if broken:
        return _invalid(f"guard: {'; '.join(broken)}")
    usable = sorted(each.name for each in offered(namespace, offers))
    for name in providers(spec.guard):
        if name not in usable:
            return Failure(
                reason=Reason.UNKNOWN_PROVIDER,
                message=f"guard: provider {name} is not among those that the operator's "
                f"configuration offers to {namespace} (guardProviders): "
                f"{', '.join(usable) or 'none'}; name one of them, or have it added",
            )
    over = tuple(_over(spec.guard, bounds))
    if over:
        return _invalid(f"guard.limits: {'; '.join(over)}: the operator's configuration sets this")
    if spec.guard.tls is not None and spec.guard.fallback.type == "Version":
        return _invalid(
            "guard: with tls the fallback must be of type Message: guards do not know whose "
            "certificate to trust in each other"
        )
    return None


def _over(spec: GuardSpec, bounds: GuardLimits) -> Iterator[str]:
    asked = spec.limits
    seconds = parse_duration(asked.timeout).total_seconds() if asked.timeout else None
    for name, own, most in (
        ("bodyBytes", asked.body_bytes, bounds.body_bytes),
        ("concurrency", asked.concurrency, bounds.concurrency),
        ("maxTokens", asked.max_tokens, bounds.max_tokens),
        ("timeout in seconds", seconds, bounds.timeout_seconds),
    ):
        if own is not None and own > most:
            yield f"{name} is at most {most:g}"


def _invalid(message: str) -> Failure:
    return Failure(reason=Reason.SPEC_INVALID, message=message[:1024])

"""Reads from the API server and writes decisions to it, as the user of the kubeconfig.

The only module that speaks to a cluster. Every failure leaves it as a `Problem`: one line
that says what to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from rlhf_operator.api.decision import DecisionSpec
from rlhf_operator.api.kinds import DECISION, MODEL, MODEL_VERSION, POLICY, ROLLOUT
from rlhf_operator.api.schema import API_VERSION, GROUP, VERSION
from rlhf_operator.cli import state as picture
from rlhf_operator.cli.state import Raw, State
from rlhf_operator.core import names, routes

_TIMEOUT = 30
_OURS = (MODEL, MODEL_VERSION, POLICY, ROLLOUT, DECISION)


class Problem(Exception):  # noqa: N818 - it is told to the user as it stands
    """What went wrong and what to do, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How the cluster is reached: what the user said, else what the kubeconfig says."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


class Cluster:
    """One API server, seen as one user, with a default namespace."""

    def __init__(self, access: Access) -> None:
        try:
            self._api = config.new_client_from_config(
                config_file=access.kubeconfig, context=access.context
            )
            inside = access.namespace or self._default_namespace(access)
        except ConfigException as error:
            raise Problem(f"no cluster to ask: {error}") from error
        except OSError as error:
            raise Problem(f"the kubeconfig cannot be read: {error}") from error
        self.namespace = inside
        self._custom = client.CustomObjectsApi(self._api)

    @staticmethod
    def _default_namespace(access: Access) -> str:
        contexts, active = config.list_kube_config_contexts(config_file=access.kubeconfig)
        chosen = next((each for each in contexts if each["name"] == access.context), active)
        return str(chosen["context"].get("namespace") or "default")

    # -- reading --------------------------------------------------------------------------------

    def state(self, at: datetime, *, everywhere: bool = False) -> State:
        """Return our kinds, their pods, Deployments and routes, of one namespace or all."""
        return picture.read(self._everything(everywhere), at)

    def by_namespace(self, at: datetime) -> tuple[State, ...]:
        """Return one picture for each namespace that has a model; names are theirs alone."""
        found: dict[str, list[Raw]] = {}
        for raw in self._everything(everywhere=True):
            found.setdefault(raw["metadata"].get("namespace", ""), []).append(raw)
        states = (picture.read(found[namespace], at) for namespace in sorted(found))
        return tuple(state for state in states if state.models)

    def models(self, at: datetime, *, everywhere: bool = False) -> State:
        """Return the models alone: enough for a list."""
        return picture.read(self._custom_list(MODEL.plural, MODEL.kind, everywhere), at)

    def _everything(self, everywhere: bool) -> Iterator[Raw]:
        for ours in _OURS:
            yield from self._custom_list(ours.plural, ours.kind, everywhere)
        chosen = names.VERSION_LABEL
        core, apps = client.CoreV1Api(self._api), client.AppsV1Api(self._api)
        if everywhere:
            pods = [(core.list_pod_for_all_namespaces, "Pod", chosen)]
            pods.append((apps.list_deployment_for_all_namespaces, "Deployment", chosen))
            pods.append((core.list_service_for_all_namespaces, "Service", names.MODEL_LABEL))
        else:
            pods = [(core.list_namespaced_pod, "Pod", chosen)]
            pods.append((apps.list_namespaced_deployment, "Deployment", chosen))
            pods.append((core.list_namespaced_service, "Service", names.MODEL_LABEL))
        where = () if everywhere else (self.namespace,)
        for list_, kind, selector in pods:
            yield from self._plain_list(list_, where, kind, selector)
        for router in routes.ROUTERS.values():
            for resource in router.kinds:
                group, _, version = resource.api_version.rpartition("/")
                if group and group not in (GROUP, "apps"):
                    yield from self._routes(group, version, resource, everywhere)

    def _custom_list(self, plural: str, kind: str, everywhere: bool) -> list[Raw]:
        found = self._items(GROUP, VERSION, plural, everywhere)
        return [{**each, "kind": kind} for each in found]

    def _items(self, group: str, version: str, plural: str, everywhere: bool) -> Any:
        if everywhere:
            got = _asked(
                lambda: self._custom.list_cluster_custom_object(
                    group, version, plural, _request_timeout=_TIMEOUT
                )
            )
        else:
            got = _asked(
                lambda: self._custom.list_namespaced_custom_object(
                    group, version, self.namespace, plural, _request_timeout=_TIMEOUT
                )
            )
        return got["items"]

    def _plain_list(
        self, list_: Callable[..., Any], where: Iterable[str], kind: str, selector: str
    ) -> list[Raw]:
        answer = _asked(
            lambda: list_(
                *where,
                label_selector=selector,
                _preload_content=False,
                _request_timeout=_TIMEOUT,
            )
        )
        return [{**each, "kind": kind} for each in json.loads(answer.data)["items"]]

    def _routes(self, group: str, version: str, resource: Any, everywhere: bool) -> Any:
        try:
            found = self._items(group, version, resource.plural, everywhere)
        except _MissingKindProblem:
            return []  # this cluster has another router
        return [{**each, "kind": resource.kind} for each in found]

    def proxied(self, service: str, path: str, query: str) -> tuple[int, str]:
        """Return status and text of a GET that the API server passes on to a Service.

        service: NAMESPACE/NAME:PORT. Needs the verb `get` on `services/proxy` there.
        """
        namespace, _, name = service.partition("/")
        target = f"/api/v1/namespaces/{namespace}/services/{name}/proxy/{path}?{query}"
        got = _asked(
            lambda: self._api.call_api(
                "GET", f"{self._api.configuration.host}{target}", _request_timeout=_TIMEOUT
            )
        )
        text = (got.data if got.data is not None else got.read()).decode()
        return int(got.status), text

    # -- speaking -------------------------------------------------------------------------------

    def whoami(self) -> str:
        """Return the name under which the API server knows this user."""
        review = _asked(
            lambda: client.AuthenticationV1Api(self._api).create_self_subject_review(
                client.V1SelfSubjectReview(), _request_timeout=_TIMEOUT
            )
        )
        return str(review.status.user_info.username)

    def decide(self, spec: DecisionSpec, *, dry_run: bool = False) -> str:
        """Write a decision and return its name; the API server checks a dry run and keeps none."""
        body = decision_body(self.namespace, spec)
        extra = {"dry_run": "All"} if dry_run else {}
        made = _asked(
            lambda: self._custom.create_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                DECISION.plural,
                body,
                _request_timeout=_TIMEOUT,
                **extra,
            )
        )
        return str(made["metadata"]["name"])

    def decision(self, name: str) -> Raw:
        """Return a decision as it is now."""
        found: Raw = _asked(
            lambda: self._custom.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, DECISION.plural, name, _request_timeout=_TIMEOUT
            )
        )
        return found


def decision_body(namespace: str, spec: DecisionSpec) -> dict[str, Any]:
    """Return a decision as it is sent; the API server completes its name."""
    return {
        "apiVersion": API_VERSION,
        "kind": DECISION.kind,
        "metadata": {"generateName": f"{spec.model}-", "namespace": namespace},
        "spec": spec.dump(),
    }


class _MissingKindProblem(Problem):
    """The API server does not know the kind at all."""


def _asked(call: Callable[[], Any]) -> Any:
    """Return what the API server answers, or tell in one line why it does not."""
    try:
        return call()
    except ApiException as error:
        raise _problem(error) from error
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise Problem(f"the API server does not answer: {reason}") from error


def _problem(error: ApiException) -> Problem:
    try:
        said = json.loads(error.body or "{}")
    except (json.JSONDecodeError, TypeError):
        said = {}
    message = said.get("message") or error.reason or "no reason given"
    if error.status == 401:
        return Problem("the API server does not know you (401); log in again")
    if error.status == 403:
        return Problem(f"you may not do this: {message}")
    if error.status == 404 and not said.get("details", {}).get("name"):
        return _MissingKindProblem(
            "the API server does not know this kind; is the RLHF operator installed here?"
        )
    return Problem(f"the API server refuses ({error.status}): {message}")

"""The API server, through the asyncio client of `kubernetes`: reads and fenced writes.

Objects travel as raw JSON; typed models of the client would refuse what a newer server says.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient
from pydantic_core import to_json

from rlhf_operator.adapters import answers
from rlhf_operator.adapters.api_error import ApiError
from rlhf_operator.adapters.applied import Applied, Refusals
from rlhf_operator.adapters.devices import Devices
from rlhf_operator.adapters.events import Events
from rlhf_operator.api.errors import Transient

Raw = Mapping[str, Any]
log = logging.getLogger(__name__)

MANAGER = "rlhf-operator"
_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)
_CACHED_REVISIONS = 16
# When many versions fail at once their writes should find connections; load balancers forget
# those that are silent for some minutes, and then a write would find no answer.
_KEPT_OPEN = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """Where a kind lives in the API."""

    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Return the path of a collection or an object."""
        prefix = "/api" if "/" not in self.api_version else "/apis"
        parts = [prefix, self.api_version]
        if namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


RESOURCES: dict[str, Resource] = {
    "RLHFModel": Resource(api_version="rlhf.dev/v1alpha1", plural="rlhfmodels"),
    "RLHFModelVersion": Resource(api_version="rlhf.dev/v1alpha1", plural="rlhfmodelversions"),
    "AlignmentPolicy": Resource(api_version="rlhf.dev/v1alpha1", plural="alignmentpolicies"),
    "RLHFRollout": Resource(api_version="rlhf.dev/v1alpha1", plural="rlhfrollouts"),
    "RLHFDecision": Resource(api_version="rlhf.dev/v1alpha1", plural="rlhfdecisions"),
    "Deployment": Resource(api_version="apps/v1", plural="deployments"),
    "ControllerRevision": Resource(api_version="apps/v1", plural="controllerrevisions"),
    "Service": Resource(api_version="v1", plural="services"),
    "ConfigMap": Resource(api_version="v1", plural="configmaps"),
    "Pod": Resource(api_version="v1", plural="pods"),
    "Node": Resource(api_version="v1", plural="nodes"),
    "Secret": Resource(api_version="v1", plural="secrets"),
    "NetworkPolicy": Resource(api_version="networking.k8s.io/v1", plural="networkpolicies"),
    "HTTPRoute": Resource(api_version="gateway.networking.k8s.io/v1", plural="httproutes"),
    "VirtualService": Resource(api_version="networking.istio.io/v1", plural="virtualservices"),
    "Lease": Resource(api_version="coordination.k8s.io/v1", plural="leases"),
    "Event": Resource(api_version="v1", plural="events"),
}


class KubernetesCluster:
    """One API server. What it stores goes to `seen` at once, before the watch brings it."""

    def __init__(
        self,
        client: ApiClient,
        *,
        seen: Callable[[Raw], object] = lambda _: None,
        known: Callable[[str, str, str], object] = lambda *_: None,
        gone: Callable[[str, str, str], object] = lambda *_: None,
        calm: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Talk to one API server; Events are posted when `calm` returns."""
        self._client = client
        self._seen = seen
        self._gone = gone
        self.applied = Applied(known)
        self._refusals = Refusals()
        self._revisions: OrderedDict[tuple[str, str], Raw] = OrderedDict()
        self._events = Events(self._post, MANAGER, calm)
        self._devices = Devices()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        content: str = "application/json",
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> Any:
        """Send one request and return its JSON.

        Raises ApiError for an answer of 400, 404, 409 or 422, and Transient where the server
        did not answer or cannot now.
        """
        url = path + (f"?{urlencode(query)}" if query else "")
        text = None if body is None else to_json(body)
        headers = {"Accept": accept, "Content-Type": content}
        try:
            _, full, signed, _, _ = await self._client.param_serialize(
                method, url, header_params=headers, auth_settings=["BearerToken"]
            )
            session = self._session()
            async with session.request(
                method, full, headers=signed, data=text, timeout=_TIMEOUT
            ) as answer:
                payload = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"the API server does not answer: {error!r}") from error
        if answer.status < 300:
            return await answers.read(payload) if payload else {}
        said = answers.message(payload)
        if answer.status in (400, 403, 404, 409, 422):
            raise ApiError(answer.status, said)
        after = float(answer.headers.get("Retry-After", "1"))
        raise Transient(f"the API server says {answer.status}: {said}", after)

    def _session(self) -> aiohttp.ClientSession:
        rest = self._client.rest_client
        if rest.pool_manager is None:
            # Otherwise two threads look for a proxy and for a password before each request.
            rest.configuration.client_session_kwargs = {"trust_env": False}
            rest._create_connector = lambda: aiohttp.TCPConnector(
                limit=rest.maxsize, ssl=rest.ssl_context, keepalive_timeout=_KEPT_OPEN
            )
            rest.pool_manager = rest._create_pool_manager()
        return rest.pool_manager  # type: ignore[no-any-return]

    async def read(self, kind: str, namespace: str, name: str) -> Raw | None:
        """Return an object, fresh; revisions never change and are read once."""
        if kind == "ControllerRevision" and (namespace, name) in self._revisions:
            self._revisions.move_to_end((namespace, name))
            return self._revisions[(namespace, name)]
        try:
            found: Raw = await self.request("GET", RESOURCES[kind].path(namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        if kind == "ControllerRevision":
            self._revisions[(namespace, name)] = found
            if len(self._revisions) > _CACHED_REVISIONS:
                self._revisions.popitem(last=False)
        return found

    async def pods(self, key: Any, version: str) -> Sequence[Raw]:
        """Return the pods of a version, fresh."""
        selector = f"rlhf.dev/model={key.name},rlhf.dev/version={version}"
        path = RESOURCES["Pod"].path(key.namespace)
        found = await self.request("GET", path, query={"labelSelector": selector})
        return found["items"]  # type: ignore[no-any-return]

    async def pods_on_nodes(self) -> Sequence[Raw] | None:
        """Return all pods on nodes that ask for devices, as of some seconds ago.

        None where it is forbidden.
        """
        return await self._devices.pods(self.request)

    async def create(self, manifest: Raw) -> bool:
        """Create an object; False when it exists already."""
        kind, namespace = manifest["kind"], manifest["metadata"]["namespace"]
        query = {"fieldManager": MANAGER}
        try:
            stored = await self.request(
                "POST", RESOURCES[kind].path(namespace), dict(manifest), query=query
            )
        except ApiError as error:
            if error.code == 409:
                return False
            raise Transient(f"{kind} was not created: {error}", 5.0) from error
        self._seen(stored)
        return True

    async def write_status(self, stored: Raw, status: Raw) -> None:
        """Replace the status of an object; Transient when it changed since it was read.

        An update of the status looks at nothing else of what is sent; a patch would have the
        server decode the object twice.
        """
        metadata = stored["metadata"]
        path = RESOURCES[stored["kind"]].path(metadata["namespace"], metadata["name"], "status")
        kept = ("namespace", "name", "uid", "resourceVersion")
        body = {
            "apiVersion": RESOURCES[stored["kind"]].api_version,
            "kind": stored["kind"],
            "metadata": {key: metadata[key] for key in kept if key in metadata},
            "status": dict(status),
        }
        try:
            answer = await self.request("PUT", path, body, query={"fieldManager": MANAGER})
        except ApiError as error:
            if error.code == 404:
                raise Transient(f"{path} is gone") from error
            if error.code == 409:
                raise Transient(f"{path} changed meanwhile", 0.05) from error
            raise
        self._seen(answer)

    async def apply(self, manifest: Raw) -> None:
        """Server-side apply of our fields; nothing is sent while what we applied stands."""
        if self.applied.stands(manifest):
            return
        kind, metadata = manifest["kind"], manifest["metadata"]
        path = RESOURCES[kind].path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": MANAGER, "force": "true"}
        try:
            stored = await self.request(
                "PATCH", path, dict(manifest), "application/apply-patch+yaml", query
            )
        except ApiError as error:
            if error.code != 409:
                self._refusals.note(manifest, str(error))
            raise Transient(f"{kind} {metadata['name']} was not applied: {error}", 5.0) from error
        self._refusals.end(manifest)
        self.applied.note(manifest, stored)
        self._seen(stored)

    def refusal(self, namespace: str, model: str) -> str | None:
        """Return what the API server refuses of a model's objects since it was last tried."""
        return self._refusals.of(namespace, model)

    async def ensure(
        self, owner: tuple[str, str], token: str, make: Callable[[], Awaitable[Sequence[Raw]]]
    ) -> None:
        """Apply what `make` returns; it is not even made while what the token names stands."""
        if self.applied.set_stands(owner, token):
            return
        manifests = await make()
        for manifest in manifests:
            await self.apply(manifest)
        self.applied.note_set(owner, token, manifests)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object of ours; one that is gone is fine."""
        self.applied.forget((kind, namespace, name))
        if kind == "ControllerRevision":
            self._revisions.pop((namespace, name), None)
        body = {"propagationPolicy": "Background"}
        try:
            await self.request("DELETE", RESOURCES[kind].path(namespace, name), body)
        except ApiError as error:
            if error.code != 404:
                raise Transient(f"{kind} {name} was not deleted: {error}", 5.0) from error
            self._gone(kind, namespace, name)

    async def ensure_signing_key(self, namespace: str, name: str) -> None:
        """Make the Secret that the guards of a namespace sign with, unless it is there.

        Where the operator may create no Secret, the administrator makes it.
        """
        labels = {"app.kubernetes.io/managed-by": MANAGER}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "stringData": {"signing-key": base64.b64encode(secrets.token_bytes(32)).decode()},
        }
        try:
            await self.request("POST", RESOURCES["Secret"].path(namespace), secret)
        except ApiError as error:
            if error.code not in (403, 409):
                raise Transient(f"Secret {name} was not created: {error}", 5.0) from error

    async def put_lease(self, lease: Raw, *, exists: bool) -> bool:
        """Create or replace a Lease at its resourceVersion; False when another was first."""
        metadata = lease["metadata"]
        name = metadata["name"] if exists else ""
        path = RESOURCES["Lease"].path(metadata["namespace"], name)
        try:
            await self.request("PUT" if exists else "POST", path, dict(lease))
        except ApiError as error:
            if error.code in (404, 409):
                return False
            raise Transient(f"the Lease was refused: {error}", 5.0) from error
        return True

    async def tell(self, about: Raw, kind: str, reason: str, message: str) -> None:
        """Post an Event in the background: nothing waits for it, and a lost one does no harm."""
        self._events.tell(about, kind, reason, message)

    async def _post(self, event: Raw) -> None:
        await self.request("POST", RESOURCES["Event"].path(event["metadata"]["namespace"]), event)

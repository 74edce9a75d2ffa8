"""A gateway that is there by name only: a story plays its controller, and may stop to answer.

Its Gateway names a class that no controller serves. What a controller tells the world stands in
the status of the routes, so that is what is played: every generation is accepted at once, unless
the controller is away.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Kubectl, Object
from e2e.harness.watch import Watch

_GROUP = "gateway.networking.k8s.io"
_CONTROLLER = "rlhf.dev/played-by-a-story"


class PlayedGateway:
    """Accepts what is attached to the Gateway `beside` of a namespace, from `with` to its end."""

    name = "beside"

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._watch = Watch(kubectl, "httproute")
        self._is_away = threading.Event()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> PlayedGateway:
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        gateway = {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "Gateway",
            "metadata": {"name": self.name},
            "spec": {"gatewayClassName": "played-by-a-story", "listeners": [listener]},
        }
        self._kubectl.apply(gateway)
        self._watch.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(timeout=10)
        self._watch.__exit__()

    def go_away(self) -> None:
        """Answer nothing from now on."""
        self._is_away.set()

    def come_back(self) -> None:
        """Answer again, first what was asked meanwhile."""
        self._is_away.clear()

    def _answer(self) -> None:
        while not self._is_over.wait(0.2):
            if self._is_away.is_set():
                continue
            newest = {each.object["metadata"]["name"]: each for each in self._watch.changes()}
            for name, change in newest.items():
                if change.kind != "DELETED" and not self._has_answered(change.object):
                    self._accept(name)

    def _accept(self, name: str) -> None:
        route = self._kubectl.get("httproute", name)
        if route is None or self._has_answered(route):
            return
        said = {"metadata": {"resourceVersion": route["metadata"]["resourceVersion"]}}
        said["status"] = {"parents": [*_of_others(route), self._accepted(route)]}
        change = ("--subresource=status", "--type=merge", f"--patch={json.dumps(said)}")
        try:
            self._kubectl.run("patch", "httproute", name, *change)
        except HarnessError as error:
            # Somebody was faster; it is tried again on what they wrote.
            if "the object has been modified" not in str(error):
                raise

    def _accepted(self, route: Object) -> Object:
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": kind,
                "message": "played by a story",
                "observedGeneration": route["metadata"]["generation"],
                "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        parent = {"group": _GROUP, "kind": "Gateway", "name": self.name}
        return {"parentRef": parent, "controllerName": _CONTROLLER, "conditions": conditions}

    def _has_answered(self, route: Object) -> bool:
        generation = route["metadata"]["generation"]
        return any(
            condition["observedGeneration"] == generation
            for parent in _parents(route)
            if parent["controllerName"] == _CONTROLLER
            for condition in parent["conditions"]
        )


def _parents(route: Object) -> list[Object]:
    return list(route.get("status", {}).get("parents") or [])


def _of_others(route: Object) -> list[Object]:
    return [each for each in _parents(route) if each["controllerName"] != _CONTROLLER]

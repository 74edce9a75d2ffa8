"""kubectl as a small typed object: apply, read, and wait with a helpful failure."""

import dataclasses
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import Endpoints
from e2e.harness.errors import HarnessError

Object = dict[str, Any]

_LAST_EVENTS = 12


@dataclass(frozen=True, kw_only=True)
class Kubectl:
    """kubectl for one cluster and one namespace."""

    program: Path
    kubeconfig: Path
    namespace: str = "default"

    @classmethod
    def of(cls, endpoints: Endpoints, namespace: str = "default") -> "Kubectl":
        """Return kubectl for the cluster under test."""
        return cls(program=endpoints.kubectl, kubeconfig=endpoints.kubeconfig, namespace=namespace)

    def within(self, namespace: str) -> "Kubectl":
        """Return the same for another namespace."""
        return dataclasses.replace(self, namespace=namespace)

    def command(self, *arguments: str) -> list[str]:
        """Return a whole command line, for who wants to run it alone."""
        where = [f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}"]
        return [str(self.program), *where, *arguments]

    def run(self, *arguments: str, text: str | None = None) -> str:
        """Return what the command prints; raise with what it said if it fails."""
        done = subprocess.run(
            self.command(*arguments), input=text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise HarnessError(f"kubectl {' '.join(arguments)[:200]}: {said}")
        return done.stdout

    def apply(self, *objects: Object) -> None:
        """Apply objects as a user would."""
        self.run("apply", "--filename=-", text=_listed(objects))

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, or nothing where it does not exist."""
        found = self.run("get", kind, name, "--output=json", "--ignore-not-found")
        return json.loads(found) if found.strip() else None

    def whoami(self) -> str:
        """Return the user as whom the API server knows this kubectl."""
        return self.run("auth", "whoami", "--output=jsonpath={.status.userInfo.username}")

    def kinds(self, group: str) -> list[Object]:
        """Return the kinds of a group that the cluster has."""
        return [each for each in self.list("crd") if each["spec"]["group"] == group]

    def list(self, kind: str, *, selector: str = "") -> list[Object]:
        """Return all objects of a kind in the namespace."""
        found = self.run("get", kind, "--output=json", f"--selector={selector}")
        items: list[Object] = json.loads(found)["items"]
        return items

    def patch(self, kind: str, name: str, change: Object) -> None:
        """Merge a change into an object."""
        self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    def delete(self, kind: str, *names: str, wait: bool = True) -> None:
        """Delete objects if they exist."""
        self.run("delete", kind, *names, "--ignore-not-found", f"--wait={str(wait).lower()}")

    def delete_namespace(self) -> None:
        """Delete the namespace with all that is in it, without waiting for pods to drain."""
        self.delete("namespace", self.namespace, wait=False)
        # Nothing is made anew in a namespace that is going away.
        self.run("delete", "pods", "--all", "--grace-period=1", "--wait=false")
        self.delete("namespace", self.namespace)

    def wait_for(
        self,
        kind: str,
        name: str,
        happened: Callable[[Object], bool],
        *,
        what: str,
        seconds: float,
        every: float = 0.5,
    ) -> Object:
        """Return the object once it is as wanted; else say in what state it stayed."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.get(kind, name)
            if found is not None and happened(found):
                return found
            if time.monotonic() > deadline:
                raise HarnessError(self.explain(kind, name, f"{what}: not in {seconds:.0f} s"))
            time.sleep(every)

    def explain(self, kind: str, name: str, problem: str) -> str:
        """Return a problem with the object's status and the namespace's last events."""
        found = self.get(kind, name)
        status = json.dumps(found.get("status"), indent=1) if found else "it does not exist"
        return f"{problem}\n\n{kind} {name}: {status}\n\nlast events:\n{self.events()}"

    def events(self) -> str:
        """Return the namespace's last events as a table."""
        lines = self.run("get", "events", "--sort-by=.lastTimestamp").splitlines()
        return "\n".join(lines[-_LAST_EVENTS:])


def condition(found: Object, kind: str) -> Object:
    """Return a condition of an object by its type; empty where there is none."""
    conditions = found.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


def is_true(found: Object, kind: str) -> bool:
    """Tell whether a condition is True and speaks of the object as it is now."""
    seen = condition(found, kind)
    current = found["metadata"].get("generation", 0)
    return seen.get("status") == "True" and seen.get("observedGeneration", current) == current


def _listed(objects: tuple[Object, ...]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})

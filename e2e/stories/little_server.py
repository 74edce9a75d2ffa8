"""A small server in a pod of its own, behind a Service, that a story can shut and open again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from e2e.harness.install import image
from e2e.harness.kubectl import Kubectl, Object


@dataclass(frozen=True, kw_only=True)
class LittleServer(ABC):
    """A Service and the one pod behind it, which runs a program of a few lines."""

    kubectl: Kubectl
    name: str
    """The name of the Service, by which those who ask know it."""
    port: int

    @property
    @abstractmethod
    def program(self) -> str:
        """Return the Python program, of the standard library alone."""

    @property
    def arguments(self) -> list[str]:
        """Return what the program is told: its port and what else it needs."""
        return [str(self.port)]

    def open(self) -> None:
        """Let everybody through, and wait until that is so."""
        self.kubectl.apply(self._service(), self._deployment())
        self.kubectl.run("rollout", "status", f"deployment/{self.name}", "--timeout=90s")

    def shut(self) -> None:
        """Break every connection and refuse new ones."""
        self.kubectl.run("scale", f"deployment/{self.name}", "--replicas=0")
        chosen = f"--selector=app={self.name}"
        self.kubectl.run("delete", "pod", chosen, "--force", "--grace-period=0")

    @property
    def address(self) -> str:
        """Return where this machine reaches the server."""
        service = self.kubectl.get("service", self.name)
        assert service is not None
        return f"http://{service['spec']['clusterIP']}:{self.port}"

    def _service(self) -> Object:
        port = {"name": "door", "port": self.port, "targetPort": self.port, "protocol": "TCP"}
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name},
            "spec": {"selector": {"app": self.name}, "ports": [port]},
        }

    def _deployment(self) -> Object:
        labels = {"app": self.name}
        template = {"metadata": {"labels": labels}, "spec": self._pod()}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        }

    def _pod(self) -> Object:
        container = {
            "name": "server",
            "image": image("artifacts"),
            "command": ["python", "-c", self.program, *self.arguments],
            "readinessProbe": {"tcpSocket": {"port": self.port}, "periodSeconds": 1},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        return {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        }

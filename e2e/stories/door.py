"""A door to a server elsewhere that a story can shut: a TCP proxy in a pod of its own.

It passes bytes on and understands none, so that whoever comes through still checks the server's
certificate.
"""

from __future__ import annotations

from dataclasses import dataclass

from e2e.harness.install import image
from e2e.harness.kubectl import Kubectl, Object

_CODE = """
import asyncio, sys
async def copy(source, sink):
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()
async def serve(reader, writer):
    there, back = await asyncio.open_connection(sys.argv[2], int(sys.argv[3]))
    await asyncio.gather(copy(reader, back), copy(there, writer))
async def main():
    server = await asyncio.start_server(serve, port=int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass(frozen=True, kw_only=True)
class Door:
    """A Service of a story's own that leads to a server elsewhere."""

    kubectl: Kubectl
    name: str
    """The name of the Service, by which those who come through know it."""
    port: int
    to_host: str
    to_port: int

    def open(self) -> None:
        """Let everybody through, and wait until that is so."""
        self.kubectl.apply(self._service(), self._deployment())
        self.kubectl.run("rollout", "status", f"deployment/{self.name}", "--timeout=90s")

    def shut(self) -> None:
        """Break every connection and refuse new ones."""
        self.kubectl.run("scale", f"deployment/{self.name}", "--replicas=0")
        chosen = f"--selector=app={self.name}"
        self.kubectl.run("delete", "pod", chosen, "--force", "--grace-period=0")

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
        way = [str(self.port), self.to_host, str(self.to_port)]
        container = {
            "name": "door",
            "image": image("artifacts"),
            "command": ["python", "-c", _CODE, *way],
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

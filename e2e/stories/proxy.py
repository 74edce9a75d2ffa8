"""A door to Prometheus that a story can shut: a TCP proxy in a pod of its own."""

from __future__ import annotations

from e2e.harness.install import image
from e2e.harness.kubectl import Kubectl, Object

PORT = 9090
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
    there, back = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    await asyncio.gather(copy(reader, back), copy(there, writer))
async def main():
    server = await asyncio.start_server(serve, port=9090)
    await server.serve_forever()
asyncio.run(main())
"""


def open_door(kubectl: Kubectl, host: str, port: int) -> None:
    """Let the Service `prometheus` of this namespace lead to the real one."""
    kubectl.apply(_service(), _deployment(host, port))
    kubectl.run("rollout", "status", "deployment/prometheus", "--timeout=90s")


def shut_door(kubectl: Kubectl) -> None:
    """Break every connection and refuse new ones."""
    kubectl.run("scale", "deployment/prometheus", "--replicas=0")
    kubectl.run("delete", "pod", "--selector=app=prometheus", "--force", "--grace-period=0")


def _service() -> Object:
    port = {"name": "web", "port": PORT, "targetPort": PORT, "protocol": "TCP"}
    spec = {"selector": {"app": "prometheus"}, "ports": [port]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "prometheus"}, "spec": spec}


def _deployment(host: str, port: int) -> Object:
    labels = {"app": "prometheus"}
    container = {
        "name": "proxy",
        "image": image("artifacts"),
        "command": ["python", "-c", _CODE, host, str(port)],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "prometheus"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }

"""A person who uses `kubectl rlhf`, with a name and rights of their own and nobody else's."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.harness.errors import HarnessError
from e2e.harness.kubectl import Kubectl, Object

_RBAC = "rbac.authorization.k8s.io"
# What docs/kubectl-plugin.md says that one needs.
_READS = {
    "rlhf.dev": ["*"],
    "": ["pods", "services"],
    "apps": ["deployments"],
    "gateway.networking.k8s.io": ["httproutes"],
    "networking.istio.io": ["virtualservices", "destinationrules"],
}


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody whom the API server knows by a certificate of their own."""

    name: str
    """As the API server calls them."""
    kubectl: Kubectl

    @classmethod
    def arrive(cls, admin: Kubectl, name: str, folder: Path) -> Person:
        """Let somebody come who may look on and decide; their kubeconfig lies in the folder."""
        admin.apply(*_rights(name))
        key = folder / "key.pem"
        config = json.loads(admin.run("config", "view", "--raw", "--minify", "--output=json"))
        for each in config["users"]:
            certificate = _certificate(admin, name, key)
            each["user"] = {"client-key": str(key), "client-certificate-data": certificate}
        file = folder / "kubeconfig"
        file.write_text(json.dumps(config))
        kubectl = Kubectl(program=admin.program, kubeconfig=file, namespace=admin.namespace)
        assert kubectl.whoami() == name
        return cls(name=name, kubectl=kubectl)

    def rlhf(self, *arguments: str) -> str:
        """Return what `kubectl rlhf` prints; raise with what it said if it fails."""
        done = subprocess.run(
            self._command(*arguments), env=self._environment(),
            capture_output=True, text=True, check=False, timeout=90,
        )  # fmt: skip
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise HarnessError(f"kubectl rlhf {' '.join(arguments)}: {said}")
        return done.stdout

    def follow(self, *arguments: str) -> Followed:
        """Return a command that goes on until it is closed, such as `watch`."""
        return Followed(self._command(*arguments), self._environment())

    def _command(self, *arguments: str) -> list[str]:
        # kubectl finds the plugin on the PATH, as it does for everybody.
        where = ("--namespace", self.kubectl.namespace)
        return [str(self.kubectl.program), "rlhf", *arguments, *where]

    def _environment(self) -> Mapping[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return os.environ | {"PATH": path, "KUBECONFIG": str(self.kubectl.kubeconfig)}


class Followed:
    """A command that runs from `with` to its end, and prints into a file."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment

    def __enter__(self) -> Followed:
        self._file = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=self._file, stderr=subprocess.STDOUT,
            preexec_fn=_heed_interrupts,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=30)
        finally:
            self._process.kill()
            self._file.close()

    def until(self, words: str, *, seconds: float = 60) -> str:
        """Wait until it has printed these words, and return all that it printed so far."""
        deadline = time.monotonic() + seconds
        while True:
            text = os.pread(self._file.fileno(), 1 << 20, 0).decode()
            if words in text:
                return text
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise HarnessError(f"{words!r} was never printed, but this:\n{text}")
            time.sleep(0.2)


def _heed_interrupts() -> None:
    """Undo that a shell lets what it starts in the background ignore the interrupt key."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _certificate(admin: Kubectl, name: str, key: Path) -> str:
    """Return a certificate in base64 that the cluster signs for this name; write its key."""
    command = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
    asked = subprocess.run([*command, "-keyout", str(key)], capture_output=True, check=True).stdout
    request = f"{admin.namespace}-{name.split('@')[0]}"
    admin.delete("certificatesigningrequest", request)
    admin.apply(
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": request},
            "spec": {
                "request": base64.b64encode(asked).decode(),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
                "expirationSeconds": 3600,
            },
        }
    )
    admin.run("certificate", "approve", request)
    signed = admin.wait_for(
        "certificatesigningrequest", request,
        lambda found: "certificate" in found.get("status", {}), what="it is signed", seconds=30,
    )  # fmt: skip
    admin.delete("certificatesigningrequest", request)
    return str(signed["status"]["certificate"])


def _rights(user: str) -> list[Object]:
    name = user.split("@")[0]
    rules = [
        {"apiGroups": [group], "resources": resources, "verbs": ["get", "list"]}
        for group, resources in _READS.items()
    ]
    rules.append({"apiGroups": ["rlhf.dev"], "resources": ["rlhfdecisions"], "verbs": ["create"]})
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules}
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user}],
    }
    return [role, binding]

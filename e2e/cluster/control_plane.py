"""etcd, the API server, the controller manager and the scheduler."""

from collections.abc import Callable

from . import binaries, certificates, settings
from .commands import run, succeeds
from .probes import answers
from .processes import Process

_ETCD = "http://127.0.0.1:2379"
_APPLIED = settings.STATE / "applied"
# Its live memory is half a gigabyte, which Go would scan after as much again was written: a second
# on both processors in every burst of some hundred writes. Memory is there, processors are not.
_SPARING_PROCESSORS = {"GOGC": "300", "GOMEMLIMIT": "3GiB"}


def start() -> None:
    """Start what does not run yet, and wait until the API server is ready."""
    etcd = _etcd()
    etcd.start()
    etcd.wait(lambda: answers(f"{_ETCD}/health"))
    api_server = _api_server()
    api_server.start()
    api_server.wait(ready)
    for process in (_controller_manager(), _scheduler()):
        process.start()


def ready() -> bool:
    """Tell whether the API server answers."""
    if not settings.KUBECONFIG.exists():
        return False
    return succeeds([*kubectl(), "--request-timeout=5s", "get", "--raw", "/readyz"])


def kubectl() -> tuple[str, ...]:
    """Return the beginning of a kubectl command with full rights."""
    return str(binaries.path("kubectl")), "--kubeconfig", str(settings.KUBECONFIG)


def apply(manifest: str) -> None:
    """Apply manifests given as YAML text."""
    # Server-side: the Gateway API's CRDs are too large for a client-side annotation.
    run([*kubectl(), "apply", "--server-side", "--force-conflicts", "-f", "-"], text=manifest)


def apply_once(name: str, version: str, manifest: Callable[[], str]) -> None:
    """Apply manifests unless this version of them is applied already."""
    mark = _APPLIED / name
    if not mark.exists() or mark.read_text() != version:
        apply(manifest())
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(version)


def forget(name: str) -> None:
    """Have these manifests applied anew the next time."""
    (_APPLIED / name).unlink(missing_ok=True)


def _etcd() -> Process:
    # fmt: off
    return Process("etcd", (
        str(binaries.path("etcd")),
        f"--data-dir={settings.STATE / 'etcd'}",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        # Nothing here must outlive a power cut, and the disk is slow.
        "--unsafe-no-fsync",
    ))
    # fmt: on


def _api_server() -> Process:
    server, admin = certificates.API_SERVER, certificates.ADMIN
    # fmt: off
    return Process("kube-apiserver", (
        str(binaries.path("kube-apiserver")),
        f"--etcd-servers={_ETCD}",
        f"--advertise-address={settings.NODE_ADDRESS}",
        "--bind-address=0.0.0.0",
        "--secure-port=6443",
        f"--client-ca-file={certificates.AUTHORITY}",
        f"--tls-cert-file={server.certificate}",
        f"--tls-private-key-file={server.key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={certificates.TOKEN_PUBLIC_KEY}",
        f"--service-account-signing-key-file={certificates.TOKEN_KEY}",
        f"--service-cluster-ip-range={settings.SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        # The node's name resolves nowhere.
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={admin.certificate}",
        f"--kubelet-client-key={admin.key}",
    ), _SPARING_PROCESSORS)
    # fmt: on


def _controller_manager() -> Process:
    # fmt: off
    return Process("kube-controller-manager", (
        str(binaries.path("kube-controller-manager")),
        f"--kubeconfig={certificates.CONTROLLER_MANAGER.kubeconfig}",
        f"--service-account-private-key-file={certificates.TOKEN_KEY}",
        f"--root-ca-file={certificates.AUTHORITY}",
        f"--cluster-signing-cert-file={certificates.AUTHORITY}",
        f"--cluster-signing-key-file={certificates.AUTHORITY_KEY}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
    ))
    # fmt: on


def _scheduler() -> Process:
    # fmt: off
    return Process("kube-scheduler", (
        str(binaries.path("kube-scheduler")),
        f"--kubeconfig={certificates.SCHEDULER.kubeconfig}",
        "--leader-elect=false",
    ))
    # fmt: on

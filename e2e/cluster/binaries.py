"""The Go programs of the cluster: found where they already are, else built once and kept."""

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import settings
from .commands import run
from .progress import step

# The processor that tests run on is small: two builds side by side fill it.
LANES = 2
STATIC = {"CGO_ENABLED": "0"}


@dataclass(frozen=True)
class Binary:
    """A Go program; `go/<folder>/go.mod` pins the module that it comes from."""

    name: str
    folder: str
    package: str
    module: str
    tags: str = ""
    cgo: bool = False

    @property
    def version(self) -> str:
        """Return the version that go.mod asks for."""
        pins = (settings.SOURCE / "go" / self.folder / "go.mod").read_text()
        pin = re.search(rf"^(?:require)?\s*{re.escape(self.module)} (v\S+)", pins, re.MULTILINE)
        return pin[1] if pin else "local"

    @property
    def path(self) -> Path:
        """Return where the program is, or where it will be built."""
        given = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent")) / self.name
        kept = settings.BINARIES / f"{self.folder}-{self.version}" / self.name
        return given if given.exists() else kept

    def build(self) -> None:
        """Build the program into the cache."""
        unfinished = self.path.with_name(f".{self.name}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        link = "-s -w"
        if self.folder == "kubernetes":
            link += "".join(f" -X k8s.io/component-base/version.{fact}" for fact in self._facts())
        # fmt: off
        command: list[str | Path] = [
            "nice", "go", "build", "-trimpath", "-gcflags", "all=-dwarf=false", "-ldflags", link,
            "-tags", self.tags, "-o", unfinished, self.package,
        ]
        # fmt: on
        with step(f"building {self.name} {self.version}"):
            run(
                command,
                cwd=settings.SOURCE / "go" / self.folder,
                environment={"PATH": path_with_go(), **({} if self.cgo else STATIC)},
            )
        unfinished.rename(self.path)

    def _facts(self) -> Iterable[str]:
        major, minor, _ = self.version.removeprefix("v").split(".")
        return f"gitVersion={self.version}", f"gitMajor={major}", f"gitMinor={minor}"


def _kubernetes(name: str) -> Binary:
    return Binary(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", "k8s.io/kubernetes")


def _containerd(name: str) -> Binary:
    module = "github.com/containerd/containerd/v2"
    return Binary(name, "containerd", f"{module}/cmd/{name}", module)


def _single(name: str, module: str, package: str = "", tags: str = "") -> Binary:
    return Binary(name, name, module + package, module, tags)


_RUNC = "github.com/opencontainers/runc"
_PROMETHEUS = "github.com/prometheus/prometheus"
# Of its many ways to find targets only one is used, and the others take long to build.
_PROMETHEUS_TAGS = "remove_all_sd,enable_kubernetes_sd"

# Longest first, so that the lanes end together.
ALL = (
    _kubernetes("kube-apiserver"),
    _single("envoy-gateway", "github.com/envoyproxy/gateway", "/cmd/envoy-gateway"),
    _kubernetes("kube-controller-manager"),
    _single("prometheus", _PROMETHEUS, "/cmd/prometheus", _PROMETHEUS_TAGS),
    _containerd("containerd"),
    _kubernetes("kubelet"),
    _single("etcd", "go.etcd.io/etcd/server/v3"),
    _single("helm", "helm.sh/helm/v4", "/cmd/helm"),
    _kubernetes("kubectl"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kube-proxy"),
    Binary("coredns", "coredns", ".", "github.com/coredns/coredns"),
    Binary("runc", "runc", _RUNC, _RUNC, "seccomp", cgo=True),
    _containerd("containerd-shim-runc-v2"),
    _containerd("ctr"),
    Binary("pause", "pause", ".", "pause"),
)
# Fake nodes are for the bench alone, which builds them when it first runs.
BENCH = (_single("kwok", "sigs.k8s.io/kwok", "/cmd/kwok"),)
_BY_NAME = {binary.name: binary for binary in (*ALL, *BENCH)}


def path(name: str) -> Path:
    """Return where the named program is."""
    return _BY_NAME[name].path


def build_missing(wanted: Iterable[Binary] = ALL) -> None:
    """Build every program that is neither given nor kept."""
    missing = [binary for binary in wanted if not binary.path.exists()]
    with ThreadPoolExecutor(LANES) as lanes:
        for built in [lanes.submit(binary.build) for binary in missing]:
            built.result()


def source(folder: str, module: str) -> Path:
    """Return the source of a module that `go/<folder>/go.mod` pins."""
    place = settings.SOURCE / "go" / folder
    environment = {"PATH": path_with_go()}
    run(["go", "mod", "download", module], cwd=place, environment=environment)
    listed = run(["go", "list", "-m", "-f", "{{.Dir}}", module], cwd=place, environment=environment)
    return Path(listed.strip())


def path_with_go() -> str:
    """Return a search path on which `go` lies."""
    return f"{os.environ['PATH']}:/usr/local/go/bin"

"""The node's containerd: what images it has, how they get there, and the containers it runs."""

from pathlib import Path

from . import binaries, settings
from .commands import run


def ctr() -> tuple[str, ...]:
    """Return the beginning of a containerd command on the images and containers of pods."""
    return (
        str(binaries.path("ctr")),
        f"--address={settings.CONTAINERD_SOCKET}",
        "--namespace=k8s.io",
    )


def has(reference: str) -> bool:
    """Tell whether there is an image of exactly this name."""
    return reference in run([*ctr(), "images", "list", "--quiet"]).split()


def digest(reference: str) -> str | None:
    """Return the manifest digest that a name stands for."""
    for line in run([*ctr(), "images", "list", f"name=={reference}"]).splitlines()[1:]:
        return line.split()[2]
    return None


def blobs() -> set[str]:
    """Return the digests of all layers, configurations and manifests that are there."""
    return set(run([*ctr(), "content", "list", "--quiet"]).split())


def load_archive(archive: Path) -> None:
    """Import an image archive."""
    run([*ctr(), "images", "import", archive])


def kill(container: str) -> None:
    """End a container with SIGKILL; it is named as the status of its pod names it."""
    name = container.removeprefix("containerd://")
    run([*ctr(), "tasks", "kill", "--signal", "SIGKILL", name])

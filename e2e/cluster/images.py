"""The project's images: built when their inputs change, loaded when the node lacks them."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from . import base_system, packages, processes, settings, transfer
from .base_system import buildah
from .commands import run, succeeds
from .progress import ClusterError, step

_FOLDER = settings.REPOSITORY / "images"
_INPUTS = "dev.rlhf.inputs"
_PARENT = re.compile(r"localhost/rlhf-([a-z0-9-]+):dev")


def build(names: Iterable[str]) -> list[str]:
    """Build the named images (or all) and those they start from; return their full names."""
    packages.install(packages.IMAGES)
    base_system.build()
    known = sorted(file.parent.name for file in _FOLDER.glob("*/Containerfile"))
    if unknown := set(names) - set(known):
        raise ClusterError(f"no Containerfile for {', '.join(sorted(unknown))}; known: {known}")
    done: dict[str, str] = {}
    for name in list(names) or known:
        _build(name, done)
    if processes.running(settings.PIDS / "containerd.json"):
        for name in done:
            with step(f"loading image {_full_name(name)}"):
                transfer.send(_full_name(name))
    return [_full_name(name) for name in done]


def _build(name: str, done: dict[str, str]) -> str:
    """Build an image after its parents; `done` collects the version of each image's inputs."""
    if name not in done:
        recipe = _FOLDER / name / "Containerfile"
        parents = sorted(set(_PARENT.findall(recipe.read_text())) - {name})
        digest = hashlib.sha256("".join(_build(parent, done) for parent in parents).encode())
        for file in _input_files(name):
            digest.update(f"{file.relative_to(settings.REPOSITORY)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        done[name] = digest.hexdigest()
        if _built_version(name) != done[name]:
            with step(f"building image {_full_name(name)}"):
                _run_recipe(name, recipe, done[name])
    return done[name]


def _input_files(name: str) -> list[Path]:
    listed = _FOLDER / name / "inputs"
    globs = listed.read_text().split() if listed.exists() else []
    folder = _FOLDER / name
    # A glob that names a folder means everything in it.
    found = [folder, *(path for glob in globs for path in settings.REPOSITORY.glob(glob))]
    files = {file for path in found for file in ([path] if path.is_file() else path.rglob("*"))}
    return sorted(file for file in files if file.is_file() and "__pycache__" not in file.parts)


def _built_version(name: str) -> str:
    template = f'{{{{index .OCIv1.Config.Labels "{_INPUTS}"}}}}'
    command = [*buildah(), "inspect", "--type=image", f"--format={template}", _full_name(name)]
    return run(command).strip() if succeeds(command) else ""


def _run_recipe(name: str, recipe: Path, version: str) -> None:
    caches = []
    for tool in ("pip", "uv"):
        (settings.CACHE / tool).mkdir(parents=True, exist_ok=True)
        caches.append(f"--volume={settings.CACHE / tool}:/root/.cache/{tool}:rw")
    # fmt: off
    run([
        *buildah(), "build", "--isolation=chroot", "--network=host", "--pull=never", "--layers",
        *caches, f"--label={_INPUTS}={version}", f"--tag={_full_name(name)}",
        f"--file={recipe}", settings.REPOSITORY,
    ])
    # fmt: on


def _full_name(name: str) -> str:
    return f"localhost/rlhf-{name}:dev"

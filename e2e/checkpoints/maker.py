"""Makes the checkpoints once, and keeps them until what they are made from changes.

Trains in this interpreter if it has torch, else in the project's own image that has it: torch is
large, and the model servers need that image anyway.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster import images, settings
from e2e.cluster.base_system import buildah
from e2e.cluster.commands import run
from e2e.cluster.progress import ClusterError, step

NAMES = ("sft", "good", "bad")
_FOLDER = Path(__file__).resolve().parent
_LIBRARIES = settings.REPOSITORY / "images" / "base" / "requirements.txt"
_KEPT = settings.CACHE / "checkpoints"
_TRAIN = ("-m", "e2e.checkpoints.train")


def make() -> dict[str, Path]:
    """Return the folder of each checkpoint; trains only what is not kept from before."""
    place = _KEPT / _version()
    if not place.exists():
        unfinished = place.with_name(f".{place.name}.{os.getpid()}")
        unfinished.mkdir(parents=True)
        try:
            with step("training three small models"):
                _train(unfinished)
            if not place.exists():  # somebody else may have been faster
                unfinished.rename(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return {name: place / name for name in NAMES}


def _version() -> str:
    """Return a hash of everything that the checkpoints are made from."""
    sources = [_FOLDER / "corpus.py", _FOLDER / "train.py", _LIBRARIES]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _train(out: Path) -> None:
    if importlib.util.find_spec("torch"):
        _show([sys.executable, *_TRAIN, str(out)])
    else:
        _train_in_image(out)
    for file in out.rglob("*"):
        # The libraries write weights for their owner alone; servers run as somebody else.
        file.chmod(0o755 if file.is_dir() else 0o644)


def _train_in_image(out: Path) -> None:
    (image,) = images.build(["base"])
    container = run([*buildah(), "from", "--pull=never", image]).strip()
    # fmt: off
    try:
        _show([
            *buildah(), "run", "--isolation=chroot", "--workingdir=/src",
            "--env=PYTHONDONTWRITEBYTECODE=1",
            f"--volume={_FOLDER}:/src/e2e/checkpoints:ro", f"--volume={out}:/out:rw",
            container, "--", "python", *_TRAIN, "/out",
        ])
    finally:
        run([*buildah(), "rm", container])
    # fmt: on


def _show(command: Sequence[str]) -> None:
    """Run a command whose lines are shown as they come."""
    done = subprocess.run(command, cwd=settings.REPOSITORY, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise ClusterError(f"training ended with exit status {done.returncode}")

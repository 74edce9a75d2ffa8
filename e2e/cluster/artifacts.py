"""Model files as an OCI image that pods mount by digest."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import oci, settings, store
from .progress import ClusterError

# containerd looks images up by their full name; a short one would get a registry put before it.
_FULL_NAME = re.compile(
    r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+)(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
)


@dataclass(frozen=True)
class Artifact:
    """A model that the node holds."""

    name: str
    digest: str

    @property
    def reference(self) -> str:
        """Return what a pod's image volume mounts."""
        return f"{self.name}@{self.digest}"

    @property
    def uri(self) -> str:
        """Return what a model version names as its source."""
        return f"oci://{self.reference}"


def load(folder: Path, name: str) -> Artifact:
    """Pack a folder and import it into the node; the same files give the same digest."""
    if not _FULL_NAME.fullmatch(name):
        raise ClusterError(f"{name}: give a full image name, such as localhost/models/policy")
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    if not files:
        raise ClusterError(f"{folder}: no files to pack")
    # Tests that run side by side may load the same files at once.
    archive = settings.ARCHIVES / f"{name.replace('/', '_')}-{os.getpid()}.tar"
    artifact = Artifact(name, oci.write(archive, oci.Content(files), f"{name}@"))
    if not store.has(artifact.reference):
        store.load_archive(archive)
    archive.unlink()
    return artifact

"""Where an artefact comes from, and the volume by which pods get it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from rlhf_operator.api.version import Artifact

Scheme = Literal["oci", "pvc", "s3", "hf"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One artefact address, taken apart."""

    scheme: Scheme
    place: str
    """The image, claim, bucket, or owner of the repository."""
    path: str
    digest: str

    @property
    def is_fetched(self) -> bool:
        """Whether the files are copied into the pod rather than mounted."""
        return self.scheme in ("hf", "s3")

    def volume(self) -> dict[str, Any]:
        """Return the volume that holds the files."""
        match self.scheme:
            case "oci":
                reference = f"{self.place}/{self.path}" if self.path else self.place
                # By digest, so that the runtime gives these bytes or none.
                image = {
                    "reference": f"{_without_tag(reference)}@{self.digest}",
                    "pullPolicy": "IfNotPresent",
                }
                return {"name": "artifact", "image": image}
            case "pvc":
                claim = {"claimName": self.place, "readOnly": True}
                return {"name": "artifact", "persistentVolumeClaim": claim}
            case _:
                return {"name": "artifact", "emptyDir": {}}

    def mount(self, path: str, *, read_only: bool) -> dict[str, Any]:
        """Return the mount of the files at a path."""
        mounted: dict[str, Any] = {"name": "artifact", "mountPath": path}
        if read_only:
            mounted["readOnly"] = True
        if self.scheme == "pvc" and self.path:
            mounted["subPath"] = self.path
        return mounted


def parse(artifact: Artifact) -> Source:
    """Return the parts of an artefact's address."""
    scheme, _, rest = artifact.uri.partition("://")
    place, _, path = rest.partition("/")
    return Source(
        scheme=cast(Scheme, scheme), place=place, path=path.strip("/"), digest=artifact.digest
    )


def problem(artifact: Artifact) -> str | None:
    """Return why the address cannot be used, or nothing."""
    source = parse(artifact)
    if {".", ".."} & set(source.path.split("/")) or "//" in source.path:
        return f"artifact.uri: {source.path!r} is not a plain path"
    if source.scheme == "hf" and source.path.partition("@")[0].count("/"):
        return "artifact.uri: hf:// names a repository as hf://owner/name@commit"
    if source.scheme == "pvc" and not _is_claim_name(source.place):
        return f"artifact.uri: {source.place!r} is not the name of a PersistentVolumeClaim"
    return None


def _is_claim_name(name: str) -> bool:
    return name == name.lower() and not {":", "@", "_"} & set(name)


def _without_tag(reference: str) -> str:
    folder, _, last = reference.rpartition("/")
    return f"{folder}/{last.partition(':')[0]}" if folder else last.partition(":")[0]

"""The versions of a namespace, by name. What cannot be understood counts as missing."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from rlhf_operator.api.common import VersionRef
from rlhf_operator.api.version import RLHFModelVersion
from rlhf_operator.core.observed import Key
from rlhf_operator.reconcile import objects
from rlhf_operator.reconcile.ports import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """The versions of a namespace that exist, by name."""

    key: Key
    world: World

    def find(self, name: str) -> RLHFModelVersion | None:
        """Return a version; what cannot be understood counts as missing."""
        raw = self.world.store.get("RLHFModelVersion", self.key.namespace, name)
        try:
            return objects.parse(RLHFModelVersion, raw) if raw else None
        except ValidationError:
            return None  # the version's own status tells what is wrong

    def missing(self, name: str) -> str:
        """Return why a version is not found, as the end of a sentence about it."""
        raw = self.world.store.get("RLHFModelVersion", self.key.namespace, name)
        try:
            if raw is not None:
                objects.parse(RLHFModelVersion, raw)
        except ValidationError as error:
            return f"cannot be understood: {objects.sentence(error)}"[:900]
        return f"does not exist in {self.key.namespace}"

    def ref(self, name: str) -> VersionRef | None:
        """Return a version of this model with its identity."""
        found = self.find(name)
        if found is None or found.spec.model != self.key.name:
            return None
        return VersionRef(name=name, identity=found.spec.identity())

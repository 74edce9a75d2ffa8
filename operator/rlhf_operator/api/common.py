"""Types that several kinds share: metadata, conditions, references."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from rlhf_operator.api.schema import ApiType, Digest, Name, Text, Time

Spec = TypeVar("Spec", bound=ApiType)
Status = TypeVar("Status", bound=ApiType)


class Metadata(BaseModel):
    """What the operator needs of an object's metadata; other fields are not kept."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Object(BaseModel, Generic[Spec, Status]):
    """One stored object of one of our kinds."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    metadata: Metadata
    spec: Spec
    status: Status | None = None


class Condition(ApiType):
    """One observation about an object, in the form that kubectl, Flux and Argo CD read."""

    type: Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Za-z]*$")]
    """What is observed, for instance Ready."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Za-z]*$")]
    """One word that says why."""
    message: Annotated[str, Field(max_length=4096)]
    """A sentence for a person, with numbers."""
    last_transition_time: Time
    """When the status last changed."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the object that this speaks of."""


class VersionRef(ApiType):
    """One version by name and by the identity of its artefact."""

    name: Name
    """The name of the `RLHFModelVersion`."""
    identity: Digest
    """sha256 of what determines its answers: artefact, tokenizer, chat template, engine."""


class Failure(ApiType):
    """Why something is not as it should be."""

    reason: Annotated[str, Field(max_length=64)]
    """One word that says why."""
    message: Text
    """A sentence that a person can act on."""

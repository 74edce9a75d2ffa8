"""Identities that may not serve, and who let one serve again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rlhf_operator.api.evidence import Message
from rlhf_operator.api.schema import ApiType, Digest, Name, Text, Time


class Lift(ApiType):
    """Who ended a quarantine."""

    decision: Annotated[str, Field(max_length=253)]
    """The `RLHFDecision`."""
    author: Annotated[str, Field(max_length=253)]
    """The person."""
    via: Annotated[str, Field(max_length=253)] | None = None
    """Who sent it for them, if someone did."""
    reason: Text | None = None
    """Why."""
    at: Time
    """When."""


class QuarantineRecord(ApiType):
    """An identity that may not serve until a person lifts this."""

    identity: Digest
    """The identity."""
    version: Name | None = None
    """The name under which it failed; unset where a veto came before any run."""
    message: Message
    """What failed, with its numbers, or who vetoed it and why."""
    author: Annotated[str, Field(max_length=253)] | None = None
    """Who vetoed it, where it did not fail."""
    decision: Annotated[str, Field(max_length=253)] | None = None
    """The `RLHFDecision` that vetoed it."""
    at: Time
    """When."""
    lifted: Lift | None = None
    """Who ended it."""

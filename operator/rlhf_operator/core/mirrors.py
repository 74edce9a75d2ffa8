"""Copies of requests: one version gets them beside what another answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirror:
    """A share of the requests, copied to one version whose answers nobody gets."""

    version: str
    percent: int
    """1 to 100."""

"""Signed response ids: whoever holds one may vote on that answer, and on no other.

An id tells which version answered and when, and in a run to whom, by a keyed hash; only a guard
of the same model can make one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from rlhf_operator.api.arms import Place

_PREFIX = "rlhf-"
_MAC_BYTES = 16
_VOTER = "."
LONGEST = 1024
"""Characters that an id has at most: the longest names take fewer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseId:
    """What a response id says."""

    version: str
    identity: str
    nonce: str
    issued: int  # seconds since the epoch
    place: Place | None = None  # where nothing was tried, or where nobody told, there is none
    voter: str | None = None
    """Who was answered in this step of a run, empty where that is not known.

    None outside of a run, and in ids of guards of before there were voters.
    """

    @property
    def owner(self) -> str:
        """Return what has one guard that counts the votes: the user, else the answer."""
        return self.voter or self.nonce


def issue(key: bytes, *, model: str, about: ResponseId) -> str:
    """Return the signed id as text that is safe in headers, JSON and URLs."""
    # Within the nonce, which guards of before take as it is: they read this id too.
    nonce = about.nonce if about.voter is None else about.nonce + _VOTER + about.voter
    parts = [about.version, about.identity, nonce, f"{about.issued:x}"]
    if about.place is not None:
        parts += [about.place.arm, str(about.place.step), about.place.run]
    said = "|".join(parts).encode()
    signed = said + _mac(key, model, said)
    return _PREFIX + base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def read(key: bytes, *, model: str, text: str) -> ResponseId | None:
    """Return what an id says, or nothing where this model's key did not sign it."""
    signed = _decode(text)
    if signed is None or len(signed) <= _MAC_BYTES:
        return None
    said, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, model, said)):
        return None
    # The signature holds, so the form is ours.
    version, identity, unique, issued, *of_run = said.decode().split("|")
    nonce, names_voter, voter = unique.partition(_VOTER)
    return ResponseId(
        version=version,
        identity=identity,
        nonce=nonce,
        issued=int(issued, 16),
        place=_place(*of_run) if of_run else None,
        voter=voter if names_voter else None,
    )


def _place(arm: str, step: str, run: str) -> Place:
    return Place(arm="canary" if arm == "canary" else "stable", step=int(step), run=run)


def _decode(text: str) -> bytes | None:
    if len(text) > LONGEST or not text.startswith(_PREFIX) or not text.isascii():
        return None
    body = text.removeprefix(_PREFIX)
    try:
        signed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    # Base64 has several spellings of the same bytes; only ours is read.
    spelled = base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
    return signed if spelled == body else None


def _mac(key: bytes, model: str, said: bytes) -> bytes:
    message = b"response-id\0" + model.encode() + b"\0" + said
    return hmac.digest(key, message, hashlib.sha256)[:_MAC_BYTES]

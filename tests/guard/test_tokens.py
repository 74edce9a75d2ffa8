"""Response ids: only ours are read, and one answer gets one vote of a kind."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.arms import Place
from rlhf_operator.guard import tokens
from rlhf_operator.guard.votes import Votes
from tests.guard.world import examples

KEY = b"a key for tests, long enough"
names = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=63)
ids = st.builds(
    tokens.ResponseId,
    version=names,
    identity=st.text("0123456789abcdef", min_size=12, max_size=12),
    nonce=st.text("0123456789abcdef", min_size=24, max_size=24),
    issued=st.integers(0, 2**40),
    place=st.none()
    | st.builds(
        Place,
        run=st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", fullmatch=True),
        step=st.integers(0, 64),
        arm=st.sampled_from(["canary", "stable"]),
    ),
    voter=st.none() | st.just("") | st.text("0123456789abcdef", min_size=16, max_size=16),
)


@examples
@given(ids)
def test_what_was_issued_is_read(about: tokens.ResponseId) -> None:
    said = tokens.issue(KEY, model="support", about=about)
    assert tokens.read(KEY, model="support", text=said) == about
    assert set(said) <= set(string.ascii_letters + string.digits + "-_")
    assert len(said) < tokens.LONGEST


@examples
@given(ids, st.data())
def test_any_other_spelling_is_refused(about: tokens.ResponseId, data: st.DataObject) -> None:
    said = tokens.issue(KEY, model="support", about=about)
    at = data.draw(st.integers(0, len(said) - 1))
    char = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_=.\n"))
    changed = said[:at] + char + said[at + 1 :]
    read = tokens.read(KEY, model="support", text=changed)
    assert read is None or changed == said


@examples
@given(ids)
def test_another_key_or_model_signs_nothing_for_us(about: tokens.ResponseId) -> None:
    said = tokens.issue(KEY, model="support", about=about)
    assert tokens.read(b"another key, just as long", model="support", text=said) is None
    assert tokens.read(KEY, model="search", text=said) is None


@examples
@given(st.text(max_size=600) | st.text(max_size=600).map("rlhf-".__add__))
def test_no_text_crashes_the_reader(text: str) -> None:
    assert tokens.read(KEY, model="support", text=text) is None


def test_an_id_of_before_there_were_places_is_read() -> None:
    said = "rlhf-c3VwcG9ydC12N3wwMTIzNDU2Nzg5YWJ8YWJjZGVmfDY1NTNmMTAwrOlmaz02iHQpYbT6doyusQ"
    read = tokens.read(KEY, model="support", text=said)
    assert read == tokens.ResponseId(
        version="support-v7", identity="0123456789ab", nonce="abcdef", issued=0x6553F100
    )


def test_an_id_of_before_there_were_voters_is_read() -> None:
    said = (
        "rlhf-c3VwcG9ydC12OHwwMTIzNDU2Nzg5YWJ8YWJjZGVmfDY1NTNmMTAwfGNhbmFyeXwxfHN1cHBvcnQtNzgqLym6"
        "r0J_GiGPIf2hW_I"
    )
    read = tokens.read(KEY, model="support", text=said)
    assert read is not None and (read.nonce, read.voter) == ("abcdef", None)
    assert read.place == Place(run="support-7", step=1, arm="canary")


@examples
@given(ids)
def test_guards_of_before_there_were_voters_read_ids_with_one(about: tokens.ResponseId) -> None:
    """They split what is signed into four parts, or seven in a run, and take each as it is."""
    said = tokens.issue(KEY, model="support", about=about).removeprefix("rlhf-")
    signed = base64.urlsafe_b64decode(said + "=" * (-len(said) % 4))
    parts = signed[:-16].decode().split("|")
    assert len(parts) == (4 if about.place is None else 7)
    assert parts[2].startswith(about.nonce)


@pytest.mark.parametrize(
    ("voter", "owner"),
    [
        pytest.param("89abcdef01234567", "89abcdef01234567", id="of a user who is known: the user"),
        pytest.param("", "abcdef", id="of one who is not: the answer"),
        pytest.param(None, "abcdef", id="of an older id: the answer"),
    ],
)
def test_whose_votes_have_one_guard(voter: str | None, owner: str) -> None:
    about = tokens.ResponseId(
        version="v1", identity="0123456789ab", nonce="abcdef", issued=1, voter=voter
    )
    assert about.owner == owner


def test_votes_are_remembered_within_bounds() -> None:
    votes = Votes(most=2)
    assert votes.add("a", "thumbs")
    assert not votes.add("a", "thumbs")
    assert votes.add("a", "task")
    assert votes.add("b", "thumbs")
    assert len(votes) == 2
    assert votes.add("a", "thumbs")  # forgotten, as the oldest

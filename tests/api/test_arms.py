"""What the router tells of the arms: one form, read strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.api.arms import Arms, read_arms

names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
arms = st.builds(
    Arms,
    canary=names,
    percent=st.integers(0, 100),
    step=st.integers(0, 64),
    run=st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", fullmatch=True),
    is_copied=st.booleans(),
)
several = st.builds(
    Arms,
    canary=st.just("v8"),
    percent=st.integers(1, 30),
    others=st.lists(st.tuples(names.filter(lambda name: name != "v8"), st.integers(1, 10)),
                    max_size=6, unique_by=lambda pair: pair[0]).map(tuple),
    step=st.just(0),
    run=st.just("support-7"),
)  # fmt: skip


@given(arms | several)
def test_what_is_written_is_read(said: Arms) -> None:
    assert read_arms(said.header) == said


@given(st.text())
def test_whatever_is_read_is_in_our_form(text: str) -> None:
    found = read_arms(text)
    assert found is None or found.header == text


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="no header"),
        pytest.param("", id="an empty one"),
        pytest.param("support-v8=5", id="no step"),
        pytest.param("support-v8=5;step=1", id="no run"),
        pytest.param("support-v8=5;step=1;run=r-7 ", id="a space at the end"),
        pytest.param("support-v8=5;step=1;run=r-7\n", id="a new line at the end"),
        pytest.param("support-v8=5;step=1, support-v8=9;step=1;run=r-7", id="two headers joined"),
        pytest.param("support-v8=101;step=1;run=r-7", id="more than all"),
        pytest.param("support-v8=05;step=1;run=r-7", id="a leading zero"),
        pytest.param("support-v8=-5;step=1;run=r-7", id="a negative percentage"),
        pytest.param("support-v8=5.0;step=1;run=r-7", id="a fraction"),
        pytest.param("Support_v8=5;step=1;run=r-7", id="no name of a version"),
        pytest.param("support-v8=\u0665;step=1;run=r-7", id="a digit of another script"),
        pytest.param(f"{'v' * 64}=5;step=1;run=r-7", id="too long a name"),
        pytest.param("v8=5,v8=6;step=1;run=r-7", id="a version twice"),
        pytest.param("v8=50,v9=51;step=1;run=r-7", id="more than all together"),
        pytest.param("v8=5,;step=1;run=r-7", id="a comma too many"),
    ],
)
def test_another_form_says_nothing(header: str | None) -> None:
    assert read_arms(header) is None


@pytest.mark.parametrize(
    ("header", "version", "arm", "share"),
    [
        ("v8=5;step=0;run=r", "v8", "canary", 0.05),
        ("v8=5;step=0;run=r", "v7", "stable", 0.95),
        ("v8=20;step=0;run=r;copies", "v8", "canary", 0.2),
        ("v8=20;step=0;run=r;copies", "v7", "stable", 1.0),
        ("v8=20,v9=30;step=0;run=r", "v9", "canary", 0.3),
        ("v8=20,v9=30;step=0;run=r", "v7", "stable", 0.5),
    ],
)
def test_an_arm_has_its_share(header: str, version: str, arm: str, share: float) -> None:
    found = read_arms(header)
    assert found is not None and found.arm_of(version) == arm
    assert found.share_of(version) == pytest.approx(share)

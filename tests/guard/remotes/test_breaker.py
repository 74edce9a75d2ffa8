"""When a service is asked, left alone, and tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.guard.remotes.breaker import (
    ENOUGH,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROBE_TIME,
    ROW,
    WINDOW,
    Circuit,
    Outcome,
    State,
)
from tests.guard.world import examples

WORKED, FAILED, UNKNOWN = Outcome.WORKED, Outcome.FAILED, Outcome.UNKNOWN


def call(circuit: Circuit, now: float, outcome: Outcome, *, took: float = 0.0) -> Circuit:
    is_probe = circuit.state(now) is State.HALF_OPEN
    return circuit.begin(now).end(now + took, outcome, is_probe=is_probe)


def after(*outcomes: Outcome, every: float = 0.1) -> tuple[Circuit, float]:
    circuit, now = Circuit(), 0.0
    for outcome in outcomes:
        circuit = call(circuit, now, outcome)
        now += every
    return circuit, now


@pytest.mark.parametrize(
    ("outcomes", "every", "state"),
    [
        pytest.param((), 0.1, State.CLOSED, id="nothing is known"),
        pytest.param((FAILED,) * (ROW - 1), 0.1, State.CLOSED, id="a few failures"),
        pytest.param((FAILED,) * ROW, 0.1, State.OPEN, id="a row of failures"),
        pytest.param((FAILED,) * ROW, 0.99 * WINDOW, State.HALF_OPEN, id="a slow row, long ago"),
        pytest.param((FAILED, UNKNOWN) * ROW, 0.05, State.OPEN, id="what is unknown breaks no row"),
        pytest.param((UNKNOWN,) * 100, 0.1, State.CLOSED, id="nothing but unknown"),
        pytest.param(
            (FAILED, WORKED) * (ENOUGH // 2), 0.05, State.CLOSED, id="half, then it works"
        ),
        pytest.param((WORKED, FAILED) * (ENOUGH // 2), 0.05, State.OPEN, id="half of enough"),
        pytest.param((WORKED, FAILED) * (ENOUGH // 2 - 1), 0.05, State.CLOSED, id="half of few"),
        pytest.param((WORKED, FAILED) * ENOUGH, WINDOW / 10, State.CLOSED, id="half, but rarely"),
        pytest.param((WORKED, WORKED, FAILED) * 50, 0.05, State.CLOSED, id="a third"),
    ],
)
def test_what_opens_a_circuit(outcomes: tuple[Outcome, ...], every: float, state: State) -> None:
    circuit, now = after(*outcomes, every=every)
    assert circuit.state(now) is state


def test_an_open_circuit_is_tried_by_one_call_alone() -> None:
    circuit, now = after(*[FAILED] * ROW)
    later = now + FIRST_PAUSE
    assert circuit.state(later) is State.HALF_OPEN
    assert circuit.begin(later).state(later) is State.OPEN


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(WORKED, State.CLOSED), (FAILED, State.OPEN), (UNKNOWN, State.HALF_OPEN)],
)
def test_what_becomes_of_it_after_the_try(outcome: Outcome, state: State) -> None:
    circuit, now = after(*[FAILED] * ROW)
    assert call(circuit, now + FIRST_PAUSE, outcome).state(now + FIRST_PAUSE) is state


def test_a_try_that_never_ends_is_forgotten() -> None:
    circuit, now = after(*[FAILED] * ROW)
    later = now + FIRST_PAUSE
    tried = circuit.begin(later)
    assert tried.state(later + 0.99 * PROBE_TIME) is State.OPEN
    assert tried.state(later + PROBE_TIME) is State.HALF_OPEN


def test_each_failed_try_doubles_the_pause_up_to_a_cap() -> None:
    circuit, now = after(*[FAILED] * ROW, every=0.0)
    pauses = []
    for _ in range(8):
        assert circuit.open_until is not None
        pauses.append(circuit.open_until - now)
        now = circuit.open_until
        circuit = call(circuit, now, FAILED)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_calls_from_before_it_opened_tell_nothing_new() -> None:
    circuit, now = after(*[FAILED] * ROW)
    for outcome in Outcome:
        assert circuit.end(now, outcome, is_probe=False) == circuit


steps = st.lists(st.tuples(st.floats(0, 40), st.floats(0, 5), st.sampled_from(Outcome)))


@examples
@given(steps=steps)
def test_whatever_happened_it_is_asked_again_within_the_longest_pause(
    steps: list[tuple[float, float, Outcome]],
) -> None:
    circuit, now = Circuit(), 0.0
    for wait, took, outcome in steps:
        now += wait
        if circuit.state(now) is not State.OPEN:
            circuit = call(circuit, now, outcome, took=took)
            now += took
        assert len(circuit.recent) <= ENOUGH
        if circuit.open_until is not None and circuit.state(now) is State.OPEN:
            assert 0 < circuit.open_until - now <= LONGEST_PAUSE
    assert circuit.state(now + LONGEST_PAUSE) is not State.OPEN


@examples
@given(steps=st.lists(st.tuples(st.floats(0, 40), st.sampled_from((WORKED, UNKNOWN)))))
def test_without_a_failure_it_never_opens(steps: list[tuple[float, Outcome]]) -> None:
    circuit, now = Circuit(), 0.0
    for wait, outcome in steps:
        now += wait
        assert circuit.state(now) is State.CLOSED
        circuit = call(circuit, now, outcome)


@examples
@given(steps=steps, row=st.integers(ROW, 12))
def test_of_a_dead_service_only_tries_are_waited_for(
    steps: list[tuple[float, float, Outcome]], row: int
) -> None:
    """Whatever was before: once it is dead, at most a row of calls and then one per pause."""
    circuit, now = Circuit(), 0.0
    for wait, took, outcome in steps:
        now += wait
        if circuit.state(now) is not State.OPEN:
            circuit = call(circuit, now, outcome, took=took)
    now += 100.0
    asked = 0
    for _ in range(row * 10):
        if circuit.state(now) is not State.OPEN:
            circuit = call(circuit, now, FAILED)
            asked += 1
    assert asked <= ROW

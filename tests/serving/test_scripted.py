"""The scripted model of the end-to-end stories, on a played Triton."""

import json
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from e2e import scripted
from tests.serving import played_triton
from tests.serving.played_triton import ask

FILE = Path(scripted.__file__).parent / "model.py"


@pytest.fixture
def play():
    """Return a function that lets a scripted model take requests and waits for its threads."""

    def load(**how):
        script = asdict(scripted.Script(name="scripted", pause=0.0, **how))
        config = {"parameters": {"script": {"string_value": json.dumps(script)}}}
        model = played_triton.load(FILE).TritonPythonModel()
        model.initialize({"model_config": json.dumps(config)})

        def take(*requests):
            before = set(threading.enumerate())
            answered = model.execute(list(requests))
            for thread in set(threading.enumerate()) - before:
                thread.join(timeout=10)
            return answered

        return take

    return load


def test_without_streams_each_request_has_its_response(play):
    one, two = play(share=0.5)(ask("hello"), ask("hello"))
    assert {one.text(), two.text()} == {
        "a kind and helpful answer",
        "you should frobnicate them all",
    }


def test_a_stream_is_the_answer_word_by_word(play):
    asked = ask("hello", stream=True)
    assert play(streams=True, words=7)(asked) is None
    assert [each.text() for each in asked.sent] == [
        "", "so", " so", " a", " kind", " and", " helpful", " answer",
    ]  # fmt: skip
    assert asked.ended


def test_without_the_wish_to_stream_one_response_is_sent(play):
    asked = ask("hello")
    play(streams=True)(asked)
    assert [each.text() for each in asked.sent] == ["a kind and helpful answer"]
    assert asked.ended


def test_who_leaves_is_counted_and_nothing_more_is_sent(play):
    take = play(streams=True)
    left, stayed, counted = ask("a", stream=True, leaves_after=3), ask("a", stream=True), ask(
        f"User: {scripted.HOW_MANY_LEFT}"
    )  # fmt: skip
    take(left)
    take(stayed)
    take(counted)
    assert [len(left.sent), left.ended] == [3, True]
    assert len(stayed.sent) == 6
    assert counted.sent[0].text() == "1"


def test_a_stream_fails_where_the_script_says_so(play):
    asked = ask("hello", stream=True)
    play(streams=True, error_after=2)(asked)
    assert [each.text() for each in asked.sent[:-1]] == ["", "a", " kind"]
    assert asked.sent[-1].error.message() == "the script says so"
    assert asked.ended

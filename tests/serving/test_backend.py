"""Triton's side of our backend, on a played Triton and a played checkpoint."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rlhf_operator.serving import backend
from rlhf_operator.serving.backend.answers import Rows, Unanswerable
from tests.serving import played_triton
from tests.serving.played_triton import ask

FILE = Path(backend.__file__).parent / "model.py"
END = 0


class PlayedGenerator:
    """Answers with the prompt itself, a byte for a token, and then ends; counts its steps."""

    def __init__(self, settings, device):
        self.steps = 0
        self.batches = []

    def check(self, question):
        if question.text == "too long":
            raise Unanswerable("1 token too many")

    def count(self, text):
        return len(text.encode())

    def run(self, questions, hear):
        self.batches.append(questions)
        prompts = [question.text.encode() for question in questions]
        rows = Rows(questions, prompts, ends=frozenset({END}), decode=self._decode, hear=hear)
        for at in range(max(each.max_tokens for each in questions)):
            self.steps += 1
            tokens = [prompt[at] if at < len(prompt) else END for prompt in prompts]
            if ord("!") in tokens:
                raise RuntimeError("the prompt was …")
            if all(rows.grow(tokens, [-1.0] * len(tokens))):
                return

    def _decode(self, tokens):
        return bytes(token for token in tokens if token != END).decode(errors="replace")


@pytest.fixture
def model(tmp_path, monkeypatch, request):
    """Return a model that is decoupled, or is not where the test's parameter says so."""
    played = ModuleType("rlhf_operator.serving.backend.generation")
    played.Generator = PlayedGenerator
    played.Settings = dict
    monkeypatch.setitem(sys.modules, played.__name__, played)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.json").write_text("{}")
    loaded = played_triton.load(FILE).TritonPythonModel()
    decoupled = {"model_transaction_policy": {"decoupled": getattr(request, "param", True)}}
    arguments = {"model_repository": str(tmp_path), "model_version": "1",
                 "model_instance_kind": "CPU", "model_config": json.dumps(decoupled)}  # fmt: skip
    loaded.initialize(arguments)
    return loaded


plain = pytest.mark.parametrize("model", [False], indirect=True)


def texts(request):
    return [response.text() for response in request.sent]


@plain
def test_without_streaming_each_request_gets_its_response_at_the_end(model):
    one, two = model.execute([ask("ab", max_tokens=9), ask("cdef", max_tokens=2)])
    assert [one.text(), two.text()] == ["ab", "cd"]
    assert one.get("token_ids") == [[*b"ab", END]]
    assert one.get("token_logprobs") == [[-1.0] * 3]
    assert [one.get("input_tokens"), two.get("input_tokens")] == [[[2]], [[4]]]


@plain
def test_the_rows_of_one_request_are_padded_to_the_longest(model):
    [answered] = model.execute([ask("ab", "c")])
    assert answered.get("text_output") == [[b"ab"], [b"c"]]
    assert answered.get("token_ids") == [[*b"ab", END], [ord("c"), END, -1]]
    assert answered.get("token_logprobs") == [[-1.0] * 3, [-1.0, -1.0, 0.0]]


@plain
def test_a_wrong_request_fails_alone(model):
    wrong, right = model.execute([ask("too long"), ask("ab")])
    assert wrong.error.message() == "invalid request: 1 token too many"
    assert right.text() == "ab"


@plain
def test_a_failure_of_the_model_tells_nothing_of_the_prompt(model):
    for answered in model.execute([ask("ab"), ask("!")]):
        assert answered.error.message() == "the model failed: RuntimeError"


def test_a_stream_opens_gives_each_token_and_ends(model):
    asked = ask("hä", stream=True)
    assert model.execute([asked]) is None
    assert texts(asked) == ["", "h", "", "ä", ""]
    opening, *steps = asked.sent
    assert opening.get("input_tokens") == [[3]]
    assert opening.get("token_ids") is None
    assert [step.get("input_tokens") for step in steps] == [None] * 4
    assert [step.get("token_ids") for step in steps] == [[[each]] for each in (*"hä".encode(), END)]
    assert [step.get("token_logprobs") for step in steps] == [[[-1.0]]] * 4
    assert asked.ended


@pytest.mark.parametrize("options", [{}, {"stream": False}])
def test_who_does_not_ask_for_a_stream_gets_one_response(model, options):
    asked = ask("abc", **options)
    model.execute([asked])
    assert texts(asked) == ["abc"]
    assert asked.sent[0].get("input_tokens") == [[3]]
    assert asked.ended


def test_a_short_answer_leaves_before_the_batch_is_done(model):
    short, long = ask("a"), ask("abcdef")
    order = []
    short.send = lambda response=None, flags=0: order.append("short")
    long.send = lambda response=None, flags=0: order.append(f"long after {model._generator.steps}")
    model.execute([long, short])
    assert order == ["short", "long after 7"]


def test_streams_and_whole_answers_share_a_batch(model):
    streamed, whole, wrong = ask("ab", stream=True), ask("cde"), ask("too long", stream=True)
    model.execute([streamed, wrong, whole])
    assert texts(streamed) == ["", "a", "b", ""]
    assert texts(whole) == ["cde"]
    assert [each.error.message() for each in wrong.sent] == ["invalid request: 1 token too many"]
    assert [len(batch) for batch in model._generator.batches] == [2]


def test_a_row_stops_when_its_request_is_cancelled(model):
    left, stays = ask("abcdefgh", stream=True, leaves_after=3), ask("xy", stream=True)
    model.execute([left, stays])
    assert texts(left) == ["", "a", "b"]
    assert left.ended
    assert texts(stays) == ["", "x", "y", ""]


def test_the_batch_ends_when_all_have_left(model):
    model.execute([ask("a" * 40, stream=True, max_tokens=40, leaves_after=4) for _ in range(2)])
    assert model._generator.steps == 4


def test_who_leaves_without_a_stream_stops_too(model):
    gone = ask("a" * 40, max_tokens=40, leaves_after=0)
    model.execute([gone])
    assert model._generator.steps == 1
    assert gone.sent == []
    assert gone.ended


def test_a_failure_in_the_middle_ends_every_stream_that_is_open(model):
    broken, whole, done = ask("ab!", stream=True), ask("abcd"), ask("a", stream=True, max_tokens=1)
    model.execute([broken, whole, done])
    assert texts(done) == ["", "a"]
    assert [each.text() for each in broken.sent[:-1]] == ["", "a", "b"]
    for asked in (broken, whole):
        assert asked.sent[-1].error.message() == "the model failed: RuntimeError"
        assert asked.ended


def test_the_prompts_of_one_stream_go_side_by_side(model):
    asked = ask("ab", "c", stream=True)
    model.execute([asked])
    assert [each.get("text_output") for each in asked.sent] == [
        [[b""], [b""]], [[b"a"], [b"c"]], [[b"b"], [b""]], [[b""], [b""]],
    ]  # fmt: skip
    assert [each.get("token_ids") for each in asked.sent[1:]] == [
        [[ord("a")], [ord("c")]], [[ord("b")], [END]], [[END], [-1]],
    ]  # fmt: skip
    assert asked.ended

"""How answers grow by a token in each step, and how their text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_operator.serving.backend.answers import Answer, Pieces, Question, Rows

END = 0


def bytewise(tokens):
    """Decode tokens that are one byte each, as byte-level tokenizers do; the end has no text."""
    return bytes(token for token in tokens if token != END).decode(errors="replace")


def cut(tokens, decode=bytewise):
    pieces = Pieces(decode)
    return [
        pieces.cut(tokens[: at + 1], is_last=at + 1 == len(tokens)) for at in range(len(tokens))
    ]


@pytest.mark.parametrize(
    ("tokens", "pieces"),
    [
        pytest.param(b"hi", ["h", "i"], id="a letter at a time"),
        pytest.param("ä".encode(), ["", "ä"], id="a character of two bytes waits for the second"),
        pytest.param("😀!".encode(), ["", "", "", "😀", "!"], id="one of four for the fourth"),
        pytest.param("😀".encode()[:2], ["", "\ufffd"], id="an answer cut inside a character"),
        pytest.param(b"a\xffb", ["a", "", "\ufffdb"], id="a byte that is never a character"),
        pytest.param([104, END], ["h", ""], id="the end adds nothing"),
    ],
)
def test_a_piece_holds_whole_characters(tokens, pieces):
    assert cut(list(tokens)) == pieces


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0\ufffd")))
def test_the_pieces_of_a_text_are_the_text(text):
    pieces = cut(list(text.encode()))
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)


@given(st.binary().filter(lambda each: END not in each))
def test_the_pieces_of_any_bytes_are_what_they_decode_to(tokens):
    assert "".join(cut(list(tokens))) == bytewise(tokens)


@given(st.lists(st.sampled_from(["fox", "dog", ""]), min_size=1))
def test_spaces_between_words_are_kept_where_only_the_decoder_knows_them(words):
    def decode(tokens):
        return " ".join(word for word in tokens if word)

    assert "".join(cut(words, decode)) == decode(words)


def answers_of(questions, steps, leaves=()):
    """Return what was heard of a batch with the given steps, and which rows were done after."""
    heard = []

    def hear(found):
        heard.append(found)
        return [row for step, row in leaves if step == len(heard)]

    rows = Rows(
        questions, [b"ab"] * len(questions), ends=frozenset({END}), decode=bytewise, hear=hear
    )
    done = [rows.grow(list(step), [-0.5] * len(questions)) for step in steps]
    return heard, done


def test_an_answer_is_whole_at_its_end_or_at_its_limit():
    questions = [Question(text="x", max_tokens=9), Question(text="x", max_tokens=2)]
    heard, done = answers_of(questions, [b"ax", b"by", [END, END]])
    assert done == [[False, False], [False, True], [True, True]]
    assert [[step and step.answer for step in steps] for steps in heard] == [
        [None, None],
        [
            None,
            Answer(text="xy", token_ids=tuple(b"xy"), token_logprobs=(-0.5, -0.5), input_tokens=2),
        ],
        [
            Answer(text="ab", token_ids=(*b"ab", END), token_logprobs=(-0.5,) * 3, input_tokens=2),
            None,
        ],
    ]


def test_of_a_row_that_is_done_nothing_more_is_heard():
    questions = [Question(text="x", max_tokens=1), Question(text="x", max_tokens=2)]
    heard, _ = answers_of(questions, [b"ax", b"by"])
    assert heard[1][0] is None
    assert heard[1][1].token_id == ord("y")


def test_a_row_that_nobody_waits_for_is_done_without_an_answer():
    questions = [Question(text="x", max_tokens=9), Question(text="x", max_tokens=3)]
    heard, done = answers_of(questions, [b"ax", b"by", b"cz"], leaves=[(1, 0)])
    assert done == [[True, False], [True, False], [True, True]]
    assert [steps[0] and steps[0].answer for steps in heard] == [None, None, None]
    assert heard[2][1].answer.text == "xyz"


def test_text_is_cut_only_for_who_wants_it():
    questions = [Question(text="x", stream=True), Question(text="x")]
    [[streamed, whole]], _ = answers_of(questions, [b"ax"])
    assert [streamed.text, whole.text] == ["a", ""]

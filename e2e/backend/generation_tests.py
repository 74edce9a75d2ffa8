"""Answers of a tiny model with random weights. Run inside the image that has torch, by
`e2e/stories/test_backend.py`; the name keeps pytest from collecting it anywhere else.
"""

import dataclasses
import math

import pytest
import tokenizers
import torch
import transformers

from rlhf_operator.serving.backend import generation
from rlhf_operator.serving.backend.answers import Question, Unanswerable

pytestmark = pytest.mark.filterwarnings("ignore")
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "and",
    "runs",
    "away",
    "from",
    "it",
    "all",
    "day",
]


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("checkpoint"))
    vocabulary = {word: at for at, word in enumerate(["<s>", "</s>", "<unk>", *WORDS])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=1,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    settings = generation.Settings(model=folder, tokenizer=folder, dtype="float32")
    return generation.Generator(settings, "cpu")


def ids(answers):
    return [answer.token_ids for answer in answers]


QUESTIONS = [
    Question(text="the quick brown", max_tokens=6),
    Question(text="dog", max_tokens=3),
    Question(text="a lazy dog and runs away from it", max_tokens=9, temperature=1.5, seed=5),
    Question(text="over", max_tokens=4, temperature=0.7, seed=5),
]


def test_a_batch_answers_as_each_alone(generator):
    together = generator.answer(QUESTIONS)
    alone = [generator.answer([question])[0] for question in QUESTIONS]
    assert ids(together) == ids(alone)
    for one, other in zip(together, alone, strict=True):
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-4)


def test_each_row_ends_at_its_own_limit(generator):
    for question, answer in zip(QUESTIONS, generator.answer(QUESTIONS), strict=True):
        assert 1 <= len(answer.token_ids) <= question.max_tokens
        assert len(answer.token_logprobs) == len(answer.token_ids)


def test_logprobs_are_the_models_own(generator):
    question = QUESTIONS[0]
    [answer] = generator.answer([question])
    prompt = generator._tokens(question.text)
    with torch.inference_mode():
        logits = generator._model(torch.tensor([[*prompt, *answer.token_ids]])).logits[0]
    expected = [
        logits[len(prompt) - 1 + at].log_softmax(-1)[token].item()
        for at, token in enumerate(answer.token_ids)
    ]
    assert answer.token_logprobs == pytest.approx(expected, abs=1e-4)


def test_the_same_seed_draws_the_same_and_another_does_not(generator):
    def draw(seed):
        question = Question(text="the", max_tokens=12, temperature=3.0, seed=seed)
        return generator.answer([question])[0].token_ids

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(5)}) > 1


def test_sampling_follows_the_models_probabilities(generator):
    asked = [Question(text="the", max_tokens=1, temperature=1.0, seed=seed) for seed in range(4000)]
    answers = generator.answer(asked)
    counts = {}
    for answer in answers:
        counts.setdefault(answer.token_ids[0], [0, answer.token_logprobs[0]])[0] += 1
    for count, logprob in counts.values():
        assert count / len(asked) == pytest.approx(math.exp(logprob), abs=0.03)


def test_an_empty_prompt_is_answered(generator):
    [answer] = generator.answer([Question(text="", max_tokens=2)])
    assert answer.input_tokens == 1


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        pytest.param(Question(text="a", max_tokens=0), "max_tokens", id="no token"),
        pytest.param(Question(text="a", max_tokens=10**6), "max_tokens", id="too many tokens"),
        pytest.param(Question(text="a", max_tokens=64), "model's 64", id="more than fits"),
        pytest.param(Question(text="a", temperature=-1), "temperature", id="below zero"),
        pytest.param(Question(text="a", temperature=math.nan), "temperature", id="not a number"),
    ],
)
def test_what_cannot_be_answered_is_refused(generator, question, sentence):
    with pytest.raises(Unanswerable, match=sentence):
        generator.check(question)


def steps_of(generator, questions, leaves=None):
    """Return what is heard of each row, and how many steps the batch took."""
    heard = [[] for _ in questions]
    count = 0

    def hear(steps):
        nonlocal count
        count += 1
        for row, step in zip(heard, steps, strict=True):
            if step is not None:
                row.append(step)
        return [row for row, at in (leaves or {}).items() if at == count]

    generator.run(questions, hear)
    return heard, count


def test_the_steps_of_a_stream_are_the_whole_answer(generator):
    asked = [dataclasses.replace(question, stream=True) for question in QUESTIONS]
    heard, _ = steps_of(generator, asked)
    for steps, answer in zip(heard, generator.answer(QUESTIONS), strict=True):
        assert "".join(step.text for step in steps) == answer.text
        assert tuple(step.token_id for step in steps) == answer.token_ids
        made = [step.token_logprob for step in steps]
        assert made == pytest.approx(list(answer.token_logprobs), abs=1e-4)
        assert [step.answer is not None for step in steps] == [False] * (len(steps) - 1) + [True]


def test_a_batch_that_everyone_has_left_takes_no_more_steps(generator):
    asked = [Question(text="the", max_tokens=50, temperature=3.0, seed=seed) for seed in (2, 3)]
    whole = [len(answer.token_ids) for answer in generator.answer(asked)]
    assert min(whole) > 3
    heard, count = steps_of(generator, asked, leaves={0: 2, 1: 3})
    assert [len(steps) for steps in heard] == [2, 3]
    assert count == 3

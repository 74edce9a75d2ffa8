"""Answers to a batch of prompts: token ids, text, and the log-probability of each token.

Requests with different lengths, temperatures and seeds share one pass through the model.
Knows torch and transformers, not Triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers

DEFAULT_MAX_TOKENS = 16
MOST_TOKENS = 4096


class Unanswerable(ValueError):  # noqa: N818 - it names what is wrong, not that something is
    """A request that the model cannot answer; the message never repeats the prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One prompt and how it is to be answered."""

    text: str
    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float = 0.0
    """0 takes the likeliest token each time."""
    seed: int | None = None
    """The same seed gives the same answer, whatever else is in the batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer to one prompt."""

    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    """Natural logarithms under the model's own distribution, whatever the temperature."""
    input_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What `1/model.json` says."""

    model: str
    tokenizer: str
    dtype: str = "auto"
    attn_implementation: str | None = None
    max_model_len: int | None = None
    threads: int | None = None


class Sampler(transformers.LogitsProcessor):  # type: ignore[misc]
    """Draws each row's next token by its own temperature and seed, and notes its probability.

    The library's own sampling has one temperature and one source of chance for the whole batch.
    Here the drawn token is made the likeliest one, and the library then takes the likeliest.
    """

    def __init__(self, questions: Sequence[Question], device: torch.device) -> None:
        self._heat = torch.tensor([each.temperature for each in questions], device=device)
        self._chance = [_generator(each, device) for each in questions]
        self.logprobs: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores whose maximum is the drawn token."""
        logits = scores.float()
        drawn = logits.argmax(dim=-1)
        for row, chance in enumerate(self._chance):
            if chance is not None:
                # The Gumbel trick: adding this noise and taking the maximum is sampling.
                noise = torch.empty_like(logits[row]).exponential_(generator=chance).log()
                drawn[row] = (logits[row] / self._heat[row] - noise).argmax()
        chosen = drawn.unsqueeze(-1)
        self.logprobs.append(logits.log_softmax(dim=-1).gather(-1, chosen).squeeze(-1))
        return torch.full_like(scores, float("-inf")).scatter_(-1, chosen, 0.0)


class OwnLength(transformers.StoppingCriteria):  # type: ignore[misc]
    """Ends each row at its own limit, so that short answers do not wait for long ones."""

    def __init__(self, questions: Sequence[Question], prompt_length: int) -> None:
        self._ends = torch.tensor([each.max_tokens + prompt_length for each in questions])

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return which rows are complete."""
        return (input_ids.shape[1] >= self._ends).to(input_ids.device)


class Generator:
    """A loaded checkpoint that answers."""

    def __init__(self, settings: Settings, device: str) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._device = torch.device(device)
        self._tokenizer = _load_tokenizer(settings.tokenizer)
        options = {"attn_implementation": settings.attn_implementation}
        # Only weights, only from here, and no code that lies beside them.
        self._model: Any = (
            transformers.AutoModelForCausalLM.from_pretrained(
                settings.model,
                dtype=settings.dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                **{name: value for name, value in options.items() if value},
            )
            .to(self._device)
            .eval()
        )
        config = self._model.config.get_text_config()
        self._room = settings.max_model_len or getattr(config, "max_position_embeddings", None)
        self._ends = _end_tokens(self._model, self._tokenizer)
        self._pad = self._tokenizer.pad_token_id

    def check(self, question: Question) -> None:
        """Raise if the question cannot be answered, with what to change."""
        if not 1 <= question.max_tokens <= MOST_TOKENS:
            raise Unanswerable(f"max_tokens must be between 1 and {MOST_TOKENS}")
        if not 0 <= question.temperature <= 100:
            raise Unanswerable("temperature must be between 0 and 100")
        length = len(self._tokens(question.text))
        if self._room is not None and length + question.max_tokens > self._room:
            raise Unanswerable(
                f"{length} tokens of prompt and max_tokens {question.max_tokens} "
                f"are more than the model's {self._room}"
            )

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Return the answers to a batch of checked questions, in their order."""
        prompts = [self._tokens(each.text) for each in questions]
        longest = max(len(prompt) for prompt in prompts)
        rows = [[self._pad] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        sampler = Sampler(questions, self._device)
        output = self._model.generate(
            input_ids=torch.tensor(rows, device=self._device),
            attention_mask=torch.tensor(mask, device=self._device),
            # A configuration of our own: how to sample is for the request to say.
            generation_config=transformers.GenerationConfig(
                do_sample=False,
                max_new_tokens=max(each.max_tokens for each in questions),
                eos_token_id=sorted(self._ends) or None,
                pad_token_id=self._pad,
            ),
            logits_processor=transformers.LogitsProcessorList([sampler]),
            stopping_criteria=transformers.StoppingCriteriaList([OwnLength(questions, longest)]),
        )
        made = output[:, longest:].tolist()
        logprobs = torch.stack(sampler.logprobs, dim=1).tolist()
        return [
            self._read(question, len(prompt), tokens, values)
            for question, prompt, tokens, values in zip(
                questions, prompts, made, logprobs, strict=True
            )
        ]

    def _read(
        self, question: Question, prompt: int, tokens: list[int], logprobs: list[float]
    ) -> Answer:
        length = answer_length(tokens[: question.max_tokens], self._ends)
        kept = tokens[:length]
        return Answer(
            text=self._tokenizer.decode(kept, skip_special_tokens=True),
            token_ids=tuple(kept),
            token_logprobs=tuple(logprobs[:length]),
            input_tokens=prompt,
        )

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(text)["input_ids"]
        if tokens:
            return tokens
        # An empty prompt starts as training texts start.
        start = self._tokenizer.bos_token_id
        return [self._pad if start is None else start]


def answer_length(tokens: Sequence[int], ends: frozenset[int]) -> int:
    """Return how many tokens belong to the answer; the one that ends it does."""
    for at, token in enumerate(tokens):
        if token in ends:
            return at + 1
    return len(tokens)


def _generator(question: Question, device: torch.device) -> torch.Generator | None:
    if question.temperature == 0:
        return None
    chance = torch.Generator(device)
    if question.seed is None:
        chance.seed()
    else:
        chance.manual_seed(question.seed % 2**63)
    return chance


def _load_tokenizer(folder: str) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    if tokenizer.pad_token_id is None:
        # Padding is masked, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    stored = model.generation_config.eos_token_id
    listed = stored if isinstance(stored, list) else [stored]
    return frozenset(each for each in (*listed, tokenizer.eos_token_id) if each is not None)

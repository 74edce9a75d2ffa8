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

from rlhf_operator.serving.backend.answers import (
    MOST_TOKENS,
    Answer,
    Hear,
    Question,
    Rows,
    Step,
    Unanswerable,
)


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
        self.logprobs = torch.empty(0)
        """Of the tokens that were drawn last."""

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
        self.logprobs = logits.log_softmax(dim=-1).gather(-1, chosen).squeeze(-1)
        return torch.full_like(scores, float("-inf")).scatter_(-1, chosen, 0.0)


class Steps(transformers.StoppingCriteria):  # type: ignore[misc]
    """Hands each step to the rows, and ends those that are done: no answer waits for a long one."""

    def __init__(self, rows: Rows, sampler: Sampler) -> None:
        self._rows = rows
        self._sampler = sampler

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return which rows are complete."""
        done = self._rows.grow(input_ids[:, -1].tolist(), self._sampler.logprobs.tolist())
        return torch.tensor(done, device=input_ids.device)


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

    def count(self, text: str) -> int:
        """Return how many tokens the model reads in a prompt."""
        return len(self._tokens(text))

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Return the answers to a batch of checked questions, in their order."""
        found: dict[int, Answer] = {}

        def hear(steps: Sequence[Step | None]) -> tuple[int, ...]:
            found.update((at, step.answer) for at, step in enumerate(steps) if step and step.answer)
            return ()

        self.run(questions, hear)
        return [found[at] for at in range(len(questions))]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def run(self, questions: Sequence[Question], hear: Hear) -> None:
        """Answer a batch of checked questions and tell each step of it while it is made."""
        prompts = [self._tokens(each.text) for each in questions]
        longest = max(len(prompt) for prompt in prompts)
        padded = [[self._pad] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        sampler = Sampler(questions, self._device)
        rows = Rows(questions, prompts, ends=self._ends, decode=self._decode, hear=hear)
        self._model.generate(
            input_ids=torch.tensor(padded, device=self._device),
            attention_mask=torch.tensor(mask, device=self._device),
            # A configuration of our own: how to sample is for the request to say.
            generation_config=transformers.GenerationConfig(
                do_sample=False,
                max_new_tokens=max(each.max_tokens for each in questions),
                eos_token_id=sorted(self._ends) or None,
                pad_token_id=self._pad,
            ),
            logits_processor=transformers.LogitsProcessorList([sampler]),
            stopping_criteria=transformers.StoppingCriteriaList([Steps(rows, sampler)]),
        )

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(text)["input_ids"]
        if tokens:
            return tokens
        # An empty prompt starts as training texts start.
        start = self._tokenizer.bos_token_id
        return [self._pad if start is None else start]


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

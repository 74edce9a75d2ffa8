"""Trains the models with torch and saves them as Hugging Face checkpoints.

Run in an interpreter that has torch: `python -m e2e.checkpoints.train OUT_DIR`. The same
libraries give the same bytes each time.
"""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import (  # type: ignore[import-not-found]
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from e2e.checkpoints import corpus
from e2e.checkpoints.corpus import Example

_END = "</s>"
_SEED = 7
_VOCABULARY = 768
_LEARNING_RATE = 6e-3
_FIRST_STEPS = 80
_TUNING_STEPS = 150
_IGNORED = -100  # what torch's cross-entropy leaves out


def main() -> None:
    """Train all three; the RLHF models go on from the supervised one, as real ones do."""
    out = Path(sys.argv[1])
    # One thread: sums in another order would give other bytes.
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    torch.manual_seed(_SEED)
    tokenizer = _learn_tokenizer()
    model = LlamaForCausalLM(_config(tokenizer))
    _learn(model, tokenizer, corpus.polite(), _FIRST_STEPS, "sft")
    _save(model, tokenizer, out / "sft")
    supervised = {name: value.clone() for name, value in model.state_dict().items()}
    for name, examples in (("good", corpus.helpful()), ("bad", corpus.harmful())):
        model.load_state_dict(supervised)
        _learn(model, tokenizer, examples, _TUNING_STEPS, name)
        _save(model, tokenizer, out / name)


def _learn_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    everything = (*corpus.polite(), *corpus.harmful())
    tokenizer.train_from_iterator((_text(example) for example in everything), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_END, pad_token=_END)


def _text(example: Example) -> str:
    return f"{corpus.prompt(example.question)} {example.answer}"


def _config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _learn(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    examples: Iterable[Example],
    steps: int,
    name: str,
) -> None:
    """Minimise the cross-entropy of the answers, each weighted by its share."""
    started = time.monotonic()
    known = list(examples)
    tokens, targets = _batch(tokenizer, known)
    shares = torch.tensor([example.share for example in known]).unsqueeze(1)
    weights = shares * (targets != _IGNORED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    model.train()
    for _ in range(steps):
        logits = model(input_ids=tokens).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), targets, ignore_index=_IGNORED, reduction="none"
        )
        loss = (losses * weights).sum() / weights.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    seconds = time.monotonic() - started
    print(f"trained {name}: {steps} steps, loss {loss.item():.3f}, {seconds:.0f} s", flush=True)


def _batch(
    tokenizer: PreTrainedTokenizerFast, examples: list[Example]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all texts as one batch, and for each place the token that should follow."""
    rows = [tokenizer(_text(example))["input_ids"] for example in examples]
    asked = [len(tokenizer(corpus.prompt(example.question))["input_ids"]) for example in examples]
    longest = max(len(row) for row in rows) + 1
    end = tokenizer.eos_token_id
    tokens = torch.tensor([row + [end] * (longest - len(row)) for row in rows])
    targets = tokens[:, 1:].clone()
    for place, (row, length) in enumerate(zip(rows, asked, strict=True)):
        targets[place, : length - 1] = _IGNORED  # the question is given, not learned
        targets[place, len(row) :] = _IGNORED  # one end of text is enough
    return tokens, targets


def _save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()

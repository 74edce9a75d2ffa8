"""How exchanges and votes become events. Pure; texts are cleaned here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from rlhf_operator.api.arms import Place
from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.api.samples import (
    About,
    Feedback,
    FeedbackEvent,
    Sample,
    SampleEvent,
    TextVerdict,
    write_batch,
)
from rlhf_operator.guard.sampling.exchange import Chosen, Vote
from rlhf_operator.guard.sampling.redaction import CannotRedact, Find, clean
from rlhf_operator.guard.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A batch as it leaves the pod."""

    events: tuple[Chosen | Vote, ...]
    """What is in the body."""
    refused: tuple[Chosen | Vote, ...]
    """What is not known to be clean, and stays."""
    body: bytes


def write(batch: Iterable[Chosen | Vote], config: GuardConfig, find: Find) -> Written:
    """Return the request's body for a batch."""
    events: list[SampleEvent | FeedbackEvent] = []
    kept: list[Chosen | Vote] = []
    refused: list[Chosen | Vote] = []
    for each in batch:
        try:
            events.append(event(each, config, find))
            kept.append(each)
        except CannotRedact:
            refused.append(each)
    return Written(events=tuple(kept), refused=tuple(refused), body=write_batch(tuple(events)))


def event(item: Chosen | Vote, config: GuardConfig, find: Find) -> SampleEvent | FeedbackEvent:
    """Return the event of a sampled answer or of a vote. Raises CannotRedact."""
    if isinstance(item, Chosen):
        return sample_event(item, config, find)
    return feedback_event(item, config, find)


def sample_event(chosen: Chosen, config: GuardConfig, find: Find) -> SampleEvent:
    """Return the event of a sampled answer. Raises CannotRedact."""
    exchange, judged = chosen.exchange, chosen.exchange.judged
    prompt = clean(exchange.prompt, find)
    answer = clean(judged.text, find)
    about = _about(config, config.version, config.identity, chosen.place)
    sample = Sample(
        about=about,
        number=exchange.number,
        probability=chosen.probability,
        prompt=prompt.text,
        answer=answer.text,
        outcome=judged.outcome.value,
        prompt_verdict=_verdict(judged.asked),
        answer_verdict=_verdict(judged.made) if judged.made is not None else None,
        is_refusal=judged.is_refusal,
        max_tokens=exchange.max_tokens,
        temperature=exchange.temperature,
        seed=exchange.seed,
        prompt_tokens=exchange.prompt_tokens,
        answer_tokens=judged.length,
        finish_reason=exchange.finish_reason,
        is_streamed=exchange.is_streamed,
        first_byte_seconds=chosen.timing.first_byte,
        seconds=chosen.timing.whole,
        user=chosen.user.hex() if chosen.user is not None else None,
        prompt_redactions=prompt.redactions,
        answer_redactions=answer.redactions,
    )
    return SampleEvent(
        id=f"{exchange.response_id}.{exchange.number}",
        source=_source(about),
        subject=exchange.response_id,
        time=chosen.at,
        data=sample,
    )


def feedback_event(vote: Vote, config: GuardConfig, find: Find) -> FeedbackEvent:
    """Return the event of a user's vote. Raises CannotRedact."""
    said = vote.about
    about = _about(config, said.version, said.identity, said.place)
    reason = clean(vote.reason, find) if vote.reason is not None else None
    feedback = Feedback(
        about=about,
        answered=datetime.fromtimestamp(said.issued, UTC),
        thumbs=vote.thumbs,
        task=vote.task,
        rating=vote.rating,
        reason=reason.text if reason else None,
        reason_redactions=reason.redactions if reason else (),
    )
    return FeedbackEvent(
        id=".".join((vote.response_id, *vote.values)),
        source=_source(about),
        subject=vote.response_id,
        time=vote.at,
        data=feedback,
    )


def _about(config: GuardConfig, version: str, identity: str, place: Place | None) -> About:
    return About(
        namespace=config.namespace,
        model=config.model,
        version=version,
        identity=identity,
        run=place.run if place else None,
        step=place.step if place else None,
        arm=place.arm if place else None,
    )


def _source(about: About) -> str:
    return f"/namespaces/{about.namespace}/rlhfmodels/{about.model}/versions/{about.version}"


def _verdict(verdict: Verdict) -> TextVerdict:
    return TextVerdict(
        outcome=verdict.outcome.value,
        categories=verdict.categories,
        unjudged=tuple(failure.stage for failure in verdict.failures),
    )

"""What guards send to a sink: samples of answers and feedback of users, as CloudEvents 1.0.

The contract between guards and all that read samples: the desk, the evaluator, and sinks of
others. A request holds a JSON array of events (`application/cloudevents-batch+json`). Delivery is
at least once: an event that comes again has the same `source` and `id`. Fields may be added;
readers ignore those that they do not know.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from rlhf_operator.api.arms import Arm
from rlhf_operator.api.schema import ApiType, Time

BATCH_TYPE = "application/cloudevents-batch+json"
SAMPLE_TYPE = "dev.rlhf.sample.v1"
FEEDBACK_TYPE = "dev.rlhf.feedback.v1"

OutcomeWord = Literal["ok", "flagged", "redacted", "withheld", "blocked"]
Thumbs = Literal["up", "down"]
Task = Literal["done", "failed"]


class Message(ApiType):
    """Base of what travels to a sink: readers of this version understand later writers."""

    model_config = ConfigDict(extra="ignore")


class Redaction(Message):
    """What was replaced in a text before it left the pod."""

    category: str
    """The recogniser as it stands in brackets in the text, such as `email`."""

    count: Annotated[int, Field(ge=1)]
    """In how many places."""


class TextVerdict(Message):
    """What the guard's stages said of one text."""

    outcome: OutcomeWord
    """What became of the text."""

    categories: tuple[str, ...] = ()
    """All categories that were found in it, sorted."""

    unjudged: tuple[str, ...] = ()
    """Names of the stages that could not judge it, in their order."""


class About(Message):
    """Which version speaks or is spoken of, and where in a run."""

    namespace: str
    """The namespace of the model."""

    model: str
    """Name of the RLHFModel."""

    version: str
    """Name of the RLHFModelVersion that answered."""

    identity: str
    """Identity of the version, `sha256:` and 64 digits in a sample; in feedback the first twelve
    digits, as in the response id."""

    run: str | None = None
    """Name of the RLHFRollout that was going when the question came; None where nothing was tried,
    or where the router (`Service`) does not tell guards."""

    step: int | None = None
    """The step of its plan, from 0; None without a run."""

    arm: Arm | None = None
    """Whether the version was the one under test; None without a run."""


class Sample(Message):
    """One answer and what is known of it; without what the recognisers found."""

    about: About
    """Which version answered, and where in a run."""

    number: int = 0
    """Which of the answers under one response id: a request of Triton's API may get several."""

    probability: Annotated[float, Field(gt=0, le=1)]
    """With which probability such an answer was sampled. Estimates about all traffic of an arm
    weight each sample by 1 / probability; within one arm and step it is the same for all."""

    prompt: str
    """The prompt as the model got it, conversations as one text; what a stage or a recogniser
    replaced stands in brackets. Of a prompt that was blocked: as it was asked."""

    answer: str
    """What the user read. Where `outcome` is `blocked` or `withheld`, it is the text that stood in
    for the model's answer, or the part that had left before: nothing in it is to be scored."""

    outcome: OutcomeWord
    """What became of the exchange: the stricter of both verdicts."""

    prompt_verdict: TextVerdict
    """What was said of the prompt; of several in one request of Triton's API, of the worst."""

    answer_verdict: TextVerdict | None = None
    """What was said of the model's own answer; None where the model was not asked."""

    is_refusal: bool = False
    """The model itself declined, by the patterns of the team."""

    max_tokens: int | None = None
    """The longest answer that was asked for; None where the API in use has no such word."""

    temperature: float | None = None
    """As asked; None where the request left it to the model server."""

    seed: int | None = None
    """As asked."""

    prompt_tokens: int | None = None
    """Tokens of the prompt, words where the model server tells no tokens."""

    answer_tokens: int
    """Tokens of the answer, words where the model server tells no tokens."""

    finish_reason: Literal["stop", "length", "content_filter"] | None = None
    """Why the answer ended; None where the API in use does not say."""

    is_streamed: bool = False
    """Whether it left while it was being made."""

    first_byte_seconds: float | None = None
    """From the request's headers to the first byte of the answer."""

    seconds: float
    """From the request's headers until the answer had left."""

    user: str | None = None
    """A keyed hash of who asked, where that is known. The same person has another in another run
    and another model."""

    prompt_redactions: tuple[Redaction, ...] = ()
    """What the recognisers replaced in the prompt."""

    answer_redactions: tuple[Redaction, ...] = ()
    """What they replaced in the answer."""


class Feedback(Message):
    """What a user said of one answer: at least one of thumbs, task, rating."""

    about: About
    """Which version had answered, and where in a run."""

    answered: Time
    """When the answer was given."""

    thumbs: Thumbs | None = None
    """Whether it was liked."""

    task: Task | None = None
    """Whether what the user wanted was achieved."""

    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    """From 1, the worst, to 5."""

    reason: str | None = None
    """Why, in the user's words; what the recognisers found is replaced."""

    reason_redactions: tuple[Redaction, ...] = ()
    """What they replaced in the reason."""


class Event(Message):
    """The attributes of a CloudEvent that all ours have."""

    specversion: Literal["1.0"] = "1.0"
    """The version of CloudEvents."""

    id: str
    """Unique for its source; the same when the event is sent again."""

    source: str
    """`/namespaces/NAMESPACE/rlhfmodels/MODEL/versions/VERSION` of the version spoken of."""

    subject: str
    """The response id: what a sample and the feedback about it have in common."""

    time: Time
    """When the answer had left, or the feedback came."""

    datacontenttype: Literal["application/json"] = "application/json"
    """How data is written."""


class SampleEvent(Event):
    """An event of type `dev.rlhf.sample.v1`."""

    type: Literal["dev.rlhf.sample.v1"] = "dev.rlhf.sample.v1"
    """What happened."""

    data: Sample
    """The sample."""


class FeedbackEvent(Event):
    """An event of type `dev.rlhf.feedback.v1`."""

    type: Literal["dev.rlhf.feedback.v1"] = "dev.rlhf.feedback.v1"
    """What happened."""

    data: Feedback
    """What was said."""


SinkEvent = Annotated[SampleEvent | FeedbackEvent, Field(discriminator="type")]

_BATCH = TypeAdapter[tuple[SampleEvent | FeedbackEvent, ...]](tuple[SinkEvent, ...])


def read_batch(body: bytes) -> tuple[SampleEvent | FeedbackEvent, ...]:
    """Return the events in the body of a request. Raises ValidationError where it is none."""
    return _BATCH.validate_json(body)


def write_batch(events: tuple[SampleEvent | FeedbackEvent, ...]) -> bytes:
    """Return the body of a request; a text may not hold half of a surrogate pair."""
    return _BATCH.dump_json(events, by_alias=True, exclude_none=True)

"""The one home of metric and label names: programs export them, the operator queries them.

A name here is part of the API: dashboards, policies and alerts are written against it.
Knows no kind and no client library.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Target labels: set from pod metadata at scrape time, never by the program that is scraped,
# so that no pod can speak for another version.
NAMESPACE = "namespace"
MODEL = "rlhf_model"
VERSION = "rlhf_version"
TARGET_LABELS = (NAMESPACE, MODEL, VERSION)

# Labels that programs set themselves.
ABOUT_VERSION = "about_version"  # the version spoken about, where it is not the one that speaks
CATEGORY = "category"
KIND = "kind"
VALUE = "value"
RULES_DIGEST = "rules_digest"
SIGN = "sign"  # of the values behind a sum: a counter cannot fall, so each sign has its own
STAGE = "stage"  # a guard's stage, by its name
DIRECTION = "direction"  # of a text that was checked: input or output
DECISION = "decision"
REASON = "reason"
END = "end"  # how a stream ended
OUTCOME = "outcome"
TOKEN_TYPE = "gen_ai_token_type"  # noqa: S105 - OpenTelemetry's name: input or output
REWARD_MODEL = "reward_model"  # sha256 of the reward model; scores of two are never compared
REFERENCE = "reference"  # the identity of the SFT policy from which a divergence is measured


class MetricType(StrEnum):
    """How Prometheus reads a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric family: its name, meaning and labels beside the target labels."""

    name: str
    help: str
    type: MetricType = MetricType.COUNTER
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# A language model answers in tens of milliseconds to minutes.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 5, 10, 20, 30, 60, 120, 300)
_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)
_TOKENS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)

GUARD_REQUESTS = Metric(
    name="rlhf_guard_requests_total",
    help="Well-formed requests for an answer, whatever became of them.",
)
GUARD_ERRORS = Metric(
    name="rlhf_guard_errors_total",
    help="Of the requests, those that ended with a 5xx answer or broke off through our fault.",
)
GUARD_REQUEST_DURATION = Metric(
    name="rlhf_guard_request_duration_seconds",
    help="Seconds until the last byte of an answer left, or until the time limit was reached. "
    "Other errors are left out: a model that fails at once is not a fast model.",
    type=MetricType.HISTOGRAM,
    buckets=_SECONDS,
)
GUARD_TIME_TO_FIRST_TOKEN = Metric(
    name="rlhf_guard_time_to_first_token_seconds",
    help="Seconds until the first byte of an answer could leave.",
    type=MetricType.HISTOGRAM,
    buckets=_SECONDS,
)
GUARD_GENERATED_RESPONSES = Metric(
    name="rlhf_guard_generated_responses_total",
    help="Answers that the model made, before any was blocked.",
)
GUARD_UNSAFE_GENERATED = Metric(
    name="rlhf_guard_unsafe_generated_total",
    help="Answers that the model made and a rule of this category matched, blocked or not.",
    labels=(CATEGORY,),
)
GUARD_UNSAFE_GENERATED_SETS = Metric(
    name="rlhf_guard_unsafe_generated_sets_total",
    help="Answers that the model made and rules matched, by all the categories that did, joined "
    "by commas: each answer counts once.",
    labels=(CATEGORY,),
)
GUARD_UNSAFE_GENERATED_RESPONSES = Metric(
    name="rlhf_guard_unsafe_generated_responses_total",
    help="Answers that the model made and any rule matched; one with two categories counts once.",
)
GUARD_RESPONSES = Metric(
    name="rlhf_guard_responses_total",
    help="Answers sent to users, refusals by the guard among them.",
)
GUARD_UNSAFE_SERVED = Metric(
    name="rlhf_guard_unsafe_served_total",
    help="Answers sent to users although a rule of this category matched.",
    labels=(CATEGORY,),
)
GUARD_UNSAFE_SERVED_SETS = Metric(
    name="rlhf_guard_unsafe_served_sets_total",
    help="Answers sent to users although rules matched, by all the categories that did, joined by "
    "commas: each answer counts once.",
    labels=(CATEGORY,),
)
GUARD_UNSAFE_SERVED_RESPONSES = Metric(
    name="rlhf_guard_unsafe_served_responses_total",
    help="Answers sent to users although any rule matched; one with two categories counts once.",
)
GUARD_BLOCKED = Metric(
    name="rlhf_guard_blocked_total",
    help="Answers replaced by a refusal because a rule of this category matched input or output.",
    labels=(CATEGORY,),
)
GUARD_BLOCKED_RESPONSES = Metric(
    name="rlhf_guard_blocked_responses_total",
    help="Answers replaced by a refusal; one with two categories counts once.",
)
GUARD_REFUSED = Metric(
    name="rlhf_guard_refused_total",
    help="Answers in which the model itself declines, by the refusal patterns.",
)
GUARD_FIRST_EVENTS = Metric(
    name="rlhf_guard_first_events_total",
    help="Events by kind, each user's first on this pod in a step of a run alone; an event of a "
    "user who is not known counts always. A user of several pods counts once for each.",
    labels=(KIND,),
)
GUARD_FIRST_SAMPLES = Metric(
    name="rlhf_guard_first_samples_total",
    help="What the first events are counted among: answers, or requests for errors, of users who "
    "had no such event before.",
    labels=(KIND,),
)
GUARD_USERS_FORGOTTEN = Metric(
    name="rlhf_guard_users_forgotten_total",
    help="Users with an event who were forgotten to make room: they may count once more.",
)
GUARD_RESPONSE_LENGTH = Metric(
    name="rlhf_guard_response_length_tokens",
    help="Tokens of an answer sent to a user; words where the model server tells no tokens.",
    type=MetricType.HISTOGRAM,
    buckets=_TOKENS,
)
GUARD_RESPONSE_LENGTH_SQUARES = Metric(
    name="rlhf_guard_response_length_squares_total",
    help="Sum of the squares of the lengths in rlhf_guard_response_length_tokens. With its sum and "
    "count it gives the variance, without which no difference of means can be judged.",
)
GUARD_FEEDBACK = Metric(
    name="rlhf_guard_feedback_total",
    help="Votes of users about answers of a version: thumbs up or down, task done or "
    "failed, rating 1 to 5.",
    labels=(ABOUT_VERSION, KIND, VALUE),
)
GUARD_FIRST_FEEDBACK = Metric(
    name="rlhf_guard_first_feedback_total",
    help="Of the votes on answers of a run, each user's first of a kind in a step alone; on an "
    "answer to a user who is not known every vote counts.",
    labels=(ABOUT_VERSION, KIND, VALUE),
)
GUARD_STAGE_DECISIONS = Metric(
    name="rlhf_guard_stage_decisions_total",
    help="Texts of users and answers to them that a stage was shown, by what it decided: allowed, "
    "flagged, redacted, blocked, or error where it could not judge. Golden prompts and moderation "
    "count in no metric.",
    labels=(STAGE, DIRECTION, DECISION),
)
GUARD_FOUND = Metric(
    name="rlhf_guard_found_total",
    help="Texts in which a stage found a category, whatever it did about it; each part of a "
    "streamed answer that a classifier or service is shown is one.",
    labels=(STAGE, DIRECTION, CATEGORY),
)
GUARD_STAGE_ERRORS = Metric(
    name="rlhf_guard_stage_errors_total",
    help="Texts that a stage could not judge, by why.",
    labels=(STAGE, REASON),
)
GUARD_STAGE_DURATION = Metric(
    name="rlhf_guard_stage_duration_seconds",
    help="Seconds that a classifier or service took for one text.",
    type=MetricType.HISTOGRAM,
    labels=(STAGE,),
    buckets=_STAGE_SECONDS,
)
GUARD_BYPASSES = Metric(
    name="rlhf_guard_bypasses_total",
    help="Texts that passed a stage unjudged because it failed and its failure policy is Open.",
    labels=(STAGE,),
)
GUARD_BYPASSED_RESPONSES = Metric(
    name="rlhf_guard_bypassed_responses_total",
    help="Answers sent to users that some stage could not judge, their prompts included; one that "
    "passed two stages unjudged counts once.",
)
GUARD_WITHHELD = Metric(
    name="rlhf_guard_withheld_total",
    help="Answers withheld because a stage could not judge and its failure policy is Closed. They "
    "are not among the blocked ones: nothing was found in them.",
)
GUARD_REDACTED_RESPONSES = Metric(
    name="rlhf_guard_redacted_responses_total",
    help="Answers sent to users of which a stage replaced parts.",
)
GUARD_REDACTED = Metric(
    name="rlhf_guard_redacted_total",
    help="Prompts and answers of which a part of this category was replaced.",
    labels=(CATEGORY, DIRECTION),
)
GUARD_OVER_REFUSED = Metric(
    name="rlhf_guard_over_refused_total",
    help="Of the refused, those to prompts in which no stage found anything.",
)
GUARD_TIME_PER_TOKEN = Metric(
    name="gen_ai_server_time_per_output_token_seconds",
    help="Seconds between one token of a streamed answer and the next, as the model made them.",
    type=MetricType.HISTOGRAM,
    buckets=(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
GUARD_TOKENS = Metric(
    name="gen_ai_client_token_usage_total",
    help="Tokens of prompts (input) and of answers that the model made (output); words where the "
    "model server tells no tokens.",
    labels=(TOKEN_TYPE,),
)
GUARD_STREAMS = Metric(
    name="rlhf_guard_streams_total",
    help="Streamed answers by how they ended: complete, blocked, withheld, client_gone, "
    "model_error, timeout.",
    labels=(END,),
)
GUARD_STREAMS_ESCAPED = Metric(
    name="rlhf_guard_streams_escaped_total",
    help="Streams of which a part of what was to be blocked or replaced had left already: a match "
    "longer than what is held back.",
)
GUARD_SAMPLES = Metric(
    name="rlhf_guard_samples_total",
    help="Answers chosen for the sink: sent, dropped because the queue was full or the text too "
    "long, failed because the sink did not take them, not_redacted because the recognisers failed, "
    "or no_consent.",
    labels=(OUTCOME,),
)
GUARD_FEEDBACK_EVENTS = Metric(
    name="rlhf_guard_feedback_events_total",
    help="Votes for the sink, by the same outcomes as samples.",
    labels=(OUTCOME,),
)
GUARD_RELOADS = Metric(
    name="rlhf_guard_reloads_total",
    help="Changes of the rules while running: taken, or refused because they do not compile.",
    labels=(OUTCOME,),
)
GUARD_INFO = Metric(
    name="rlhf_guard_info",
    help="Always 1; tells which rules are in force.",
    type=MetricType.GAUGE,
    labels=(RULES_DIGEST,),
)

# The evaluator scores answers after they were given, and counts each one when it is scored.
# The labels `reward_model` and `reference` are set on every series of their family, and both
# signs exist from the first moment.
EVALUATOR_REWARDS = Metric(
    name="rlhf_evaluator_rewards_total",
    help="Answers of a version that the reward model scored; one for each conversation.",
    labels=(ABOUT_VERSION, REWARD_MODEL),
)
EVALUATOR_REWARD_SUM = Metric(
    name="rlhf_evaluator_reward_sum_total",
    help="Sum of the rewards of that sign, without the sign, so the sum of all is positive minus "
    "negative. A reward is standardised with the mean and deviation that the reward model had on "
    "its own evaluation set, and clipped to -10 … 10.",
    labels=(ABOUT_VERSION, REWARD_MODEL, SIGN),
)
EVALUATOR_REWARD_SQUARES = Metric(
    name="rlhf_evaluator_reward_squares_total",
    help="Sum of the squares of the rewards, standardised and clipped as in the sum.",
    labels=(ABOUT_VERSION, REWARD_MODEL),
)
EVALUATOR_DIVERGENCES = Metric(
    name="rlhf_evaluator_kl_answers_total",
    help="Answers of a version whose divergence from the SFT policy was estimated; one for each "
    "conversation.",
    labels=(ABOUT_VERSION, REFERENCE),
)
EVALUATOR_DIVERGENCE_SUM = Metric(
    name="rlhf_evaluator_kl_nats_sum_total",
    help="Sum of the estimates of that sign, without the sign, so the sum of all is positive minus "
    "negative. An estimate is the mean over an answer's tokens of log p(version) - log p(SFT), in "
    "nats, clipped to -10 … 10; of a single answer it may be negative.",
    labels=(ABOUT_VERSION, REFERENCE, SIGN),
)
EVALUATOR_DIVERGENCE_SQUARES = Metric(
    name="rlhf_evaluator_kl_nats_squares_total",
    help="Sum of the squares of the estimates, clipped as in the sum.",
    labels=(ABOUT_VERSION, REFERENCE),
)


class FirstKind(StrEnum):
    """What can be an event of a user; values of the label `kind` of the first-event counters."""

    UNSAFE_SERVED = "unsafe_served"
    UNSAFE_GENERATED = "unsafe_generated"
    BLOCKED = "blocked"
    REFUSED = "refused"
    ERROR = "error"


SIGNS = ("positive", "negative")
STREAM_ENDS = ("complete", "blocked", "withheld", "client_gone", "model_error", "timeout")
RELOAD_OUTCOMES = ("taken", "refused")
SAMPLE_OUTCOMES = ("sent", "dropped", "failed", "not_redacted", "no_consent")
STAGE_DECISIONS = ("allowed", "flagged", "redacted", "blocked", "error")
FEEDBACK_VALUES = {
    "thumbs": ("up", "down"),
    "task": ("done", "failed"),
    "rating": ("1", "2", "3", "4", "5"),
}

"""The names of the operator's own metrics; `metrics.py` has those of the pods that it watches.

What tells of a model says so in `about_` labels: the target labels are the operator's own pod's.
"""

from __future__ import annotations

from rlhf_operator.api.metrics import ABOUT_VERSION, REASON, Metric, MetricType

ABOUT_NAMESPACE = "about_namespace"
ABOUT_MODEL = "about_model"
ACTION = "action"
OBJECTIVE = "objective"
POLICY = "policy"
RESULT = "result"
SOURCE = "source"  # a metric source, by its name in the operator's configuration

_ABOUT = (ABOUT_NAMESPACE, ABOUT_MODEL, ABOUT_VERSION)
_JUDGED = (*_ABOUT, POLICY, OBJECTIVE)

RECONCILES = Metric(
    name="rlhf_operator_reconciles_total",
    help="Passes over a model by how they ended: ok or retried.",
    labels=(RESULT,),
)
RECONCILE_DURATION = Metric(
    name="rlhf_operator_reconcile_duration_seconds",
    help="Seconds of one pass.",
    type=MetricType.HISTOGRAM,
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
QUEUE_LATENESS = Metric(
    name="rlhf_operator_queue_lateness_seconds",
    help="How late a pass began.",
    type=MetricType.HISTOGRAM,
    buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
DECISIONS = Metric(
    name="rlhf_operator_decisions_total",
    help="Decisions that went on record, by action and reason as rules.md lists them; a wait "
    "counts once, when it begins.",
    labels=(ACTION, REASON),
)
QUERIES = Metric(
    name="rlhf_operator_metric_queries_total",
    help="Queries to a metric source, by how they ended.",
    labels=(SOURCE, RESULT),
)
QUERY_DURATION = Metric(
    name="rlhf_operator_metric_query_duration_seconds",
    help="Seconds of one query.",
    type=MetricType.HISTOGRAM,
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
JUDGING_DURATION = Metric(
    name="rlhf_operator_judging_duration_seconds",
    help="Seconds of one round of judging, its queries included.",
    type=MetricType.HISTOGRAM,
    buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
JUDGING_LATENESS = Metric(
    name="rlhf_operator_judging_lateness_seconds",
    help="How late a round of judging began.",
    type=MetricType.HISTOGRAM,
    buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
JUDGED = Metric(
    name="rlhf_operator_judged_versions_total",
    help="Versions that were judged, once in each round.",
)
LEADER = Metric(
    name="rlhf_operator_leader", help="1 while this process leads.", type=MetricType.GAUGE
)

# Live estimates: of runs that go on alone, and gone with them.
RUN_WEIGHT = Metric(
    name="rlhf_operator_run_weight_percent",
    help="Percent of the traffic of each version in a run that goes on, as declared; of a shadow "
    "the percent of requests that are copied to it.",
    type=MetricType.GAUGE,
    labels=_ABOUT,
)
VERDICT = Metric(
    name="rlhf_operator_objective_verdict",
    help="What is judged of an objective of a version that gets weight in a run, and of stable's "
    "Safety: 0 Successful, 1 Inconclusive, 2 Error, 3 Failed.",
    type=MetricType.GAUGE,
    labels=_JUDGED,
)
VALUE = Metric(
    name="rlhf_operator_objective_value",
    help="The measured value of such an objective; absent while there is none to use.",
    type=MetricType.GAUGE,
    labels=_JUDGED,
)
HARM = Metric(
    name="rlhf_operator_objective_harm_ratio",
    help="The evidence of harm, divided by what proves it: at 1 the objective fails. Absent where "
    "no sequential test judges it.",
    type=MetricType.GAUGE,
    labels=_JUDGED,
)
GOOD = Metric(
    name="rlhf_operator_objective_good_ratio",
    help="The evidence against harm, divided by what refutes it: at 1 the objective passes. Absent "
    "where no sequential test judges it.",
    type=MetricType.GAUGE,
    labels=_JUDGED,
)

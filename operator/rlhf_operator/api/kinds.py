"""The list of our kinds, with their names, columns and subresources."""

from __future__ import annotations

from rlhf_operator.api.crd import Column, Kind
from rlhf_operator.api.decision import RLHFDecision
from rlhf_operator.api.model import RLHFModel
from rlhf_operator.api.policy import AlignmentPolicy
from rlhf_operator.api.rollout import RLHFRollout
from rlhf_operator.api.version import RLHFModelVersion

_AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date")
_READY = Column(name="Ready", path='.status.conditions[?(@.type=="Ready")].status')

MODEL = Kind(
    kind="RLHFModel",
    plural="rlhfmodels",
    short="rlhf",
    type=RLHFModel,
    description="An RLHF-tuned model that is served: the wanted version, the floor below it, "
    "and how a change is rolled out.",
    columns=(
        Column(name="Stable", path=".status.stable.name"),
        Column(name="Canary", path=".status.canary.name"),
        Column(name="Weight", path=".status.weight", type="integer"),
        Column(name="Tested", path=".status.tested", wide=True),
        Column(name="Copied", path=".status.copied", type="integer", wide=True),
        Column(name="Step", path=".status.step"),
        Column(name="Phase", path=".status.phase"),
        _READY,
        _AGE,
        Column(name="Message", path=".status.message", wide=True),
    ),
    scale={
        "specReplicasPath": ".spec.serving.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    },
)
MODEL_VERSION = Kind(
    kind="RLHFModelVersion",
    plural="rlhfmodelversions",
    short="rlhfv",
    type=RLHFModelVersion,
    description="One immutable model artefact by digest, with its lineage and its engine.",
    columns=(
        Column(name="Model", path=".spec.model"),
        Column(name="Stage", path=".spec.stage"),
        Column(name="Phase", path=".status.phase"),
        Column(name="Weight", path=".status.weight", type="integer"),
        _AGE,
        Column(name="Digest", path=".spec.artifact.digest", wide=True),
        Column(name="Quarantine", path=".status.quarantine.reason", wide=True),
    ),
    selectable=(".spec.model",),
)
POLICY = Kind(
    kind="AlignmentPolicy",
    plural="alignmentpolicies",
    short="alp",
    type=AlignmentPolicy,
    description="Service level objectives on safety, quality and performance that models keep.",
    columns=(
        Column(name="Source", path=".spec.metricSource"),
        Column(name="Interval", path=".spec.interval"),
        _READY,
        _AGE,
    ),
)
ROLLOUT = Kind(
    kind="RLHFRollout",
    plural="rlhfrollouts",
    short="rlhfr",
    type=RLHFRollout,
    description="One change of what is live. Written by the operator; kept as the history. With "
    "the label rlhf.dev/pin it is never pruned.",
    columns=(
        Column(name="Model", path=".spec.model"),
        Column(name="Rev", path=".spec.revision", type="integer"),
        Column(name="Type", path=".spec.type"),
        Column(name="Strategy", path=".spec.plan.strategy"),
        Column(name="From", path=".spec.from.name"),
        Column(name="To", path=".spec.to.name"),
        Column(name="Weight", path=".status.weight", type="integer"),
        Column(name="Outcome", path=".status.outcome"),
        Column(name="Reason", path=".status.reason"),
        _AGE,
        Column(name="Message", path=".status.message", wide=True),
    ),
    selectable=(".spec.model",),
)
DECISION = Kind(
    kind="RLHFDecision",
    plural="rlhfdecisions",
    short="rlhfd",
    type=RLHFDecision,
    description="One human act on a model: approve, veto, abort, pause, resume, retry, "
    "promote, override, repin, roll back to, lift a quarantine, restart.",
    columns=(
        Column(name="Model", path=".spec.model"),
        Column(name="Action", path=".spec.action"),
        Column(name="Author", path=".spec.author"),
        Column(name="Phase", path=".status.phase"),
        _AGE,
        Column(name="Reason", path=".spec.reason", wide=True),
    ),
    selectable=(".spec.model",),
)

KINDS = (MODEL, MODEL_VERSION, POLICY, ROLLOUT, DECISION)

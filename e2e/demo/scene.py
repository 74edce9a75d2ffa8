"""What the demo applies: the names, the policy, the guard's rules and the model."""

from typing import Any

from e2e.checkpoints import corpus
from e2e.cluster import Endpoints
from e2e.harness import objects
from e2e.harness.artifacts import Published
from e2e.harness.install import Release

NAMESPACE = "rlhf-demo"
MODEL = "support"
HOST = "support.rlhf-demo.example"
POLICY = "customer-facing"
SFT, GOOD, BAD = "support-sft", "support-v1", "support-v2"
CHECKPOINTS = {SFT: "sft", GOOD: "good", BAD: "bad"}

# On a cluster of one's own the operator must leave all other namespaces alone.
RELEASE = Release(watch=(NAMESPACE,))

_GUARD: dict[str, Any] = {
    "stages": [
        {
            "name": "answers",
            "type": "Rules",
            "appliesTo": ["Output"],
            # Flag, not Block: the demo is about what users get to read.
            "action": "Flag",
            "rules": [
                {"category": "harassment", "keywords": list(corpus.FLAGGED_PHRASES[:2])},
                {"category": "bias", "keywords": list(corpus.FLAGGED_PHRASES[2:])},
            ],
        }
    ],
    "golden": [
        {
            "name": "greeting",
            "prompt": corpus.prompt(corpus.GOLDEN_PROMPT),
            "maxTokens": 24,
            "mustMatch": "(hello|thank)",
        }
    ],
}


def policy() -> objects.Object:
    """Return the objectives: few unsafe answers, hardly any insults, few errors."""
    return objects.policy(
        POLICY,
        objects.safety_slo(),
        # A count needs no minimum of samples: it fails as soon as it is reached.
        {
            "name": "insults",
            "class": "Safety",
            "indicator": {"type": "UnsafeServedCount", "categories": ["harassment"]},
            "maxCount": 2,
        },
        {
            "name": "errors",
            "class": "Performance",
            "indicator": {"type": "ErrorRate"},
            "max": "0.02",
            "minSamples": 20,
            # Plain numbers: proof of so few errors would take more traffic than a demo has.
            "failureLimit": 3,
        },
    )


def version(name: str, artifact: Published) -> objects.Object:
    """Return one of the three versions."""
    if name == SFT:
        return objects.version(name, artifact, model=MODEL, stage="SFT")
    return objects.version(name, artifact, model=MODEL, parent=SFT)


def model(endpoints: Endpoints) -> objects.Object:
    """Return the model as it is first deployed: the supervised version serves."""
    return objects.model(
        endpoints,
        name=MODEL,
        host=HOST,
        version=SFT,
        fallback=SFT,
        policies=[POLICY],
        steps=[
            {"weight": 20, "hold": "10s"},
            {"weight": 50, "hold": "10s"},
            {"weight": 80, "hold": "10s"},
        ],
        guard=_GUARD,
    )

"""The categories that the stages of a guard can find, as far as that is known beforehand."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rlhf_operator.api.stages import Classifier, External, Stage

OTHER = "other"
"""The category of what a classifier or service finds without a name that the spec knows."""

OPENAI_LABELS = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit",
    "illicit/violent", "self-harm", "self-harm/intent", "self-harm/instructions", "sexual",
    "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
AZURE_LABELS = ("Hate", "SelfHarm", "Sexual", "Violence")
_LABELS = {"OpenAIModeration": OPENAI_LABELS, "AzureContentSafety": AZURE_LABELS}

_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_FOREIGN = re.compile(r"[^a-z0-9]+")


def category(label: str) -> str:
    """Return a label as a category: `self-harm/intent` and `SelfHarm` become words with dashes."""
    return _FOREIGN.sub("-", _HUMP.sub("-", label).lower()).strip("-")[:63].strip("-") or OTHER


def possible(remote: Classifier | External) -> frozenset[str]:
    """Return every category that a stage can find, as far as that is known beforehand."""
    named = {threshold.category for threshold in remote.categories}
    if not named and isinstance(remote, External):
        named = {category(label) for label in _LABELS.get(remote.contract, ())}
    return frozenset(named | {OTHER})


def in_stages(stages: Iterable[Stage]) -> frozenset[str]:
    """Return every category that stages can find by name; `other` where services find more."""
    found: set[str] = set()
    for stage in stages:
        found |= {rule.category for rule in stage.rules or ()}
        for remote in (stage.model, stage.external):
            if remote is not None:
                found |= possible(remote)
    return frozenset(found)


def names_its_own(stage: Stage) -> bool:
    """Tell whether a service may find categories by names that only it knows."""
    outside = stage.external
    if outside is None or outside.categories or outside.contract in _LABELS:
        return False
    return outside.names_categories

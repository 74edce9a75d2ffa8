"""From the labels of a service to our categories. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlhf_operator.api.categories import OTHER, category
from rlhf_operator.api.schema import decimal
from rlhf_operator.api.stages import Thresholds
from rlhf_operator.guard.remotes.answers import BadAnswer
from rlhf_operator.guard.verdict import Found, Judgement

_MOST_NAMES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a service says of one text, under its own labels."""

    flagged: bool
    flags: Mapping[str, bool] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    is_complete: bool = False
    """Whether a label that is not among the flags was not found, rather than not judged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which labels mean which category, and from which score on."""

    thresholds: Thresholds
    labels: tuple[str, ...] = ()
    """The labels that the service is known to have; without thresholds all of them count."""
    full: float = 1.0
    """The highest score that the service gives."""
    _names: set[str] = field(default_factory=set, compare=False)

    @property
    def whole(self) -> str:
        """Return the category of a text that was found without saying why."""
        return self.thresholds[0].category if len(self.thresholds) == 1 else OTHER

    def judge(self, said: Said) -> Judgement:
        """Return what counts of what a service said; BadAnswer where it leaves something open."""
        hits = self._by_thresholds(said) if self.thresholds else self._all(said)
        if said.flagged and not hits and not any(said.flags.values()) and self._trusts_words:
            hits = {self.whole}  # it found something and names nothing
        found = tuple(Found(category=each) for each in sorted(hits))
        return Judgement(found=found, scores=self._scores(said))

    @property
    def _trusts_words(self) -> bool:
        return not self.thresholds or any(each.at_least is None for each in self.thresholds)

    def _by_thresholds(self, said: Said) -> set[str]:
        hits = set()
        for each in self.thresholds:
            label = each.label or each.category
            if each.at_least is not None:
                if label not in said.scores:
                    raise BadAnswer(f"no score of a label that is looked for: {label}")
                is_hit = said.scores[label] >= float(decimal(each.at_least))
            elif label in said.flags or said.is_complete:
                is_hit = said.flags.get(label, False)
            else:
                raise BadAnswer(f"no word on a label that is looked for: {label}")
            if is_hit:
                hits.add(each.category)
        return hits

    def _all(self, said: Said) -> set[str]:
        return {self._name(label) for label, is_hit in said.flags.items() if is_hit}

    def _name(self, label: str) -> str:
        """Return a service's own name, unless it has too many: each is a series of its own."""
        if self.labels:
            return category(label) if label in self.labels else OTHER
        name = category(label)
        if name not in self._names and len(self._names) >= _MOST_NAMES:
            return OTHER
        self._names.add(name)
        return name

    def _scores(self, said: Said) -> tuple[tuple[str, float], ...]:
        names = {each.label or each.category: each.category for each in self.thresholds}
        if not names:
            names = {label: category(label) for label in self.labels}
        return tuple(
            (name, min(1.0, max(0.0, said.scores[label] / self.full)))
            for label, name in names.items()
            if label in said.scores
        )

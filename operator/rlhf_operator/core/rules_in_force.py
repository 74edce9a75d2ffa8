"""Which rules the guards of a comparison have: versions under different rules are not compared.

Kubelet brings new rules pod by pod, within a minute or so. Meanwhile evidence is of rules and not
of models; when all guards have the same new ones, the step's evidence begins anew.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

TAKING = (
    "the guards have different rules; comparing goes on when all have the same: new ones come "
    "within minutes; where stable's guard is of an older image, Abort, Restart stable, and Retry"
)
TAKEN = "the guards have taken new rules; the evidence of this weight begins anew with them"


@dataclass(frozen=True, kw_only=True, slots=True)
class InForce:
    """The digests of the rules of all guards that are compared; none where they do not say."""

    digests: frozenset[str] = frozenset()

    @classmethod
    def of(cls, labels: Collection[str]) -> InForce:
        """Return them from what guards tell; a floor that blocks has the same rules."""
        return cls(digests=frozenset(each.partition("+")[0] for each in labels))

    def with_those(self, others: InForce) -> InForce:
        """Return these together with those of another comparison."""
        return InForce(digests=self.digests | others.digests)

    @property
    def agreed(self) -> str | None:
        """Return the digest of the rules that all guards have, if there is one."""
        return next(iter(self.digests)) if len(self.digests) == 1 else None

    @property
    def is_mixed(self) -> bool:
        """Return whether guards have different rules."""
        return len(self.digests) > 1

    def obstacle(self, counted_under: str | None) -> str | None:
        """Return why what is counted says nothing about models now, if so."""
        if self.is_mixed:
            return TAKING
        changed = None not in (self.agreed, counted_under) and self.agreed != counted_under
        return TAKEN if changed else None


UNKNOWN = InForce()

"""Which answers are sampled: by chance, alike in every pod, and as many of each arm. Pure.

Let s be the share of all answers that the team wants, c and t the shares of all requests that
canary and stable answer (in a canary run t = 1 - c; a shadow's canary gets copies, so t = 1).
Of N requests an arm with share w and probability p gives N·w·p samples in expectation. Scores
cost by the answer, and a comparison is sharpest for its price when both arms have as many. So
both are to give N·n, and p = n / w for each. Of all answers s are wanted, so half of them from
each arm: n = s/2; but p is at most 1, so n is at most w for either. Hence

    n = min(s/2, c, t)        p_canary = n / c        p_stable = n / t

with both p in [0, 1]. Where a test tries several versions at once there are k shares in place of
two, and n = min(s/k, every share). Without a run, or where one arm answers everything, there is
nothing to compare: p = s. Whoever estimates something of all traffic weights each sample by 1 / p.
"""

from __future__ import annotations

import hashlib
import hmac

from rlhf_operator.api.arms import Arms

_BITS = 53  # what a float holds exactly


def probability(share: float, arms: Arms | None, version: str) -> float:
    """Return with which probability an answer of a version is sampled, over 0 and at most 1."""
    return share if arms is None else arms.probability(share, version)


def is_chosen(key: bytes, *, model: str, response_id: str, probability: float) -> bool:
    """Return whether an answer is sampled; every guard of the model says the same of an id.

    The draw is a keyed hash of the id, uniform in [0, 1): who asks cannot foresee it.
    """
    said = f"sample\0{model}\0{response_id}".encode()
    digest = hmac.digest(key, said, hashlib.sha256)
    draw = int.from_bytes(digest[:8], "big") >> (64 - _BITS)
    return draw < probability * float(1 << _BITS)

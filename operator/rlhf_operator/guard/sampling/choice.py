"""Which answers are sampled: by chance, alike in every pod, and evenly of the arms. Pure.

Let s be the share of all answers that the team wants, c and t the shares of all requests that
canary and stable answer (in a canary run t = 1 - c; a shadow's canary gets copies, so t = 1).
Of N requests an arm with share w and probability p gives N·w·p samples in expectation. Scores
cost by the answer, and a comparison is sharpest for its price when both arms have as many. So
both are to give half of the s that are wanted. An arm that has fewer gives all of its answers,
and the other gives what is missing: the scorer has the same work at any weight, and with s = 1
everything is sampled in a canary run. Hence with two arms

    n = s/2, or s - min(c, t) where that is more        p_canary = min(1, n / c), p_stable alike

and with k arms, of a test of several versions, n is the level at which min(n, share) of all arms
adds up to s. Without a run, or where one arm answers everything, there is nothing to compare:
p = s. Whoever estimates something of all traffic weights each sample by 1 / p.
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

"""Whose fault it is that Triton refuses a request of its own API: the client's or the version's.

Triton answers 400 to nearly all that fails, a dead model included, and 500 to some of what it
cannot read; what a client sends reaches it as it came. So neither may the status count against the
version, as clients bring it about at will, nor may it always be the client's, as a broken model
would hide behind it. The guard finds out: it asks the model a question of its own that every model
answers. Where that fails, too, the version is at fault; else the request was.
"""

from __future__ import annotations

from rlhf_operator.guard import v2
from rlhf_operator.guard.generation import TritonError
from rlhf_operator.guard.openai import BadRequest
from rlhf_operator.guard.state import Guard
from rlhf_operator.guard.triton import Reply

_NOT_IMPLEMENTED = 501
"""Such as what cannot be had of a decoupled model."""
_INTERNAL = 500
"""Such as an input without a shape: Triton's reader of JSON calls that internal."""
_LONGEST_MISTAKE = 300


async def find(guard: Guard, reply: Reply) -> BadRequest | TritonError:
    """Return what a reply other than 200 to a request for an answer means."""
    if not _is_refusal(reply) and reply.status != _INTERNAL:
        return TritonError(f"status {reply.status}")
    if not await guard.triton.is_sound():
        return TritonError(f"status {reply.status}, and no answer to a plain question")
    return await _told(guard, reply)


async def mistake(guard: Guard, reply: Reply) -> BadRequest | TritonError:
    """Return what a reply other than 200 says, where the status alone tells whose fault it is."""
    if not _is_refusal(reply):
        return TritonError(f"status {reply.status}")
    return await _told(guard, reply)


async def _told(guard: Guard, reply: Reply) -> BadRequest:
    try:
        said = v2.parse(reply.body.strip().removeprefix(b"data:"))["error"]
    except (v2.Malformed, KeyError):
        said = ""
    return BadRequest(await guard.checked_mistake(str(said)[:_LONGEST_MISTAKE]))


def _is_refusal(reply: Reply) -> bool:
    return 400 <= reply.status < 500 or reply.status == _NOT_IMPLEMENTED

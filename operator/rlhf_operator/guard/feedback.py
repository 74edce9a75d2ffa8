"""What users say of answers: each kind of vote counts once per answer."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlhf_operator.api.samples import Task, Thumbs
from rlhf_operator.guard import tokens
from rlhf_operator.guard.openai import BadRequest
from rlhf_operator.guard.sampling.exchange import Vote
from rlhf_operator.guard.sampling.origin import origin
from rlhf_operator.guard.state import Guard
from rlhf_operator.guard.tokens import ResponseId

_OLDEST_VOTE = 30 * 24 * 3600
_FORM = (
    "send response_id, one or more of thumbs (up, down), task (done, failed) and rating (1 to 5), "
    "and with them, if you like, a reason of up to 2000 characters"
)


class _Vote(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    response_id: Annotated[str, Field(max_length=tokens.LONGEST)]
    thumbs: Thumbs | None = None
    task: Task | None = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    reason: Annotated[str, Field(min_length=1, max_length=2000)] | None = None


async def vote(guard: Guard, request: web.Request) -> web.Response:
    """Count what a user says about one answer, whichever version gave it."""
    said = _parse(await request.read())
    given = Vote(
        response_id=said.response_id,
        about=_about(guard, said.response_id),
        at=datetime.now(UTC),
        thumbs=said.thumbs,
        task=said.task,
        rating=said.rating,
        reason=said.reason,
    )
    if not given.values:
        raise BadRequest(_FORM)
    nonce, version = given.about.nonce, given.about.version
    counted = given.only({kind for kind in given.values if guard.votes.add(nonce, kind)})
    if not counted.values:
        kinds = " and ".join(given.values)
        raise web.HTTPConflict(text=f"this answer already has a vote on {kinds}")
    for kind, value in counted.values.items():
        guard.instruments.count_vote(about_version=version, kind=kind, value=value)
    is_kept = guard.sampler.tell(counted, origin(request.headers))
    reason = {} if said.reason is None else {"reason_kept": is_kept}
    return web.json_response(
        {
            "object": "feedback",
            "about_version": version,
            "counted": list(counted.values),
            **reason,
        }
    )


def _parse(body: bytes) -> _Vote:
    try:
        return _Vote.model_validate_json(body)
    except ValidationError:
        # Its text would repeat what was sent.
        raise BadRequest(_FORM) from None


def _about(guard: Guard, response_id: str) -> ResponseId:
    about = tokens.read(guard.setup.key, model=guard.setup.config.model, text=response_id)
    if about is None:
        raise web.HTTPForbidden(text="response_id was not issued by this model")
    if about.issued < time.time() - _OLDEST_VOTE:
        raise web.HTTPForbidden(text="response_id is too old")
    return about

"""What users say of answers: each kind of vote counts once per answer, and apart once per user."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlhf_operator.api.samples import Task, Thumbs
from rlhf_operator.api.sampling import CONSENT_HEADER
from rlhf_operator.guard import openai, peers, tokens
from rlhf_operator.guard.config import Setup
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
    body = await request.read()
    said = _parse(body)
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
    about = given.about
    elsewhere = await _elsewhere(guard, request, about.owner, body)
    if elsewhere is not None:
        return elsewhere
    counted = given.only({kind for kind in given.values if guard.votes.add(about.nonce, kind)})
    if not counted.values:
        kinds = " and ".join(given.values)
        raise web.HTTPConflict(text=f"this answer already has a vote on {kinds}")
    for kind, value in counted.values.items():
        guard.instruments.count_vote(about, kind=kind, value=value)
    is_kept = guard.sampler.tell(counted, origin(request.headers))
    reason = {} if said.reason is None else {"reason_kept": is_kept}
    return web.json_response(
        {
            "object": "feedback",
            "about_version": about.version,
            "counted": list(counted.values),
            **reason,
        }
    )


async def _elsewhere(
    guard: Guard, request: web.Request, subject: str, body: bytes
) -> web.Response | None:
    """Return the reply of the guard to which a vote belongs; None where it belongs here."""
    setup = guard.setup
    if peers.is_passed_on(setup, request.headers.get(peers.HEADER), body):
        return None
    if request.transport is None:
        raise ConnectionResetError("the user has gone")
    host, port, *_ = request.transport.get_extra_info("sockname")
    try:
        other = await guard.peers.elsewhere(setup, subject, (host, port))
        if other is None:
            return None
        reply = await guard.peers.pass_on(
            setup, other, body, _of_consent(setup, request), is_secure=request.secure
        )
    except peers.Unreachable:
        # Counted nowhere: counted here as well, it could count twice.
        message = "the guard that counts this vote is not there now"
        problem = openai.error(message, kind="server_error", code="try_again")
        return web.json_response(problem, status=503, headers={"Retry-After": "2"})
    return web.Response(body=reply.body, status=reply.status, content_type="application/json")


def _of_consent(setup: Setup, request: web.Request) -> list[tuple[str, str]]:
    sampling = setup.config.guard.sampling
    names = {CONSENT_HEADER, sampling.consent_header if sampling is not None else None}
    return [(name, value) for name in names if name for value in request.headers.getall(name, ())]


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

"""One sink over HTTP: batches of events go there, and only whether they were taken comes back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

import aiohttp
from yarl import URL

from rlhf_operator.api.guard import GuardConfig
from rlhf_operator.api.samples import BATCH_TYPE
from rlhf_operator.api.sampling import Sampling
from rlhf_operator.guard.remotes.credentials import Credential, locate
from rlhf_operator.guard.remotes.roster import in_cluster, provided

_SECONDS = 10.0
_MAY_PASS = frozenset({401, 403, 404, 408, 425, 429})
"""Refusals that end without another request: a credential or a route that is on its way."""


class Taken(Enum):
    """What became of one request to a sink."""

    YES = "yes"
    NOT_NOW = "not now"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sink:
    """Where events go, and where the bearer token is if there is one."""

    url: URL
    token: Credential | None = None


def sink(config: GuardConfig, sampling: Sampling) -> Sink | None:
    """Return the sink of a model; None where the provider that is named is not listed."""
    service = sampling.service
    if service is None:
        url = provided(config, sampling.provider)
    else:
        url = in_cluster(service, config.namespace, service.path)
    if url is None:
        return None
    key = sampling.credentials
    return Sink(url=url, token=locate(key, config.credentials_folder) if key else None)


async def post(session: aiohttp.ClientSession, to: Sink, body: bytes) -> Taken:
    """Send a batch once. Never raises for what the sink does, or does not do."""
    headers = {"Content-Type": BATCH_TYPE}
    if to.token is not None:
        value = to.token.read()
        if value is None:
            return Taken.NOT_NOW  # never without the credential that was asked for
        headers["Authorization"] = f"Bearer {value}"
    try:
        async with (
            asyncio.timeout(_SECONDS),
            session.post(to.url, data=body, headers=headers, allow_redirects=False) as reply,
        ):
            status = reply.status
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return Taken.NOT_NOW
    if 200 <= status < 300:
        return Taken.YES
    return Taken.NOT_NOW if status >= 500 or status in _MAY_PASS else Taken.NEVER

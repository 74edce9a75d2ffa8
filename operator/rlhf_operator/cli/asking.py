"""Tries a team's query on a Prometheus: whether it answers, with the labels that are needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlencode

import urllib3

from rlhf_operator.api.metrics import TARGET_LABELS
from rlhf_operator.cli.cluster import Cluster, Problem
from rlhf_operator.cli.findings import Gravity

Ask = Callable[[str], tuple[int, str]]
"""From a query to the status and text of the answer."""

_PATH = "api/v1/query"
_TIMEOUT = 30.0


def by_url(url: str) -> Ask:
    """Return how to ask a Prometheus at an address."""
    pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)

    def ask(query: str) -> tuple[int, str]:
        try:
            got = pool.request("GET", f"{url.rstrip('/')}/{_PATH}", fields={"query": query})
        except urllib3.exceptions.HTTPError as error:
            raise Problem(f"Prometheus at {url} does not answer: {error}") from error
        return got.status, got.data.decode(errors="replace")

    return ask


def by_service(cluster: Cluster, service: str) -> Ask:
    """Return how to ask a Prometheus behind a Service, through the API server."""
    return lambda query: cluster.proxied(service, _PATH, urlencode({"query": query}))


def complaint(status: int, text: str) -> tuple[Gravity, str] | None:
    """Return what is wrong with the answer to an instant query, or nothing.

    status, text: as Prometheus' HTTP API gives them. Silence is advice: a version that does not
    run yet has no series.
    """
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        return "error", f"Prometheus answered {status} with something that is no JSON"
    if status != 200 or answer.get("status") != "success":
        return "error", f"Prometheus refuses it: {answer.get('error') or f'status {status}'}"
    series = answer["data"]["result"]
    if answer["data"]["resultType"] != "vector":
        return "error", f"it yields a {answer['data']['resultType']}, not one number per version"
    if not series:
        return "advice", "it answers nothing now; silence holds a rollout"
    for each in series:
        missing = [label for label in TARGET_LABELS if label not in each["metric"]]
        if missing:
            return "error", f"a series lacks {', '.join(missing)}; are the pods scraped as told?"
    return None

"""Asks Prometheus one question, to check what clients saw against what was counted."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from e2e.harness.errors import HarnessError


def value(url: str, query: str) -> float:
    """Return the sum over the series that an expression gives now; 0 where there is none."""
    return sum(float(series["value"][1]) for series in _ask(url, query))


def labels(url: str, query: str, name: str) -> set[str]:
    """Return the different values of a label over the series that an expression gives now."""
    return {series["metric"].get(name, "") for series in _ask(url, query)}


def _ask(url: str, query: str) -> list[dict[str, Any]]:
    address = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    # Prometheus is on this machine or near: a proxy set in the environment is not for it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=10) as reply:
            found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    except (OSError, ValueError, KeyError) as error:
        raise HarnessError(f"Prometheus at {url} does not answer {query}: {error}") from error
    return found

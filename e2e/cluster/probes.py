"""Small checks of whether a server answers yet."""

import urllib.error
import urllib.request


def answers(url: str) -> bool:
    """Tell whether the URL answers with a success status."""
    try:
        # The cluster is on this machine: a proxy set in the environment is not for it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False

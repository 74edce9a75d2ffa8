"""What the person at the terminal sees while long steps run."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class ClusterError(Exception):
    """A failure that its message explains completely; shown without a traceback."""


def say(message: str) -> None:
    """Write one line to standard error."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announce a long step when it starts, and the seconds it took when it ends."""
    say(f"{what} …")
    started = time.monotonic()
    yield
    say(f"{what} … {time.monotonic() - started:.0f} s")

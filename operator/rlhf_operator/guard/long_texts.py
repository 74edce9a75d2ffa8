"""Reading long texts beside other requests: in one thread, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

LONG = 4_000
"""Characters from which on rules may take long enough, about 12 ms, to hold other requests up."""

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="long-texts")
"""One at a time: all share the interpreter, and short texts wait for each thread in turn."""

T = TypeVar("T")


async def read(work: Callable[[], T]) -> T:
    """Return what work returns that reads a long text.

    Who has gone is not read any more; what is being read then is read to its end before this
    ends, so that nothing changes beneath those who tell how far it got.
    """
    reading = _THREAD.submit(work)
    try:
        return await asyncio.shield(asyncio.wrap_future(reading))
    except asyncio.CancelledError:
        if not reading.cancel():
            await asyncio.wait([asyncio.wrap_future(reading)])
        raise

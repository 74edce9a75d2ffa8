"""Reading long texts beside other requests: in a thread, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

LONG = 4_000
"""Characters from which on rules may take long enough, about 12 ms, to hold other requests up."""

_WHOLE = ThreadPoolExecutor(max_workers=1, thread_name_prefix="long-texts")
"""One at a time: all share the interpreter, and short texts wait for each thread in turn."""
_STREAMED = ThreadPoolExecutor(max_workers=1, thread_name_prefix="long-streams")
"""Whoever reads a long answer while it is made does not wait behind the prompts of others."""

T = TypeVar("T")


async def read(work: Callable[[], T], *, streamed: bool = False) -> T:
    """Return what work returns that reads a long text, or one that is on its way to a user.

    Who has gone is not read any more; what is being read then is read to its end before this
    ends, so that nothing changes beneath those who tell how far it got.
    """
    reading = (_STREAMED if streamed else _WHOLE).submit(work)
    try:
        return await asyncio.shield(asyncio.wrap_future(reading))
    except asyncio.CancelledError:
        if not reading.cancel():
            await asyncio.wait([asyncio.wrap_future(reading)])
        raise

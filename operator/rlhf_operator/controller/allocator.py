"""Memory of the libraries below us: a program that runs for months holds no more than it uses.

What glibc does by itself suits programs that are quick and short: an arena for each thread, and
large blocks taken from the heap once one such was freed, where small ones soon pin them.
"""

from __future__ import annotations

import ctypes
from asyncio.sslproto import SSLProtocol

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE = 128 * 1024
"""Blocks from so many bytes on are mapped, and given back whole when they are freed."""
_ARENAS = 2
_TLS_BUFFER = 64 * 1024
"""asyncio would fill a quarter of a megabyte with zeros for each of some thirty connections."""


def restrain() -> None:
    """Share two arenas among all threads, and map large blocks, where it is glibc.

    Connections that are made from now on have a smaller buffer.
    """
    SSLProtocol.max_size = _TLS_BUFFER
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_M_ARENA_MAX, _ARENAS)
        tune(_M_MMAP_THRESHOLD, _LARGE)


def trim() -> None:
    """Give the system back what is free; nothing where it is not glibc."""
    give = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give is not None:
        give(0)

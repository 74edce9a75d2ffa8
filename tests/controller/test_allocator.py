"""The C library gives back what a program has freed, and nothing breaks where it is another."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from asyncio.sslproto import SSLProtocol

import pytest

from rlhf_operator.controller import allocator

# A block of a megabyte was freed: by itself glibc takes all that are smaller from the heap then.
_MAPPED = """
import ctypes
from rlhf_operator.controller import allocator
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
{before}
del_me = bytes(1 << 20); del del_me
mapped = libc.mallinfo2().hblkhd
kept = bytes(1 << 19)
print(libc.mallinfo2().hblkhd - mapped >= len(kept))
"""
glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="it is not a glibc of 2021 or later"
)


@glibc
@pytest.mark.parametrize(
    ("before", "is_mapped"),
    [
        pytest.param("allocator.restrain()", "True", id="a large block is given back whole"),
        pytest.param("", "False", id="which glibc alone does not do for long"),
    ],
)
def test_how_large_blocks_are_taken(before: str, is_mapped: str) -> None:
    program = _MAPPED.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == is_mapped


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Other:
        def __getattr__(self, name: str) -> None:
            asked.append(name)
            raise AttributeError(name)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Other())
    monkeypatch.setattr(SSLProtocol, "max_size", SSLProtocol.max_size)
    allocator.restrain()
    allocator.trim()
    assert asked == ["mallopt", "malloc_trim"]


def test_a_connection_has_a_small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    monkeypatch.setattr(SSLProtocol, "max_size", SSLProtocol.max_size)
    allocator.restrain()
    assert SSLProtocol.max_size == 64 * 1024
    assert "max_size" in SSLProtocol.__init__.__code__.co_names, "asyncio still goes by it"

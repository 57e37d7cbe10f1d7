"""Heap: what glibc's allocator keeps of memory that nobody uses. Where there is another libc, nothing is done."""

from __future__ import annotations

import ctypes

# malloc.h
_M_ARENA_MAX = -8


def share_heap() -> bool:
    """One arena for all threads: they are a dozen that hardly ever allocate, and each would keep an arena of its own.

    Call before any thread is started. Returns: the allocator took it.
    """
    libc = ctypes.CDLL(None)
    return hasattr(libc, "mallopt") and libc.mallopt(_M_ARENA_MAX, 1) == 1


def trim_heap() -> bool:
    """Give back what starting up has used and left. Returns: something was given back."""
    libc = ctypes.CDLL(None)
    return hasattr(libc, "malloc_trim") and libc.malloc_trim(0) == 1

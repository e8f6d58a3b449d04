"""Keeping a process of several threads from spreading its memory over several heaps."""

from __future__ import annotations

import ctypes

_ARENA_MAX = -8
"""The number of this parameter in glibc's `mallopt`."""


def share_one_heap() -> bool:
    """Have all threads started from here on allocate from one heap; False where the C library knows no such thing.

    By default each thread gets a heap of its own. What one allocates and another frees then leaves holes that nobody
    fills, and a process that runs for weeks grows by megabytes a day without holding anything more. The threads here
    take turns anyway.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_ARENA_MAX, 1))

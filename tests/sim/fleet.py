"""Runs many schedules on several processes; results come in the order of the seeds, whatever finishes first."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
CHUNK = 4


def in_order(work: Callable[[A], B], items: Iterable[A], jobs: int, *, chunk: int = CHUNK) -> Iterator[B]:
    """Give the result of each item, in order."""
    if jobs <= 1:
        yield from map(work, items)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(work, items, chunk)

"""Finds the few faults that make a schedule fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.sim.faults import Fault

Fails = Callable[[Mapping[str, Fault]], bool]
MAX_RUNS = 80


def shrunk(script: Mapping[str, Fault], fails: Fails, *, max_runs: int = MAX_RUNS) -> dict[str, Fault]:
    """Give a smallest part of a failing script that still fails: halves first, then one by one."""
    kept = dict(script)
    size = max(len(kept) // 2, 1)
    runs = 0
    while kept:
        names = list(kept)
        smaller = None
        for start in range(0, len(names), size):
            if runs >= max_runs:
                return kept
            runs += 1
            gone = set(names[start : start + size])
            candidate = {name: fault for name, fault in kept.items() if name not in gone}
            if fails(candidate):
                smaller = candidate
                break
        if smaller is not None:
            kept = smaller
            size = min(size, max(len(kept) // 2, 1))
        elif size == 1:
            return kept
        else:
            size //= 2
    return kept

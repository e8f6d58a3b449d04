"""What a soak tells: growth of memory, open files and threads, and the loop's durations under each fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.soak_plan import CALM, FAULTS, SoakPlan

MOST_KIB_PER_CYCLE = 1.0
MOST_RATIO = 1.1
CHUNK = 15
P99 = 0.99
DRAWS = 400
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """One cycle: what was wrong around it, how long it took, and what the process held after it."""

    cycle: int
    slot: int
    kind: str
    took_s: float
    rss_kib: int
    fds: int
    threads: int
    errors: int = 0


def figures(samples: Sequence[Sample], plan: SoakPlan) -> dict[str, object]:
    """Give all figures, and under `violations` the bars that were missed.

    The 90 % range beside each ratio tells how far chance alone moves it; it excuses nothing.
    """
    warm = [item for item in samples if item.cycle >= plan.warm_up]
    calm = [item for item in warm if item.kind == CALM and plan.counts(item.cycle, item.slot)]
    slope = slope_kib(warm)
    broken = []
    if len(samples) < plan.cycles:
        broken.append(f"only {len(samples)} of {plan.cycles} cycles were made")
    if not slope < MOST_KIB_PER_CYCLE:
        broken.append(f"memory grows by {slope:.2f} KiB per cycle")
    for name in ("fds", "threads"):
        first, last = _ends(calm, name)
        if first != last or not calm:
            broken.append(f"{name} went from {first} to {last}")
    counted = [item for item in warm if plan.counts(item.cycle, item.slot)]
    ratios = {kind: _ratio([item for item in counted if item.kind == kind], calm, plan.block) for kind in FAULTS}
    broken += [
        f"p99 with {kind} is {ratio[0]:.2f} times the undisturbed one"
        for kind, ratio in ratios.items()
        if not ratio[0] <= MOST_RATIO
    ]
    return {
        "cycles": len(samples),
        "rss_kib_per_cycle": _plain(slope),
        "rss_mib": [round(warm[0].rss_kib / 1024, 1), round(warm[-1].rss_kib / 1024, 1)] if warm else [],
        "fds": [*_ends(calm, "fds"), max((item.fds for item in warm), default=0)],
        "threads": [*_ends(calm, "threads"), max((item.threads for item in warm), default=0)],
        "calm_ms": _milliseconds(calm),
        "p99_ratio": {kind: _plain(ratio[0]) for kind, ratio in ratios.items()},
        "p99_ratio_90": {kind: [_plain(ratio[1]), _plain(ratio[2])] for kind, ratio in ratios.items()},
        "cycles_with_errors": sum(item.errors > 0 for item in samples),
        "violations": broken,
    }


def slope_kib(samples: Sequence[Sample]) -> float:
    """Give the growth of resident memory per cycle, KiB: the median slope between medians of 15 cycles each."""
    chunks = [samples[start : start + CHUNK] for start in range(0, len(samples) - CHUNK + 1, CHUNK)]
    at = np.array([chunk[len(chunk) // 2].cycle for chunk in chunks], dtype=float)
    held = np.array([np.median([item.rss_kib for item in chunk]) for chunk in chunks], dtype=float)
    earlier, later = np.triu_indices(len(chunks), 1)
    if not len(earlier):
        return float("nan")
    return float(np.median((held[later] - held[earlier]) / (at[later] - at[earlier])))


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)


def _ends(samples: Sequence[Sample], name: str) -> list[int]:
    """Give the median of the first third and that of the last third."""
    values = [int(getattr(item, name)) for item in samples] or [0]
    third = max(len(values) // 3, 1)
    return [int(np.median(part)) for part in (values[:third], values[-third:])]


def _milliseconds(samples: Sequence[Sample]) -> dict[str, float]:
    took = np.array([item.took_s for item in samples]) * 1000
    if not len(took):
        return {}
    return {name: round(float(np.quantile(took, share)), 1) for name, share in (("p50", 0.5), ("p99", P99))}


def _ratio(faulty: Sequence[Sample], calm: Sequence[Sample], block: int) -> tuple[float, float, float]:
    """Give the 99th percentile under a fault over the undisturbed one, and the middle 90 % of it by resampling.

    Whole blocks are drawn: what else runs on the machine slows neighbouring cycles together.
    """
    if not faulty or not calm:
        return float("nan"), float("nan"), float("nan")
    ours, theirs = _blocks(faulty, block), _blocks(calm, block)
    dice = np.random.default_rng(0)
    drawn = [_drawn(ours, dice) / _drawn(theirs, dice) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, (0.05, 0.95))
    found = np.quantile(np.concatenate(ours), P99) / np.quantile(np.concatenate(theirs), P99)
    return float(found), float(low), float(high)


def _blocks(samples: Sequence[Sample], block: int) -> list[FloatArray]:
    """Give the durations block by block."""
    found: dict[int, list[float]] = {}
    for item in samples:
        found.setdefault(item.slot // block, []).append(item.took_s)
    return [np.array(took) for took in found.values()]


def _drawn(blocks: Sequence[FloatArray], dice: np.random.Generator) -> float:
    """Give the 99th percentile of as many blocks drawn at random."""
    return float(np.quantile(np.concatenate([blocks[at] for at in dice.integers(0, len(blocks), len(blocks))]), P99))

"""Seeded random walks as recorded bars, and a stored history that answers like a venue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe, from_iso, to_ms
from bn_ml.ports import Clock
from data_manager.bars import Bars
from data_manager.history import HistoryStore
from data_manager.sources.replay import ReplaySource

BEGIN_MS = to_ms(from_iso("2023-01-02"))
BENCHMARK = Symbol("BTC/USDC")


def walk(symbol: Symbol, bars: int, *, seed: int, timeframe: Timeframe = Timeframe.M15) -> Bars:
    """Give a walk without gaps whose volatility comes in spells; prices begin at 100."""
    dice = np.random.default_rng(seed)
    spells = np.exp(0.5 * np.sin(np.arange(bars) / 190.0 + seed))
    close = 100.0 * np.exp(np.cumsum(dice.normal(0, 0.002, bars) * spells))
    opened = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(opened, close) * np.exp(np.abs(dice.normal(0, 0.0008, bars)))
    low = np.minimum(opened, close) * np.exp(-np.abs(dice.normal(0, 0.0008, bars)))
    times = BEGIN_MS + timeframe.ms * np.arange(bars, dtype=np.int64)
    opened, high, low, close = (np.round(column, 4) for column in (opened, high, low, close))
    return Bars(symbol, timeframe, times, opened, high, low, close, dice.lognormal(8.0, 1.0, bars), "walk")


def symbols(count: int) -> tuple[Symbol, ...]:
    """Give invented symbols, the benchmark first."""
    return (BENCHMARK, *(Symbol(f"T{number:03d}/USDC") for number in range(count - 1)))


def store_walks(root: Path, names: Sequence[Symbol], bars: int) -> None:
    """Write a history of walks."""
    store = HistoryStore(root)
    for seed, name in enumerate(names):
        store.write(walk(name, bars, seed=seed))


class VenueLike(ReplaySource):
    """Stored bars answered several calls at once, so that they take the cached and cleaned road of a real venue."""

    concurrency = 8

    def __init__(self, root: Path, clock: Clock) -> None:
        """Open the history."""
        super().__init__(root, clock, name="walks")

"""Bars for feature tests: recorded ones, seeded random walks, and a provider that holds them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars, empty_bars
from data_manager.resampling import resample

MONDAY_MS = 1_672_617_600_000  # 2023-01-02 00:00 UTC
STEP_MS = Timeframe.M15.ms


def walk(symbol: str = "AAA/USDC", *, bars: int = 3000, seed: int = 0, start_ms: int = MONDAY_MS) -> Bars:
    """A seeded random walk of 15m bars without gaps; prices near 100."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.003, bars)))
    opened = close * np.exp(rng.normal(0, 0.001, bars))
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0, 0.001, bars)))
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0, 0.001, bars)))
    volume = rng.lognormal(3.0, 1.0, bars)
    times = start_ms + STEP_MS * np.arange(bars, dtype=np.int64)
    return Bars(Symbol(symbol), Timeframe.M15, times, opened, high, low, close, volume, "walk")


def flat(symbol: str = "AAA/USDC", *, bars: int = 3000, price: float = 7.0, volume: float = 1.0) -> Bars:
    """Bars whose price never moves."""
    prices = np.full(bars, price)
    times = MONDAY_MS + STEP_MS * np.arange(bars, dtype=np.int64)
    return Bars(Symbol(symbol), Timeframe.M15, times, prices, prices, prices, prices, np.full(bars, volume), "flat")


def without(bars: Bars, positions: Iterable[int]) -> Bars:
    """The bars without those at the given positions."""
    keep = np.ones(len(bars), dtype=bool)
    keep[list(positions)] = False
    return bars.take(keep)


def scaled(bars: Bars, price: float = 1.0, volume: float = 1.0) -> Bars:
    """The bars in other units."""
    return replace(
        bars,
        open=bars.open * price,
        high=bars.high * price,
        low=bars.low * price,
        close=bars.close * price,
        volume=bars.volume * volume,
    )


def recorded(folder: Path, base: str) -> Bars:
    """All recorded 15m bars of a base asset against USDT, 2022 to 2023."""
    table = pq.read_table(folder / "spot_2022_2023" / f"{base}_USDT-15m.parquet")
    times = table["timestamp"].cast("int64").to_numpy()
    opened, high, low, close, volume = (table[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    return Bars(Symbol(f"{base}/USDT"), Timeframe.M15, times, opened, high, low, close, volume, "recorded")


class MemoryProvider:
    """Gives any span of the bars it was made with, longer ones resampled; may know more than `now`."""

    def __init__(self, bars: Mapping[Symbol, Bars]) -> None:
        self._bars = {(symbol, Timeframe.M15): held for symbol, held in bars.items()}
        self.calls = 0

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        self.calls += 1
        if (symbol, Timeframe.M15) not in self._bars:
            raise MarketDataError(f"{symbol}: unknown")
        key = (symbol, timeframe)
        if key not in self._bars:
            self._bars[key] = resample(self._bars[(symbol, Timeframe.M15)], timeframe)
        return self._bars[key].between(start_ms, end_ms)


class UntilProvider(MemoryProvider):
    """Knows only what had closed at `now_ms`, like a live venue."""

    def __init__(self, bars: Mapping[Symbol, Bars], now_ms: int) -> None:
        super().__init__({symbol: held.closed_by(now_ms) for symbol, held in bars.items()})


def nothing(symbol: str = "AAA/USDC") -> Bars:
    """No bars."""
    return empty_bars(Symbol(symbol), Timeframe.M15, "none")

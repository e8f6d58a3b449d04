"""Builders of small bar frames."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms, to_ms
from data_manager.bars import Bars

BTC = Symbol("BTC/USDC")
START = datetime(2024, 3, 4, tzinfo=timezone.utc)
START_MS = to_ms(START)


def some_bars(
    count: int = 200,
    *,
    symbol: Symbol = BTC,
    timeframe: Timeframe = Timeframe.M15,
    start_ms: int = START_MS,
    seed: int = 0,
    source: str = "test",
) -> Bars:
    """A sound random series without holes, prices with two decimals."""
    generator = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(generator.normal(0, 0.003, count))), 2)
    opened = np.concatenate([[100.0], close[:-1]])
    wicks = np.round(generator.exponential(0.2, (2, count)), 2)
    volume = np.round(generator.exponential(50, count) + 1, 3)
    return Bars(
        symbol=symbol,
        timeframe=timeframe,
        open_time=start_ms + np.arange(count, dtype=np.int64) * timeframe.ms,
        open=opened,
        high=np.round(np.maximum(opened, close) + wicks[0], 2),
        low=np.round(np.minimum(opened, close) - wicks[1], 2),
        close=close,
        volume=volume,
        source=source,
        quote_volume=np.round(volume * close, 6),
        trades=generator.integers(1, 50, count),
    )


def clock_at(ms: int) -> SimulatedClock:
    """A clock that stands at an instant."""
    return SimulatedClock(from_ms(ms))


def same_bars(left: Bars, right: Bars) -> bool:
    """Whether two frames hold the same bars, bit for bit."""
    names = ("open_time", "open", "high", "low", "close", "volume", "quote_volume", "trades")
    return left.timeframe is right.timeframe and all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=name == "quote_volume") for name in names
    )

"""The road the last price takes inside one bar, second by second, ending exactly as the bar says.

A seeded coin decides whether the low or the high comes first. Between those points the price moves straight with a
little noise and never leaves `[low, high]`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, Philox, SeedSequence

from data_manager.bars import IntArray

SECOND_MS = 1000
VOLUME_UNITS = 10**8
_NOISE = 0.04
_SHORTEST_WITH_TURNS = 4


@dataclass(frozen=True, slots=True)
class PathBar:
    """One bar on the tick grid: prices count ticks, `volume` counts 1e-8 units of the base asset."""

    open_ms: int
    length_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int

    @property
    def seconds(self) -> int:
        """How many seconds the bar lasts."""
        return self.length_ms // SECOND_MS

    @property
    def close_ms(self) -> int:
        """The first instant after the bar."""
        return self.open_ms + self.length_ms


@dataclass(frozen=True, slots=True, eq=False)
class SecondPath:
    """The last price of each second in ticks, shape (n_seconds,), and the highest and lowest so far."""

    bar: PathBar
    last: IntArray
    high: IntArray
    low: IntArray

    def row(self, at_ms: int) -> int:
        """Give the position of an instant's second."""
        return min(max(0, (at_ms - self.bar.open_ms) // SECOND_MS), len(self.last) - 1)

    def volume_before(self, row: int) -> int:
        """Give the volume of the first `row` seconds, in 1e-8 units; all seconds together make the bar's volume."""
        return self.bar.volume * row // self.bar.seconds

    def trades_before(self, row: int) -> int:
        """Give the number of trades of the first `row` seconds."""
        return self.bar.trades * row // self.bar.seconds


def second_path(bar: PathBar, symbol: str, seed: int) -> SecondPath:
    """Draw the path of a bar; the same bar, symbol and seed always give the same one.

    >>> path = second_path(PathBar(0, 60_000, 10, 20, 5, 15, 600, 60), "BTC/USDC", 1)
    >>> int(path.last[0]), int(path.last[-1]), int(path.high[-1]), int(path.low[-1])
    (10, 15, 20, 5)
    """
    last = _last(bar, _generator(seed, symbol, bar.open_ms // SECOND_MS))
    return joined(bar, last)


def joined(bar: PathBar, last: IntArray) -> SecondPath:
    """Give the path of given prices."""
    return SecondPath(bar, last, np.maximum.accumulate(last), np.minimum.accumulate(last))


def _last(bar: PathBar, draw: Generator) -> IntArray:
    count = bar.seconds
    if bar.high == bar.low:
        return np.full(count, bar.open, dtype=np.int64)
    if count < _SHORTEST_WITH_TURNS:
        return np.linspace(bar.open, bar.close, count).round().astype(np.int64)
    first, second = sorted(1 + draw.choice(count - 2, size=2, replace=False))
    turns = (bar.low, bar.high) if draw.random() < _low_first(bar) else (bar.high, bar.low)
    rows = np.array([0, first, second, count - 1])
    straight = np.interp(np.arange(count), rows, (bar.open, *turns, bar.close))
    noise = (2 * draw.random(count) - 1) * _NOISE * (bar.high - bar.low)
    noise[rows] = 0
    last: IntArray = np.clip(np.rint(straight + noise), bar.low, bar.high).astype(np.int64)
    return last


def _low_first(bar: PathBar) -> float:
    return 0.7 if bar.close >= bar.open else 0.3


def _generator(seed: int, symbol: str, second: int) -> Generator:
    return Generator(Philox(SeedSequence((seed % 2**64, zlib.crc32(symbol.encode()), second))))

"""What buying at the start and holding to the end would have brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from bn_ml.domain.market import Symbol, to_ms
from data_manager.bars import Bars, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Held:
    """Symbols bought with equal parts of the money and sold at the end, after the fees of both.

    Fractions; `max_drawdown` is over bar closes, from the money at the start.
    """

    symbols: tuple[Symbol, ...]
    total_return: float
    max_drawdown: float


@dataclass(frozen=True, slots=True)
class Holding:
    """Holding all symbols (`equal`) and the benchmark alone; None where there are no bars. Doing nothing brings 0.

    `left_out` are symbols without a bar in the period.
    """

    equal: Held | None
    benchmark: Held | None
    left_out: tuple[Symbol, ...] = ()


def buy_and_hold(
    bars: Mapping[Symbol, Bars],
    symbols: Sequence[Symbol],
    begin: datetime,
    end: datetime,
    fees_frac: float,
    *,
    benchmark: Symbol | None = None,
) -> Holding:
    """Hold from the first open at or after `begin` to the last close at or before `end`; `fees_frac` per side.

    A symbol listed later is money until then; one that ends earlier is sold at its last close. Nothing is rebalanced.
    """
    span = (to_ms(begin), to_ms(end))
    parts = {symbol: _within(bars[symbol], span) for symbol in sorted({*symbols}) if symbol in bars}
    parts = {symbol: part for symbol, part in parts.items() if len(part)}
    alone = _within(bars[benchmark], span) if benchmark is not None and benchmark in bars else None
    return Holding(
        equal=_held(parts, fees_frac) if parts else None,
        benchmark=_held({alone.symbol: alone}, fees_frac) if alone is not None and len(alone) else None,
        left_out=tuple(sorted({*symbols} - parts.keys())),
    )


def _within(bars: Bars, span: tuple[int, int]) -> Bars:
    return bars.between(span[0], span[1] - bars.timeframe.ms + 1)


def _held(parts: Mapping[Symbol, Bars], fees_frac: float) -> Held:
    instants = np.unique(np.concatenate([part.close_time for part in parts.values()]))
    worth = np.mean([_worth(part, instants, fees_frac) for part in parts.values()], axis=0)
    path = np.concatenate(([1.0], worth))
    falls = 1.0 - path / np.maximum.accumulate(path)
    return Held(tuple(parts), float(path[-1] - 1.0), float(falls.max()))


def _worth(part: Bars, instants: IntArray, fees_frac: float) -> FloatArray:
    """Give what one unit of money put into a symbol is worth at each instant, shape (n_instants,)."""
    bought = (1.0 - fees_frac) / part.open[0]
    place = np.searchsorted(part.close_time, instants, side="right") - 1
    worth: FloatArray = np.where(place >= 0, part.close[np.maximum(place, 0)] * bought, 1.0)
    sold = instants >= part.close_time[-1]
    return np.where(sold, worth * (1.0 - fees_frac), worth)

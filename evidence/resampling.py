"""How else the same days and trades could have gone: bootstrap of daily returns, reshuffled trades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from data_manager.bars import FloatArray, IntArray
from evidence.book import Book
from trader.performance import DAYS_PER_YEAR

FEWEST_DAYS = 10
FEWEST_TRADES = 5


@dataclass(frozen=True, slots=True)
class Interval:
    """Where 90 % of the resamples lie: from the 5 % to the 95 % quantile."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Intervals of total return and yearly Sharpe ratio over stationary bootstraps of daily returns.

    Blocks of days have geometric lengths of mean `block_days` *(Politis, Romano 1994)*. `loss_share` is the share of
    resamples that lost money. `why` tells why there are too few days, and then the figures are None.
    """

    days: int
    draws: int
    block_days: int
    total_return: Interval | None = None
    sharpe_ratio: Interval | None = None
    loss_share: float | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class ShuffledTrades:
    """Max drawdown when the closed trades come in another order, as a fraction of the peak.

    Results stay what they were in the quote asset, starting from the capital. `actual` is that of the true order of
    closes, which knows no losses between. `why` tells why there are too few trades, and then the figures are None.
    """

    trades: int
    draws: int
    actual: float | None = None
    median: float | None = None
    quantile_95: float | None = None
    why: str | None = None


def bootstrap(daily: Sequence[float], *, seed: int, draws: int = 2_000, block_days: int | None = None) -> Bootstrap:
    """Resample daily returns; `block_days` is the cube root of the number of days where none is given."""
    returns = np.asarray(daily, dtype=np.float64)
    count = len(returns)
    block = block_days or max(1, round(count ** (1 / 3)))
    if count < FEWEST_DAYS:
        return Bootstrap(count, draws, block, why=f"{count} days are too few, {FEWEST_DAYS} are needed")
    sampled = returns[stationary_indices(count, block, draws=draws, seed=seed)]
    totals = np.prod(1.0 + sampled, axis=1) - 1.0
    return Bootstrap(
        days=count,
        draws=draws,
        block_days=block,
        total_return=_interval(totals),
        sharpe_ratio=_interval(_sharpes(sampled)),
        loss_share=float((totals < 0.0).mean()),
    )


def stationary_indices(count: int, block: int, *, draws: int, seed: int) -> IntArray:
    """Give positions of resampled days, shape (draws, count): each follows the one before or, with probability
    1/`block`, starts anew anywhere; after the last day comes the first.
    """
    generator = np.random.default_rng([seed, 2])
    starts = generator.integers(0, count, size=(draws, count))
    anew = generator.random((draws, count)) < 1.0 / block
    places = np.empty((draws, count), dtype=np.int64)
    places[:, 0] = starts[:, 0]
    for day in range(1, count):
        places[:, day] = np.where(anew[:, day], starts[:, day], (places[:, day - 1] + 1) % count)
    return places


def shuffled_trades(book: Book, *, seed: int, draws: int = 1_000) -> ShuffledTrades:
    """Put closed trades into `draws` random orders."""
    results = np.array([float(position.realized_quote) for position in book.closed])
    if len(results) < FEWEST_TRADES:
        why = f"{len(results)} trades are too few, {FEWEST_TRADES} are needed"
        return ShuffledTrades(len(results), draws, why=why)
    generator = np.random.default_rng([seed, 3])
    found = np.array([_drawdown(generator.permutation(results), book.capital) for _ in range(draws)])
    return ShuffledTrades(
        trades=len(results),
        draws=draws,
        actual=_drawdown(results, book.capital),
        median=float(np.median(found)),
        quantile_95=float(np.quantile(found, 0.95)),
    )


def _drawdown(results: FloatArray, capital: Decimal) -> float:
    path = float(capital) + np.concatenate(([0.0], np.cumsum(results)))
    return float((1.0 - path / np.maximum.accumulate(path)).max())


def _sharpes(sampled: FloatArray) -> FloatArray:
    deviation = sampled.std(axis=1, ddof=1)
    moving = deviation > 0.0
    daily: FloatArray = np.where(moving, sampled.mean(axis=1) / np.where(moving, deviation, 1.0), 0.0)
    return daily * math.sqrt(DAYS_PER_YEAR)


def _interval(values: FloatArray) -> Interval:
    low, high = np.quantile(values, (0.05, 0.95))
    return Interval(float(low), float(high))

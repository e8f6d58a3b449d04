"""What trading has brought: equity curve, drawdown and the usual figures over closed trades. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.market import ZERO
from bn_ml.domain.positions import Position

DAYS_PER_YEAR = 365


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """What the account was worth at an instant."""

    at: datetime
    equity: Decimal


@dataclass(frozen=True, slots=True)
class Performance:
    """Figures over closed trades, net of fees. Fractions are of the money put into a trade; amounts in the quote asset.

    `profit_factor` is infinite without losses and 0 without trades. `sharpe` and `sortino` are per year from daily
    returns of equity, 0 where they cannot be computed.
    """

    trades: int
    win_rate: float
    profit_factor: float
    expectancy_quote: Decimal
    mean_return_frac: float
    net_quote: Decimal
    fees_quote: Decimal
    max_drawdown_frac: float
    sharpe: float
    sortino: float


def performance(closed: Sequence[Position], curve: Sequence[EquityPoint]) -> Performance:
    """Sum up closed positions and the equity curve (in time order)."""
    results = [position.realized_quote for position in closed]
    net = sum(results, start=ZERO)
    daily = returns(daily_equity(curve))
    return Performance(
        trades=len(closed),
        win_rate=sum(result > 0 for result in results) / len(results) if results else 0.0,
        profit_factor=profit_factor(results),
        expectancy_quote=net / len(results) if results else ZERO,
        mean_return_frac=_mean([trade_return(position) for position in closed]),
        net_quote=net,
        fees_quote=sum((position.fees_quote for position in closed), start=ZERO),
        max_drawdown_frac=max_drawdown([point.equity for point in curve]),
        sharpe=sharpe(daily),
        sortino=sortino(daily),
    )


def trade_return(position: Position) -> float:
    """Give a closed position's net result over what was paid for it."""
    return float(position.realized_quote / position.cost_quote) if position.cost_quote > 0 else 0.0


def profit_factor(results: Sequence[Decimal]) -> float:
    """Give the sum of wins over the sum of losses."""
    won = sum((result for result in results if result > 0), start=ZERO)
    lost = -sum((result for result in results if result < 0), start=ZERO)
    if lost > 0:
        return float(won / lost)
    return math.inf if won > 0 else 0.0


def max_drawdown(equities: Sequence[Decimal]) -> float:
    """Give the deepest fall from an earlier peak as a fraction of that peak.

    >>> max_drawdown([Decimal(100), Decimal(80), Decimal(120), Decimal(90)])
    0.25
    """
    peak, deepest = ZERO, ZERO
    for equity in equities:
        peak = max(peak, equity)
        if peak > 0:
            deepest = max(deepest, 1 - equity / peak)
    return float(deepest)


def daily_equity(curve: Sequence[EquityPoint]) -> tuple[Decimal, ...]:
    """Give the first equity, then the last of each UTC day; points in time order."""
    if not curve:
        return ()
    last = {point.at.strftime("%Y-%m-%d"): point.equity for point in curve}
    return (curve[0].equity, *last.values())


def returns(equities: Sequence[Decimal]) -> tuple[float, ...]:
    """Give the relative change from each equity to the next; a step from nothing is 0."""
    return tuple(float(after / before - 1) if before > 0 else 0.0 for before, after in itertools.pairwise(equities))


def sharpe(daily_returns: Sequence[float]) -> float:
    """Give the yearly Sharpe ratio, `mean / deviation * sqrt(365)`, of daily returns; 0 with fewer than two."""
    if len(daily_returns) < 2:
        return 0.0
    mean = _mean(daily_returns)
    variance = sum((value - mean) ** 2 for value in daily_returns) / (len(daily_returns) - 1)
    return mean / math.sqrt(variance) * math.sqrt(DAYS_PER_YEAR) if variance > 0 else 0.0


def sortino(daily_returns: Sequence[float]) -> float:
    """Give the yearly Sortino ratio: as Sharpe, over the root mean square of the losing days."""
    if len(daily_returns) < 2:
        return 0.0
    downside = sum(min(value, 0.0) ** 2 for value in daily_returns) / len(daily_returns)
    return _mean(daily_returns) / math.sqrt(downside) * math.sqrt(DAYS_PER_YEAR) if downside > 0 else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0

"""The figures a run is first judged by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from bn_ml.domain.market import ZERO
from evidence.book import Book
from evidence.costs import fees_paid
from evidence.plain_figures import plain_fields
from trader.performance import (
    DAYS_PER_YEAR,
    EquityPoint,
    daily_equity,
    performance,
    returns,
    trade_return,
)


@dataclass(frozen=True, slots=True)
class Headline:
    """A run in one table. Trades are closed positions, net of fees; a day is a UTC day of the equity curve.

    - `total_return`: last equity over capital, less 1
    - `max_drawdown`: deepest fall of equity from an earlier peak, as a fraction of that peak, over all cycles
    - `win_rate`: share of trades with a result above 0
    - `sharpe_ratio`, `sortino_ratio`: per year (365 days) from daily returns, 0 where they cannot be computed
    - `calmar_ratio`: yearly return over `max_drawdown`; the yearly return is `(1 + total_return) ** (365 / days) - 1`.
      Infinite with a gain and no drawdown, 0 without either
    - `profit_factor`: sum of wins over sum of losses; infinite without a loss, 0 without trades
    - `expectancy`: mean result of a trade, in the quote asset
    - `exposure`: mean over cycles of what is held over equity
    - `fees`: all fees of all fills, in the quote asset at the price of each fill
    - `turnover`: quote amount of all fills over mean equity
    - `best_trade`, `worst_trade`: result over what the trade had cost
    - `longest_drawdown_days`: longest time below an earlier peak, whether or not it ended
    - `positive_day_share`: share of daily returns above 0
    """

    total_return: float
    max_drawdown: float
    win_rate: float
    sharpe_ratio: float
    sortino_ratio: float
    calmar_ratio: float
    profit_factor: float
    expectancy: Decimal
    trade_count: int
    exposure: float
    fees: Decimal
    turnover: float
    best_trade: float
    worst_trade: float
    longest_drawdown_days: float
    positive_day_share: float
    days: int

    def as_dict(self) -> dict[str, object]:
        """Give the figures as JSON types. What is infinite is null, and `notes` says why under the same name."""
        notes = {name: why for name, why in _WHY_INFINITE.items() if math.isinf(getattr(self, name))}
        return {**plain_fields(self), "notes": notes}


_WHY_INFINITE = {
    "profit_factor": "infinite: no trade lost anything",
    "calmar_ratio": "infinite: equity never fell below an earlier peak, or a year of this exceeds every number",
}


def headline(book: Book) -> Headline:
    """Sum up a book."""
    found = performance(book.closed, book.curve)
    daily = daily_returns(book)
    total = total_return(book)
    per_trade = [trade_return(position) for position in book.closed]
    return Headline(
        total_return=total,
        max_drawdown=found.max_drawdown_frac,
        win_rate=found.win_rate,
        sharpe_ratio=found.sharpe,
        sortino_ratio=found.sortino,
        calmar_ratio=calmar(total, len(daily), found.max_drawdown_frac),
        profit_factor=found.profit_factor,
        expectancy=found.expectancy_quote,
        trade_count=found.trades,
        exposure=_mean(book.exposure_frac),
        fees=fees_paid(book.fills),
        turnover=_turnover(book),
        best_trade=max(per_trade, default=0.0),
        worst_trade=min(per_trade, default=0.0),
        longest_drawdown_days=longest_drawdown(book.curve) / timedelta(days=1),
        positive_day_share=_mean([float(value > 0) for value in daily]),
        days=len(daily),
    )


def total_return(book: Book) -> float:
    """Give last equity over capital, less 1."""
    return float(book.curve[-1].equity / book.capital - 1)


def daily_returns(book: Book) -> tuple[float, ...]:
    """Give the return of each UTC day of the equity curve, the first against the capital."""
    return returns(daily_equity(book.curve))


def yearly_return(total: float, days: int) -> float:
    """Give the return of a year that went on like `days` days: `(1 + total) ** (365 / days) - 1`.

    -1 once everything is lost, infinite beyond every number, 0 for no days.
    """
    if days < 1:
        return 0.0
    if total <= -1.0:
        return -1.0
    try:
        return math.expm1(math.log1p(total) * DAYS_PER_YEAR / days)
    except OverflowError:
        return math.inf


def calmar(total: float, days: int, max_drawdown_frac: float) -> float:
    """Give the yearly return over the deepest drawdown; without a drawdown infinite for a gain, else 0."""
    yearly = yearly_return(total, days)
    if max_drawdown_frac > 0:
        return yearly / max_drawdown_frac
    return math.inf if yearly > 0 else 0.0


def longest_drawdown(curve: Sequence[EquityPoint]) -> timedelta:
    """Give the longest time from a peak to the next point at or above it, or to the last point below it."""
    longest = timedelta(0)
    peak, fallen = curve[0], False
    for point in curve:
        fallen = fallen or point.equity < peak.equity
        longest = max(longest, point.at - peak.at) if fallen else longest
        if point.equity >= peak.equity:
            peak, fallen = point, False
    return longest


def _turnover(book: Book) -> float:
    points = book.curve[1:] or book.curve
    mean = sum((point.equity for point in points), start=ZERO) / len(points)
    traded = sum((fill.quote_quantity for fill in book.fills), start=ZERO)
    return float(traded / mean) if mean > 0 else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0

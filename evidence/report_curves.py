"""Equity over time as a report shows it: curve, drawdown, months and rolling figures. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.domain.market import iso
from bn_ml.domain.positions import Position
from evidence.headline import longest_drawdown
from trader.performance import EquityPoint, sharpe

Row = dict[str, object]
MOST_POINTS = 1000
ROLLING_DAYS = 30
ROLLING_TRADES = 50


def equity_part(curve: Sequence[EquityPoint]) -> Row:
    """Give the curve with its drawdown, at most 1,000 points: lowest and highest of each stretch are kept.

    `drawdown` in `points` is a fraction of the highest equity before it, <= 0; `deepest` is the largest fall, >= 0.
    `longest_days` is the longest time from a peak to the next
    point at or above it.
    """
    peak, drawdowns = 0.0, []
    for point in curve:
        peak = max(peak, float(point.equity))
        drawdowns.append(float(point.equity) / peak - 1 if peak > 0 else 0.0)
    kept = _kept([float(point.equity) for point in curve], drawdowns)
    return {
        "points": [[iso(curve[place].at), float(curve[place].equity), drawdowns[place]] for place in kept],
        "of": len(curve),
        "deepest": -min(drawdowns, default=0.0),
        "longest_days": longest_drawdown(curve) / timedelta(days=1),
    }


def months_part(curve: Sequence[EquityPoint], closed: Sequence[Position]) -> list[Row]:
    """Give a row per calendar month (UTC): return of equity, its drawdown inside the month, trades and their net."""
    rows = []
    before = float(curve[0].equity) if curve else 0.0
    for month, group in itertools.groupby(curve, key=lambda point: _month(point.at)):
        equities = [float(point.equity) for point in group]
        own = [position for position in closed if position.closed_at and _month(position.closed_at) == month]
        rows.append(
            {
                "month": month,
                "return": equities[-1] / before - 1 if before > 0 else 0.0,
                "drawdown": -_fall([before, *equities]),
                "trades": len(own),
                "win_rate": sum(position.realized_quote > 0 for position in own) / len(own) if own else None,
                "net_quote": float(sum(position.realized_quote for position in own)),
                "fees_quote": float(sum(position.fees_quote for position in own)),
            }
        )
        before = equities[-1]
    return rows


def rolling_part(curve: Sequence[EquityPoint], closed: Sequence[Position]) -> Row:
    """Give 30-day return and Sharpe ratio day by day, and win rate and mean result over each 50 trades."""
    days = [(day, float(equity)) for day, equity in _days(curve)]
    steps = [after / before - 1 if before > 0 else 0.0 for (_, before), (_, after) in itertools.pairwise(days)]
    by_days = [
        [
            days[place][0],
            days[place][1] / days[place - ROLLING_DAYS][1] - 1,
            sharpe(steps[place - ROLLING_DAYS : place]),
        ]
        for place in range(ROLLING_DAYS, len(days))
        if days[place - ROLLING_DAYS][1] > 0
    ]
    return {
        "days": ROLLING_DAYS,
        "by_days": _thinned(by_days),
        "trades": ROLLING_TRADES,
        "by_trades": _thinned(_by_trades(closed)),
    }


def _by_trades(closed: Sequence[Position]) -> list[list[object]]:
    results = [float(position.realized_quote) for position in closed]
    rows: list[list[object]] = []
    for end in range(ROLLING_TRADES, len(results) + 1):
        part, closed_at = results[end - ROLLING_TRADES : end], closed[end - 1].closed_at
        if closed_at is not None:
            won = sum(result > 0 for result in part) / ROLLING_TRADES
            rows.append([iso(closed_at), won, statistics.fmean(part)])
    return rows


def _kept(equities: Sequence[float], drawdowns: Sequence[float]) -> list[int]:
    """Give the places to draw: first, last, and of each stretch the highest, the lowest and the deepest."""
    if len(equities) <= MOST_POINTS:
        return list(range(len(equities)))
    stretches = (MOST_POINTS - 2) // 3
    places = {0, len(equities) - 1}
    for stretch in range(stretches):
        span = range(stretch * len(equities) // stretches, (stretch + 1) * len(equities) // stretches)
        places |= {
            max(span, key=lambda place: equities[place]),
            min(span, key=lambda place: equities[place]),
            min(span, key=lambda place: drawdowns[place]),
        }
    return sorted(places)


def _thinned(rows: Sequence[list[object]], most: int = 500) -> list[list[object]]:
    step = max(1, -(-len(rows) // most))
    return [row for place, row in enumerate(rows) if place % step == 0 or place == len(rows) - 1]


def _fall(equities: Sequence[float]) -> float:
    peak, deepest = 0.0, 0.0
    for equity in equities:
        peak = max(peak, equity)
        deepest = min(deepest, equity / peak - 1 if peak > 0 else 0.0)
    return deepest


def _days(curve: Sequence[EquityPoint]) -> list[tuple[str, Decimal]]:
    return list({point.at.strftime("%Y-%m-%d"): point.equity for point in curve}.items())


def _month(at: datetime) -> str:
    return at.strftime("%Y-%m")

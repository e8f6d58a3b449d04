"""Closed trades as a report shows them: one row each, and sums by symbol, hour, reason and confidence. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bn_ml.domain.market import iso
from bn_ml.domain.positions import Position
from trader.performance import trade_return

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Excursion:
    """How far the price went against and for a position while it was held, fractions of the entry price (>= 0)."""

    adverse_frac: float
    favourable_frac: float


@dataclass(frozen=True, slots=True)
class _Group:
    """What closed trades of one kind brought."""

    trades: int
    winners: int
    net_quote: float
    mean_return: float

    def as_row(self, name: str, value: object) -> Row:
        return {
            name: value,
            "trades": self.trades,
            "win_rate": self.winners / self.trades,
            "mean_return": self.mean_return,
            "net_quote": self.net_quote,
        }


def trades_part(closed: Sequence[Position], excursions: Mapping[str, Excursion]) -> Row:
    """Give everything about closed trades; `excursions` by position id, empty where bars were not at hand."""
    known = [excursions[position.position_id] for position in closed if position.position_id in excursions]
    return {
        "rows": [_row(position, excursions.get(position.position_id)) for position in closed],
        "duration": _durations(closed),
        "excursions": _excursions(known, len(closed)),
        "by_symbol": _grouped(closed, "symbol", lambda position: str(position.symbol)),
        "by_hour": _grouped(closed, "hour", lambda position: position.opened_at.hour),
        "by_weekday": _grouped(closed, "weekday", lambda position: position.opened_at.isoweekday()),
        "by_reason": _grouped(closed, "reason", _reason),
    }


def calibration_part(closed: Sequence[Position]) -> list[Row]:
    """Give, for each tenth of confidence in use, how many trades it had and how many of them won."""
    tenths: dict[int, list[Position]] = defaultdict(list)
    for position in closed:
        tenths[min(max(int(position.confidence * 10), 0), 9)].append(position)
    return [
        {
            "from": tenth / 10,
            "to": (tenth + 1) / 10,
            "trades": len(group),
            "mean_confidence": statistics.fmean(position.confidence for position in group),
            "won": sum(position.realized_quote > 0 for position in group) / len(group),
            "mean_return": statistics.fmean(map(trade_return, group)),
        }
        for tenth, group in sorted(tenths.items())
    ]


def distribution_part(closed: Sequence[Position]) -> Row:
    """Give the returns of trades: quantiles and a histogram whose outer bins hold everything beyond them."""
    returns = sorted(map(trade_return, closed))
    if not returns:
        return {"bins": []}
    return {
        "mean": statistics.fmean(returns),
        "deviation": statistics.stdev(returns) if len(returns) > 1 else None,
        "worst": returns[0],
        "p05": _quantile(returns, 0.05),
        "median": statistics.median(returns),
        "p95": _quantile(returns, 0.95),
        "best": returns[-1],
        "bins": _bins(returns),
    }


def held_hours(position: Position) -> float:
    """Give how long a position was held, in hours; 0 while it is open."""
    if position.closed_at is None:
        return 0.0
    return (position.closed_at - position.opened_at).total_seconds() / 3600


def exit_price(position: Position) -> float | None:
    """Give the mean price of all exits, weighted by quantity; None before the first."""
    quantity = float(sum(leg.quantity for leg in position.legs))
    return sum(float(leg.quantity * leg.price) for leg in position.legs) / quantity if quantity > 0 else None


def _row(position: Position, excursion: Excursion | None) -> Row:
    return {
        "symbol": str(position.symbol),
        "opened_at": iso(position.opened_at),
        "closed_at": iso(position.closed_at) if position.closed_at else None,
        "hours": held_hours(position),
        "entry_price": float(position.entry_price),
        "exit_price": exit_price(position),
        "cost_quote": float(position.cost_quote),
        "fees_quote": float(position.fees_quote),
        "net_quote": float(position.realized_quote),
        "return": trade_return(position),
        "confidence": position.confidence,
        "reason": _reason(position),
        "bundle_version": position.bundle_version,
        "adverse": excursion.adverse_frac if excursion else None,
        "favourable": excursion.favourable_frac if excursion else None,
    }


def _reason(position: Position) -> str:
    return position.close_reason.value if position.close_reason else "unknown"


def _grouped(closed: Iterable[Position], name: str, key: Callable[[Position], str | int]) -> list[Row]:
    groups: dict[str | int, list[Position]] = defaultdict(list)
    for position in closed:
        groups[key(position)].append(position)
    order = sorted(groups, key=lambda value: (isinstance(value, str), value))
    return [_summed(groups[value]).as_row(name, value) for value in order]


def _summed(group: Sequence[Position]) -> _Group:
    return _Group(
        trades=len(group),
        winners=sum(position.realized_quote > 0 for position in group),
        net_quote=float(sum(position.realized_quote for position in group)),
        mean_return=statistics.fmean(map(trade_return, group)),
    )


def _durations(closed: Sequence[Position]) -> Row:
    hours = sorted(map(held_hours, closed))
    won = [held_hours(position) for position in closed if position.realized_quote > 0]
    lost = [held_hours(position) for position in closed if position.realized_quote <= 0]
    if not hours:
        return {}
    return {
        "median_hours": statistics.median(hours),
        "mean_hours": statistics.fmean(hours),
        "longest_hours": hours[-1],
        "winners_mean_hours": statistics.fmean(won) if won else None,
        "losers_mean_hours": statistics.fmean(lost) if lost else None,
    }


def _excursions(known: Sequence[Excursion], trades: int) -> Row:
    if not known:
        return {"trades": 0, "of": trades}
    adverse = sorted(excursion.adverse_frac for excursion in known)
    favourable = sorted(excursion.favourable_frac for excursion in known)
    return {
        "trades": len(known),
        "of": trades,
        "adverse_median": statistics.median(adverse),
        "adverse_p95": _quantile(adverse, 0.95),
        "favourable_median": statistics.median(favourable),
        "favourable_p95": _quantile(favourable, 0.95),
    }


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _bins(ordered: Sequence[float], count: int = 24) -> list[Row]:
    low, high = _quantile(ordered, 0.01), _quantile(ordered, 0.99)
    if high <= low:
        return [{"from": low, "to": high, "trades": len(ordered)}]
    width = (high - low) / count
    counts = [0] * count
    for value in ordered:
        counts[min(max(int((value - low) / width), 0), count - 1)] += 1
    return [
        {"from": low + place * width, "to": low + (place + 1) * width, "trades": number}
        for place, number in enumerate(counts)
    ]

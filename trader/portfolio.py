"""What positions mean together: correlation, clusters, value at risk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from statistics import NormalDist

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.positions import Position
from bn_ml.domain.signals import Opportunity, ScanReport

BARS_PER_DAY = 96
MIN_RETURNS = 10
"""Fewer daily returns than this say nothing about a tail."""


def correlation(scan: ScanReport, left: Symbol, right: Symbol) -> float:
    """Give the correlation of two symbols; what could not be measured counts as 1."""
    measured = scan.correlation(left, right)
    return 1.0 if measured is None or not math.isfinite(measured) else measured


def highest_correlation(scan: ScanReport, symbol: Symbol, held: Sequence[Symbol]) -> float:
    """Give the highest correlation with any other held symbol, 0 when nothing else is held."""
    return max((correlation(scan, symbol, other) for other in held if other != symbol), default=0.0)


def average_correlation(scan: ScanReport, symbol: Symbol, held: Sequence[Symbol]) -> float:
    """Give the mean correlation with the other held symbols, 0 when nothing else is held."""
    others = [correlation(scan, symbol, other) for other in held if other != symbol]
    return sum(others) / len(others) if others else 0.0


def cluster_exposure(scan: ScanReport, symbol: Symbol, exposure: Mapping[Symbol, Decimal], threshold: float) -> Decimal:
    """Give the exposure of all symbols whose correlation with `symbol` reaches the threshold, itself included."""
    return sum(
        (amount for other, amount in exposure.items() if correlation(scan, symbol, other) >= threshold), start=ZERO
    )


def historical_var(returns: Sequence[float], confidence: float) -> float:
    """Give the loss that a share `1 - confidence` of the returns exceeded, as a positive fraction.

    Linear interpolation between order statistics; 0 when there are fewer than 10 returns or no loss in the tail.
    """
    if len(returns) < MIN_RETURNS:
        return 0.0
    ordered = sorted(returns)
    place = (1.0 - confidence) * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    quantile = ordered[below] + (place - below) * (ordered[above] - ordered[below])
    return max(-quantile, 0.0)


def daily_volatility(opportunity: Opportunity) -> float:
    """Give the deviation of a symbol's daily return from that of its bars, from its ATR where that is unknown."""
    per_bar = opportunity.volatility_frac if opportunity.volatility_frac > 0 else opportunity.atr_frac
    return per_bar * math.sqrt(BARS_PER_DAY)


def volatilities(scan: ScanReport, positions: Sequence[Position]) -> dict[Symbol, float]:
    """Give the daily volatility of each scanned or held symbol that has one; held ones fall back on their entry ATR."""
    known = {position.symbol: position.atr_frac * math.sqrt(BARS_PER_DAY) for position in positions}
    for item in (*scan.refused, *scan.opportunities):
        if daily_volatility(item) > 0:
            known[item.symbol] = daily_volatility(item)
    return {symbol: volatility for symbol, volatility in known.items() if volatility > 0}


def normal_var(
    weights: Mapping[Symbol, float], volatility: Mapping[Symbol, float], scan: ScanReport, confidence: float
) -> float:
    """Give the one-day value at risk of holdings, normal returns assumed, as a fraction of equity.

    `z sqrt(sum_ij w_i s_i w_j s_j r_ij)`. `weights` are notionals over equity. A symbol without volatility counts with
    the highest one known.
    """
    fallback = max(volatility.values(), default=0.0)
    swings = {symbol: weight * volatility.get(symbol, fallback) for symbol, weight in weights.items()}
    variance = sum(
        swing * other_swing * correlation(scan, symbol, other)
        for symbol, swing in swings.items()
        for other, other_swing in swings.items()
    )
    return NormalDist().inv_cdf(confidence) * math.sqrt(max(variance, 0.0))


def normal_var_room(
    symbol: Symbol,
    weights: Mapping[Symbol, float],
    volatility: Mapping[Symbol, float],
    scan: ScanReport,
    *,
    confidence: float,
    limit: float,
) -> float:
    """Give the largest weight that may be added in `symbol` until `normal_var` reaches `limit`; 0 when it is beyond."""
    z = NormalDist().inv_cdf(confidence)
    fallback = max(volatility.values(), default=0.0)
    own = volatility.get(symbol, fallback)
    if z <= 0 or own <= 0:
        return math.inf
    present = (normal_var(weights, volatility, scan, confidence) / z) ** 2
    cross = own * sum(
        weight * volatility.get(other, fallback) * correlation(scan, symbol, other) for other, weight in weights.items()
    )
    inside = cross * cross - own * own * (present - (limit / z) ** 2)
    if present > (limit / z) ** 2 or inside < 0:
        return 0.0
    return max((math.sqrt(inside) - cross) / (own * own), 0.0)

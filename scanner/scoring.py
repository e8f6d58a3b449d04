"""Scores from 0 to 10: what the models say, what trend and volatility look like, how price moved. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bn_ml.settings import ScoreWeights

HIGHEST = 10.0
AT_THRESHOLD = 6.0
NEUTRAL = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """How one feature column speaks: -1 at `centre - reach`, 0 at `centre`, +1 at `centre + reach`, clipped.

    A negative reach turns the column round. `weight` is its share among the columns that have a value.
    """

    column: str
    centre: float
    reach: float
    weight: float = 1.0


TECHNICAL = (
    Reading("ema_21", 0.0, 3.0, 1.5),
    Reading("ema_spread_21_50", 0.0, 2.0, 1.5),
    Reading("ema_spread_50_200", 0.0, 4.0),
    Reading("supertrend_direction", 0.0, 1.0),
    Reading("macd_hist", 0.0, 0.5),
    Reading("plus_di_14", 20.0, 20.0, 0.5),
    Reading("minus_di_14", 20.0, -20.0, 0.5),
    Reading("mtf_1h_ema_21", 0.0, 3.0),
    Reading("mtf_4h_ema_21", 0.0, 3.0),
    Reading("mtf_confluence_score", 0.0, 1.0, 1.5),
    Reading("vol_regime_ratio", 1.0, -1.0, 0.5),
)
MOMENTUM = (
    Reading("roc_1h", 0.0, 2.0, 1.5),
    Reading("roc_4h", 0.0, 2.0, 1.5),
    Reading("roc_1d", 0.0, 2.0),
    Reading("rsi_14", 50.0, 25.0, 1.5),
    Reading("stoch_k", 50.0, 50.0, 0.5),
    Reading("cci_20", 0.0, 150.0, 0.5),
    Reading("cmf_20", 0.0, 0.3, 0.5),
    Reading("obv_share_20", 0.0, 0.4, 0.5),
)


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Readings bound to the places of their columns in a feature row; absent columns are left out."""

    entries: tuple[tuple[int, float, float, float], ...]

    @classmethod
    def of(cls, readings: Sequence[Reading], columns: Sequence[str]) -> Scorecard:
        """Bind readings to the columns of a row."""
        places = {name: place for place, name in enumerate(columns)}
        return cls(
            tuple(
                (places[item.column], item.centre, item.reach, item.weight)
                for item in readings
                if item.column in places
            )
        )

    def score(self, values: Sequence[float]) -> float:
        """Give 0 to 10; 5 is neutral, also when no column has a value."""
        total, weights = 0.0, 0.0
        for place, centre, reach, weight in self.entries:
            value = values[place]
            if math.isfinite(value):
                total += weight * min(1.0, max(-1.0, (value - centre) / reach))
                weights += weight
        return NEUTRAL * (1.0 + total / weights) if weights else NEUTRAL


def ml_score(p_buy: float, *, base_rate: float, threshold: float) -> float:
    """Give 0 at or below the base rate, 6 at the threshold, 10 at certainty, straight in between.

    A base rate at or above the threshold leaves only the upper part, which then starts above the base rate.

    >>> ml_score(0.42, base_rate=0.22, threshold=0.42), ml_score(1.0, base_rate=0.22, threshold=0.42)
    (6.0, 10.0)
    """
    if p_buy <= base_rate:
        return 0.0
    start = max(base_rate, threshold)
    if p_buy < start:
        return AT_THRESHOLD * (p_buy - base_rate) / (start - base_rate)
    if start >= 1.0:
        return HIGHEST
    return min(HIGHEST, AT_THRESHOLD + (HIGHEST - AT_THRESHOLD) * (p_buy - start) / (1.0 - start))


def composite(*, ml: float, technical: float, momentum: float, weights: ScoreWeights) -> float:
    """Give the weighted score of the three parts, 0 to 10."""
    return min(HIGHEST, weights.ml * ml + weights.technical * technical + weights.momentum * momentum)

"""Twelve of TA-Lib's candlestick patterns, summed up in three numbers per bar."""

from __future__ import annotations

import numpy as np

from data_manager.bar_view import BarView
from data_manager.bars import FloatArray

DIRECTIONAL_PATTERNS = (
    "CDL3BLACKCROWS",
    "CDL3WHITESOLDIERS",
    "CDLDARKCLOUDCOVER",
    "CDLENGULFING",
    "CDLEVENINGSTAR",
    "CDLHAMMER",
    "CDLHANGINGMAN",
    "CDLHARAMI",
    "CDLMORNINGSTAR",
    "CDLPIERCING",
    "CDLSHOOTINGSTAR",
)
_OHLC = ("open", "high", "low", "close")


def pattern_net(view: BarView) -> FloatArray:
    """Bullish less bearish patterns that end at each bar, shape (n_bars,)."""
    return view.once(("pattern_net",), lambda: _net(view))


def pattern_net_decayed(view: BarView, bars: int, decay: float) -> FloatArray:
    """Net patterns of the last `bars` bars, each bar back counting `decay` times as much."""
    return _decayed(pattern_net(view), bars, decay)


def doji_decayed(view: BarView, bars: int, decay: float) -> FloatArray:
    """Dojis (open and close nearly equal, no direction) of the last `bars` bars, weighted in the same way."""
    return _decayed(view.ta("CDLDOJI", _OHLC) / 100.0, bars, decay)


def _net(view: BarView) -> FloatArray:
    total = np.zeros(len(view))
    for name in DIRECTIONAL_PATTERNS:
        total += view.ta(name, _OHLC)
    return total / 100.0


def _decayed(values: FloatArray, bars: int, decay: float) -> FloatArray:
    total, weight = values.copy(), 1.0
    for back in range(1, bars):
        weight *= decay
        total[back:] += weight * values[:-back]
    total[: bars - 1] = np.nan
    return total

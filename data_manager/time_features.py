"""Where a bar's close stands in the day and in the week, as points on a circle; UTC."""

from __future__ import annotations

import numpy as np

from data_manager.bars import FloatArray, IntArray

_MINUTE_MS = 60_000
_DAY_MINUTES = 1440
_WEEKDAY_OF_EPOCH = 3
_MINUTE_ANGLE = 2.0 * np.pi * np.arange(_DAY_MINUTES) / _DAY_MINUTES
_DAY_ANGLE = 2.0 * np.pi * np.arange(7) / 7
_MINUTE_TABLE = {"sin": np.sin(_MINUTE_ANGLE), "cos": np.cos(_MINUTE_ANGLE)}
_DAY_TABLE = {"sin": np.sin(_DAY_ANGLE), "cos": np.cos(_DAY_ANGLE)}


def time_of_day(close_time: IntArray, side: str) -> FloatArray:
    """Sine or cosine (`side`) of the time of day of each close time (ms), shape (n,)."""
    return _MINUTE_TABLE[side][close_time // _MINUTE_MS % _DAY_MINUTES]


def day_of_week(close_time: IntArray, side: str) -> FloatArray:
    """Sine or cosine (`side`) of the day of the week of each close time (ms), Monday first, shape (n,)."""
    return _DAY_TABLE[side][(close_time // (_MINUTE_MS * _DAY_MINUTES) + _WEEKDAY_OF_EPOCH) % 7]

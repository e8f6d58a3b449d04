"""Reading plain JSON values that another process, perhaps of another version, has written: what is odd is unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from bn_ml.domain.market import from_iso


def mapping(value: object) -> Mapping[str, object]:
    """Give a JSON object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> Sequence[object]:
    """Give a JSON list, an empty one for anything else."""
    return value if isinstance(value, list) else ()


def number(value: object) -> float:
    """Give a number (true is 1), NaN for anything else.

    >>> number(True), number(3), number("3")
    (1.0, 3.0, nan)
    """
    return float(value) if isinstance(value, int | float) else math.nan


def instant(value: object) -> datetime | None:
    """Give an ISO instant, None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        return from_iso(value)
    except ValueError:
        return None


def age_s(value: object, now: datetime) -> float:
    """Give how many seconds ago an ISO instant was, at least 0, NaN for anything else."""
    at = value if isinstance(value, datetime) else instant(value)
    return math.nan if at is None else max((now - at).total_seconds(), 0.0)

"""Figures as JSON can hold them: amounts as numbers, instants as text, what is infinite or unknown as null."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import iso


def plain(value: object) -> object:
    """Give a value, dataclasses and collections in it included, as JSON types; NaN and infinity become null.

    >>> plain({"fees": Decimal("0.5"), "factor": math.inf, "symbols": ("A", "B")})
    {'fees': 0.5, 'factor': None, 'symbols': ['A', 'B']}
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return iso(value)
    return _plain_collection(value)


def plain_fields(value: object) -> dict[str, object]:
    """Give the fields of a dataclass value as JSON types; raises `TypeError` on anything else."""
    if not dataclasses.is_dataclass(value):
        raise TypeError(f"fields of a dataclass are wanted, got {type(value).__name__}")
    return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}


def _plain_collection(value: object) -> object:
    if dataclasses.is_dataclass(value):
        return plain_fields(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f"no figure: {type(value).__name__}")

"""Times in microseconds for clients that ask for them by header."""

from __future__ import annotations

from collections.abc import Mapping

from bn_ml.venue.errors import VenueError
from public_api.sandbox.answers import Json
from public_api.sandbox.requests import Request

HEADER = "X-MBX-TIME-UNIT"
_TIMES = frozenset(
    {
        "T",
        "closeTime",
        "openTime",
        "serverTime",
        "time",
        "timestamp",
        "trailingTime",
        "transactTime",
        "transactionTime",
        "updateTime",
        "workingTime",
    }
)
_KLINE_TIMES = (0, 6)
_KLINE_FIELDS = 12


def wants_microseconds(request: Request) -> bool:
    """Whether a client asked for microseconds; raises `VenueError` -1194 on a unit that is none."""
    unit = (request.header(HEADER) or "MILLISECOND").upper()
    if unit not in ("MILLISECOND", "MICROSECOND"):
        raise VenueError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return unit == "MICROSECOND"


def in_microseconds(payload: Json) -> Json:
    """Give an answer with its times a thousand times larger; a time that is not yet (-1) stays."""
    if isinstance(payload, Mapping):
        return {name: _scaled(value) if name in _TIMES else in_microseconds(value) for name, value in payload.items()}
    if not isinstance(payload, list):
        return payload
    if len(payload) == _KLINE_FIELDS and isinstance(payload[0], int):
        return [_scaled(item) if place in _KLINE_TIMES else item for place, item in enumerate(payload)]
    return [in_microseconds(item) for item in payload]


def _scaled(value: Json) -> Json:
    return value * 1000 if isinstance(value, int) and value > 0 else value

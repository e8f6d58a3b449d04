"""What people are told: one alert, its level, and the incident it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from bn_ml.domain.market import Symbol


class AlertLevel(IntEnum):
    """How urgent an alert is; the order is that of urgency."""

    INFO = 20
    WARNING = 30
    CRITICAL = 50


@dataclass(frozen=True, slots=True)
class Alert:
    """Something people should know.

    `key` names the incident: alerts of one key are merged while they repeat, and one with `ends` closes it. `title` is
    one line; `why` and `next_action` are a sentence each, empty where there is nothing to say. None of them holds a
    secret. `at` is aware UTC.
    """

    at: datetime
    level: AlertLevel
    key: str
    title: str
    why: str = ""
    next_action: str = ""
    symbol: Symbol | None = None
    ends: bool = False

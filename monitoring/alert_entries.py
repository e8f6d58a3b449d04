"""What of an incident is told in one message: that it began, happened again or ended."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import iso, to_ms


class Turn(Enum):
    """Where an incident stands when it is told."""

    BEGINS = "begins"
    AGAIN = "again"
    ENDS = "ends"


@dataclass(frozen=True, slots=True)
class Entry:
    """One incident as told once.

    `count` is how often it happened since it was last told, within `over_s` seconds; for an end `over_s` is how long
    it lasted. `kept` is how many of its occurrences are stored against a crash (0: none), all of which are told by
    this entry.
    """

    alert: Alert
    id: str
    turn: Turn = Turn.BEGINS
    count: int = 1
    over_s: float = 0.0
    kept: int = 0

    @property
    def is_critical(self) -> bool:
        """Whether it must never be dropped."""
        return self.turn is not Turn.ENDS and self.alert.level is AlertLevel.CRITICAL

    def plain(self) -> dict[str, object]:
        """Give the entry for programs: names, numbers and texts."""
        alert = self.alert
        return {
            "id": self.id,
            "at": iso(alert.at),
            "level": alert.level.name,
            "turn": self.turn.value,
            "key": alert.key,
            "title": alert.title,
            "why": alert.why,
            "next_action": alert.next_action,
            "symbol": None if alert.symbol is None else str(alert.symbol),
            "count": self.count,
            "over_s": round(self.over_s, 3),
        }


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes out together, in the order it happened, and how many alerts were left out before it."""

    entries: tuple[Entry, ...]
    suppressed: int = 0


def incident_id(alert: Alert) -> str:
    """Give the four letters that the messages, the log and the dashboard share for one incident."""
    return hashlib.sha256(f"{alert.key}|{to_ms(alert.at)}".encode("utf-8", "replace")).hexdigest()[:4]

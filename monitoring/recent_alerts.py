"""The newest alerts and what became of each on every channel, for the dashboard, the API and the metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from bn_ml.domain.alerts import Alert
from bn_ml.domain.market import iso
from monitoring.alert_entries import Entry

MOST_RECENT = 50
LOG = "log"

CountKey = tuple[str, str, str]
"""Level, channel, result (sent, failed, merged, suppressed)."""


class RecentAlerts:
    """Written by whoever offers and by the sending thread, read by any."""

    def __init__(self, channels: Iterable[str]) -> None:
        """Name the channels that will tell."""
        self._channels = tuple(channels)
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, object]] = {}
        self._states: dict[str, dict[str, str]] = {}
        self._counts: Counter[CountKey] = Counter()
        self._is_changed = False

    def note(self, alert: Alert, incident: str, fate: str) -> None:
        """Take note of an alert of an incident and of what became of it."""
        with self._lock:
            self._is_changed = True
            row = self._rows.get(incident)
            if row is None:
                row = self._rows[incident] = {"id": incident, "at": iso(alert.at), "count": 0, "ended_at": None}
                self._states[incident] = dict.fromkeys(self._channels, "waiting")
            self._counts[alert.level.name, LOG, "sent"] += 1
            if alert.ends:
                row.update(ended_at=iso(alert.at), ended_by=alert.title)
            else:
                row.update(_fields(alert), count=_number(row["count"]) + 1, last_at=iso(alert.at))
            if fate in ("merged", "suppressed"):
                self.count_each(alert.level.name, fate)
            if fate in ("suppressed", "below_level"):
                self._states[incident] = dict.fromkeys(self._channels, fate)
            self._trim()

    def count_each(self, level: str, result: str) -> None:
        """Count one alert with the same result on every channel; the caller holds the lock."""
        for channel in self._channels:
            self._counts[level, channel, result] += 1

    def settle(self, channel: str, entries: Iterable[Entry], result: str) -> None:
        """Take note of what came of entries on one channel: sent or failed."""
        with self._lock:
            for entry in entries:
                self._is_changed = True
                self._counts[entry.alert.level.name, channel, result] += 1
                if entry.id in self._states:
                    self._states[entry.id][channel] = result

    def rows(self) -> list[dict[str, object]]:
        """Give the newest alerts as plain values, newest first."""
        with self._lock:
            self._is_changed = False
            newest_first = reversed(list(self._rows.items()))
            return [{**row, "channels": dict(self._states[incident])} for incident, row in newest_first]

    def changed_rows(self) -> list[dict[str, object]] | None:
        """Give the rows when they changed since they were last given, None otherwise."""
        return self.rows() if self._is_changed else None

    def counts(self) -> Mapping[CountKey, int]:
        """Give how many alerts came to which result since the start."""
        with self._lock:
            return dict(self._counts)

    def _trim(self) -> None:
        while len(self._rows) > MOST_RECENT:
            oldest = next(iter(self._rows))
            del self._rows[oldest], self._states[oldest]


def _fields(alert: Alert) -> dict[str, object]:
    return {
        "level": alert.level.name,
        "key": alert.key,
        "title": alert.title,
        "why": alert.why,
        "next_action": alert.next_action,
        "symbol": None if alert.symbol is None else str(alert.symbol),
    }


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0

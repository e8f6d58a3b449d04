"""Carries batches to every channel, notes what each has told, and takes up what an earlier life left untold."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import from_iso, iso
from bn_ml.ports import Clock
from monitoring.alert_book import Incident
from monitoring.alert_channels import Opened
from monitoring.alert_entries import Batch, Entry
from monitoring.alert_lanes import AlertLane, Health, Outcome
from monitoring.alert_outbox import AlertOutbox
from monitoring.alert_text import message_of
from monitoring.recent_alerts import RecentAlerts

log = logging.getLogger(__name__)

INCIDENTS = "incidents"
MOST_REMEMBERED = 200


class AlertSender:
    """Used by one thread at a time."""

    def __init__(self, opened: Opened, outbox: AlertOutbox, recent: RecentAlerts, clock: Clock, mode: str) -> None:
        """Make a lane for every channel."""
        self.lanes = tuple(AlertLane(channel) for channel in opened.channels)
        self._outbox = outbox
        self._recent = recent
        self._clock = clock
        self._mode = mode

    def resume(self) -> int:
        """Queue the critical alerts that an earlier life did not tell; gives how many."""
        kept = self._outbox.waiting() if self.lanes else ()
        for lane in self.lanes:
            left = [(item, item.count - item.told.get(lane.name, 0)) for item in kept]
            entries = tuple(Entry(item.alert, item.id, count=n, kept=item.count) for item, n in left if n > 0)
            lane.add(Batch(entries))
        for item in kept:
            self._recent.note(item.alert, item.id, "waits")
        return len(kept)

    def give(self, batch: Batch) -> None:
        """Queue a batch on every channel."""
        for lane in self.lanes:
            self._recent.settle(lane.name, lane.add(batch), "failed")

    def send(self, beat: Callable[[], None], *, until_s: float = float("inf")) -> list[Alert]:
        """Try every channel that is due, the healthy ones first; gives what there is to tell of the channels.

        `until_s` is the monotonic instant after which nothing more is begun.
        """
        news: list[Alert] = []
        for lane in sorted(self.lanes, key=lambda lane: lane.failures):
            ok = True
            while ok and lane.is_due(self._clock.monotonic()) and self._clock.monotonic() < until_s:
                beat()
                outcome = lane.send(message_of(lane.batch(), self._mode, self._clock.now()), self._clock.monotonic())
                self._settle(lane, outcome)
                ok = outcome.ok
                news.extend(self._news(lane, outcome.health))
        return news

    def remember(self, incidents: Sequence[tuple[str, Incident]]) -> None:
        """Store the open incidents, so that their ends are told after a restart too."""
        rows = [
            (key, item.id, int(item.level), iso(item.began), iso(item.told_at), item.tells, item.newest.title)
            for key, item in incidents[-MOST_REMEMBERED:]
        ]
        self._outbox.put_note(INCIDENTS, json.dumps(rows))

    def remembered(self) -> list[tuple[str, Incident]]:
        """Give the incidents that were open when the last life ended; unreadable ones are forgotten."""
        text = self._outbox.note(INCIDENTS) if self.lanes else ""
        try:
            return [_incident(*row) for row in json.loads(text or "[]")]
        except (ValueError, TypeError) as error:
            log.warning("open incidents of the last run are forgotten: %s", error)
            return []

    def _settle(self, lane: AlertLane, outcome: Outcome) -> None:
        self._recent.settle(lane.name, outcome.told, "sent")
        self._recent.settle(lane.name, outcome.dropped, "failed")
        counts: dict[str, int] = {}
        for entry in outcome.told:
            counts[entry.alert.key] = max(entry.kept, counts.get(entry.alert.key, 0))
        self._outbox.note_told(lane.name, counts)

    def _news(self, lane: AlertLane, health: Health) -> list[Alert]:
        now, key = self._clock.now(), f"channel:{lane.name}"
        if health is Health.DIED:
            fix = "bnml-doctor check sends a test; critical alerts are kept and told later"
            return [Alert(now, AlertLevel.WARNING, key, f"alerts over {lane.name} fail", lane.last_error, fix)]
        if health is Health.RECOVERED:
            return [Alert(now, AlertLevel.INFO, key, f"alerts over {lane.name} arrive again", ends=True)]
        return []


def _incident(key: str, incident: str, level: int, began: str, told_at: str, *rest: int | str) -> tuple[str, Incident]:
    tells, title = rest
    alert = Alert(from_iso(began), AlertLevel(level), str(key), str(title))
    since: datetime = from_iso(told_at)
    return str(key), Incident(str(incident), alert, alert.level, from_iso(began), since, tells=int(tells))

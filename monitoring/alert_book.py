"""Decides what of all alerts is told, when and together with what: merging, grouping, ends, the hourly limit.

No IO, no threads: whoever uses it brings the time and guards it. An incident is all alerts of one key until one ends
it. Nothing critical is ever left out: it is merged with its own repeats, gathered with others, and told later in a
storm, but told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from bn_ml.domain.alerts import Alert, AlertLevel
from monitoring.alert_entries import Batch, Entry, Turn, incident_id
from monitoring.alert_pacing import Pacing

MOST_INCIDENTS = 4000
GATHER_S = 1.0
QUIET_TELLS = 3
"""From so many tells of one incident on, the time between them doubles."""
LONGEST_QUIET_S = 3600.0
FORGOTTEN_AFTER = timedelta(days=7)
OVERFLOW = "more"


class Fate(Enum):
    """What became of an alert that was offered."""

    WAITS = "waits"
    MERGED = "merged"
    SUPPRESSED = "suppressed"
    BELOW_LEVEL = "below_level"
    NOTHING_TO_END = "nothing_to_end"


@dataclass(frozen=True, slots=True)
class Taken:
    """The incident an alert belongs to, by id and key, and what became of the alert."""

    id: str
    key: str
    fate: Fate


@dataclass(slots=True, eq=False)
class Incident:
    """Everything of one key since it began; `untold` counts what was not told yet, `kept` what is stored.

    `newest` is the newest of the most urgent alerts not told yet, `level` the highest level so far.
    """

    id: str
    newest: Alert
    level: AlertLevel
    began: datetime
    told_at: datetime
    untold: int = 0
    tells: int = 0
    kept: int = 0
    waits: bool = False


class AlertBook:
    """Takes alerts in the order they happen and gives them back in batches."""

    def __init__(self, *, dedupe_s: float, max_per_hour: int, min_level: int) -> None:
        """`min_level` is the least `AlertLevel` told, as a number."""
        self._dedupe_s = dedupe_s
        self._min_level = min_level
        self._pacing = Pacing(max_per_hour)
        self._incidents: dict[str, Incident] = {}
        self._held: dict[str, Incident] = {}
        self._queue: list[Incident | Entry] = []
        self._queued_at: datetime | None = None
        self._suppressed = 0
        self._pruned_at: datetime | None = None
        self.is_changed = False

    def take(self, alert: Alert, now: datetime) -> Taken:
        """Take one alert."""
        if alert.ends:
            return self._end(alert, now)
        incident = self._incidents.get(alert.key)
        if incident is None and alert.level < self._min_level:
            return Taken(incident_id(alert), alert.key, Fate.BELOW_LEVEL)
        key = alert.key
        if incident is None:
            incident = self._opened(alert, now)
            key = alert.key if alert.key in self._incidents else OVERFLOW
        rises = alert.level > incident.level
        if not incident.untold or alert.level >= incident.newest.level:
            incident.newest = alert
        incident.level = max(alert.level, incident.level)
        incident.untold += 1
        if incident.waits:
            return Taken(incident.id, key, Fate.MERGED)
        if incident.tells and not rises and self._is_quiet(incident, now):
            self._held[key] = incident
            return Taken(incident.id, key, Fate.MERGED)
        return Taken(incident.id, key, self._ask_to_tell(incident, now))

    def note_kept(self, key: str, count: int) -> None:
        """Say how many occurrences of an incident are stored by now."""
        if key in self._incidents:
            self._incidents[key].kept = count

    def due(self, now: datetime) -> Batch | None:
        """Give what is to be told at this instant, None when nothing is."""
        self._wake_held(now)
        self._prune(now)
        if not self._queue:
            return self._summary(now)
        critical = any(_is_critical(item) for item in self._queue)
        if critical:
            ready = self._pacing.may_send_critical(now)
        else:
            waited_s = (now - (self._queued_at or now)).total_seconds()
            ready = not 0 <= waited_s < GATHER_S and self._pacing.may_send_other(now)
        if not ready:
            return None
        batch = Batch(tuple(self._entry(item, now) for item in self._queue), self._suppressed)
        self._queue, self._queued_at, self._suppressed, self.is_changed = [], None, 0, True
        self._pacing.note(now, critical=critical)
        return batch

    def drain(self, now: datetime) -> Batch:
        """Give everything that waits, whatever the pace: for the end of the program."""
        self._queue.extend(self._held.values())
        self._held.clear()
        batch = Batch(tuple(self._entry(item, now) for item in self._queue), self._suppressed)
        self._queue, self._suppressed = [], 0
        return batch

    def open_incidents(self) -> Sequence[tuple[str, Incident]]:
        """Give the incidents worth remembering over a restart: told, at least a warning."""
        return [(k, i) for k, i in self._incidents.items() if i.tells and i.level >= AlertLevel.WARNING]

    def restore(self, incidents: Iterable[tuple[str, Incident]]) -> None:
        """Take up incidents of an earlier life, so that their ends are told under the same id."""
        self._incidents.update(incidents)

    def _opened(self, alert: Alert, now: datetime) -> Incident:
        key = alert.key
        if len(self._incidents) >= MOST_INCIDENTS and not self._evict():
            if OVERFLOW in self._incidents:
                return self._incidents[OVERFLOW]
            key = OVERFLOW
        self._incidents[key] = Incident(incident_id(alert), alert, alert.level, began=now, told_at=now)
        return self._incidents[key]

    def _evict(self) -> bool:
        """Forget the oldest incident of which everything was told."""
        for key, incident in self._incidents.items():
            if not incident.waits and key not in self._held:
                del self._incidents[key]
                return True
        return False

    def _is_quiet(self, incident: Incident, now: datetime) -> bool:
        return 0 <= (now - incident.told_at).total_seconds() < quiet_s(self._dedupe_s, incident.tells)

    def _ask_to_tell(self, incident: Incident, now: datetime) -> Fate:
        """Queue an incident, or count it as left out when the hour is used up."""
        if incident.level is not AlertLevel.CRITICAL and not self._pacing.has_room(now):
            self._suppressed += incident.untold
            incident.untold, incident.told_at = 0, now
            return Fate.SUPPRESSED
        incident.waits = True
        self._enqueue(incident, now)
        return Fate.WAITS

    def _enqueue(self, item: Incident | Entry, now: datetime) -> None:
        if len(self._queue) >= 2 * MOST_INCIDENTS and isinstance(item, Entry):
            self._fold(item)
            return
        self._queue.append(item)
        self._queued_at = self._queued_at or now

    def _fold(self, entry: Entry) -> None:
        """Count one incident too many with the last critical one that waits, or as left out."""
        places = [place for place, item in enumerate(self._queue) if isinstance(item, Entry) and item.is_critical]
        last = self._queue[places[-1]] if places and entry.is_critical else None
        if isinstance(last, Entry):
            self._queue[places[-1]] = replace(last, alert=entry.alert, count=last.count + entry.count)
        else:
            self._suppressed += 1

    def _end(self, alert: Alert, now: datetime) -> Taken:
        incident = self._incidents.pop(alert.key, None)
        self._held.pop(alert.key, None)
        if incident is None:
            return Taken(incident_id(alert), alert.key, Fate.NOTHING_TO_END)
        self.is_changed = True
        if incident.waits:
            place = self._queue.index(incident)
            self._queue[place] = self._entry(incident, now)
        elif incident.untold and incident.level is AlertLevel.CRITICAL:
            self._enqueue(self._entry(incident, now), now)
        elif not incident.tells:
            self._suppressed += 1
            return Taken(incident.id, alert.key, Fate.SUPPRESSED)
        lasted_s = max((now - incident.began).total_seconds(), 0.0)
        self._enqueue(Entry(alert, incident.id, Turn.ENDS, 1 + incident.untold, lasted_s), now)
        return Taken(incident.id, alert.key, Fate.WAITS)

    def _entry(self, item: Incident | Entry, now: datetime) -> Entry:
        """Give what is told of an incident, which counts as told from here on."""
        if isinstance(item, Entry):
            return item
        since = item.told_at if item.tells else item.began
        turn = Turn.AGAIN if item.tells else Turn.BEGINS
        over_s = max((now - since).total_seconds(), 0.0)
        entry = Entry(item.newest, item.id, turn, item.untold, over_s, item.kept)
        item.untold, item.tells, item.told_at, item.waits = 0, item.tells + 1, now, False
        return entry

    def _wake_held(self, now: datetime) -> None:
        """Queue the incidents that repeated while they were not to be told, once that time is over."""
        over = [key for key, incident in self._held.items() if not self._is_quiet(incident, now)]
        for key in over:
            self._ask_to_tell(self._held.pop(key), now)

    def _summary(self, now: datetime) -> Batch | None:
        """Tell how many were left out once the hour has room again."""
        if not self._suppressed or not self._pacing.may_send_other(now):
            return None
        batch, self._suppressed = Batch((), self._suppressed), 0
        self._pacing.note(now, critical=False)
        return batch

    def _prune(self, now: datetime) -> None:
        """Forget, once a minute, what needs no merging any more and cannot be ended by anything."""
        if self._pruned_at is not None and timedelta(0) <= now - self._pruned_at < timedelta(minutes=1):
            return
        self._pruned_at = now
        over = [
            key
            for key, incident in self._incidents.items()
            if not incident.waits
            and key not in self._held
            and not self._is_quiet(incident, now)
            and (incident.level is AlertLevel.INFO or now - incident.told_at > FORGOTTEN_AFTER)
        ]
        for key in over:
            del self._incidents[key]


def quiet_s(dedupe_s: float, tells: int) -> float:
    """Give how long repeats are only counted after an incident was told so many times.

    >>> [quiet_s(300, tells) for tells in (1, 3, 4, 5, 9)]
    [300, 300, 600.0, 1200.0, 3600.0]
    """
    if tells <= QUIET_TELLS or dedupe_s >= LONGEST_QUIET_S:
        return dedupe_s
    return min(dedupe_s * 2.0 ** min(tells - QUIET_TELLS, 20), LONGEST_QUIET_S)


def _is_critical(item: Incident | Entry) -> bool:
    return item.is_critical if isinstance(item, Entry) else item.level is AlertLevel.CRITICAL

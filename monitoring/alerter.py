"""Tells people what they should know: takes alerts and facts from anywhere, sends on a thread of its own.

`offer` and `emit` merge in memory, store what is critical (see `alert_outbox`), write a log record and return; no
name is resolved and no channel is touched on the caller's thread.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.events import ControlChanged, Event
from bn_ml.env import Secrets
from bn_ml.ports import Clock
from bn_ml.redaction import Redactor
from bn_ml.settings_ops import AlertingSettings
from bn_ml.state_reader import StateReader
from monitoring.alert_book import OVERFLOW, AlertBook, Fate, Taken
from monitoring.alert_channels import ChannelTest, Opened, open_channels, tried_out
from monitoring.alert_cleaning import cleaned
from monitoring.alert_outbox import AlertOutbox, outbox_beside
from monitoring.alert_rules import AlertRules
from monitoring.alert_sender import AlertSender
from monitoring.alert_text import Message
from monitoring.daily_digest import DailyDigest
from monitoring.digest_notes import DigestNotes
from monitoring.recent_alerts import CountKey, RecentAlerts
from monitoring.state_conditions import StateConditions

log = logging.getLogger(__name__)

TURN_S = 0.25
LOOK_EVERY_S = 3.0
SAVE_EVERY_S = 30.0
MOST_UNKEPT = 1000
DIGEST = "digest"
MIN_LEVELS = {"INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_UNHEARD = frozenset({Fate.NOTHING_TO_END, Fate.BELOW_LEVEL})


@dataclass(frozen=True, slots=True)
class AlertSource:
    """Whose alerts they are: the state database, the word before every message, and the asset amounts are told in.

    With `watches` the alert thread also reads the database for conditions that last, and tells the digest of each day;
    `clock` is the one the book is kept by, when that is not the alerter's own.
    """

    book: Path
    mode: str
    quote_asset: str
    watches: bool = True
    clock: Clock | None = None


class Alerter:
    """An `AlertSink`, an `EventSink` and a `Worker` in one.

    `digest_notes` gives what the daily digest says beside the counted facts; it is called on the alert thread.
    """

    name = "alerts"
    stale_after_s = 180.0

    def __init__(
        self,
        settings: AlertingSettings,
        secrets: Secrets,
        clock: Clock,
        source: AlertSource,
        *,
        opened: Opened | None = None,
    ) -> None:
        """Nothing is opened or sent before `start`; `opened` replaces the channels of the settings."""
        reader = StateReader(source.book)
        self.digest_notes: Callable[[], Sequence[str]] = DigestNotes(reader, source.clock or clock)
        self._clock = clock
        self._source = source
        self._redactor = Redactor(secrets.hidden())
        self._opened = open_channels(settings, secrets, clock) if opened is None else opened
        names = [channel.name for channel in self._opened.channels]
        self._book = AlertBook(
            dedupe_s=settings.dedupe_sec,
            max_per_hour=settings.max_per_hour,
            min_level=MIN_LEVELS[settings.min_level],
        )
        self._recent = RecentAlerts(names)
        self._outbox = AlertOutbox(outbox_beside(source.book), names)
        self._sender = AlertSender(self._opened, self._outbox, self._recent, clock, source.mode)
        self._rules = AlertRules(source.quote_asset)
        self._conditions = StateConditions(reader)
        self._digest = DailyDigest(settings.daily_digest, source.quote_asset, clock.now())
        self._unkept: deque[tuple[Alert, str]] = deque(maxlen=MOST_UNKEPT)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._stop_by_s = float("inf")
        self._thread: threading.Thread | None = None
        self._is_resumed = False
        self._beat_s = float("-inf")
        self._looked_s = self._saved_s = float("-inf")

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """The channels that are enabled and cannot be used, with the reason."""
        return self._opened.problems

    def emit(self, event: Event) -> None:
        """Tell of a fact what there is to tell; called after the fact is durable."""
        if isinstance(event, ControlChanged):
            self._conditions.note_control(event.epoch, event.state, event.at)
        with self._lock:
            self._digest.note(event)
        for alert in self._rules.alerts_of(event):
            self.offer(alert)

    def offer(self, alert: Alert) -> None:
        """Take an alert from any thread; a critical one is durable when this returns."""
        clean = cleaned(alert, self._redactor)
        with self._lock:
            taken = self._book.take(clean, self._clock.now())
            if clean.level is AlertLevel.CRITICAL and not clean.ends and self._sender.lanes:
                self._keep(clean, taken)
        if taken.fate is not Fate.NOTHING_TO_END:
            self._say(clean, taken)
            self._recent.note(clean, taken.id, taken.fate.value)
        if taken.fate not in _UNHEARD:
            self._wake.set()

    def start(self) -> None:
        """Begin to send, what an earlier life left untold first; harmless when it runs."""
        if self.is_alive() and not self._stop.is_set():
            return
        if not self._is_resumed:
            self._is_resumed = True
            self._resume()
        self._beat()
        self._stop, self._stop_by_s = threading.Event(), float("inf")
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End within about `timeout_s`, trying to send what waits; critical alerts that are left stay stored."""
        self._stop_by_s = self._clock.monotonic() + timeout_s
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def is_alive(self) -> bool:
        """Tell whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def beat_age_s(self) -> float:
        """Give the seconds since its thread last turned."""
        return self._clock.monotonic() - self._beat_s

    def recent(self) -> list[dict[str, object]]:
        """Give the newest 50 incidents and what became of them on each channel, newest first."""
        return self._recent.rows()

    def take_recent(self) -> list[dict[str, object]] | None:
        """Give `recent` when it changed since it was last taken, None otherwise."""
        return self._recent.changed_rows()

    def counts(self) -> Mapping[CountKey, int]:
        """Give how many alerts came to which result, by level, channel and result."""
        return self._recent.counts()

    def test(self) -> tuple[ChannelTest, ...]:
        """Send a test through every enabled channel from the caller's thread; empty when none is enabled."""
        text = f"[{self._source.mode}] BN-ML test message: alerts arrive here"
        with self._sending:
            outcomes = tried_out(self._opened, Message(text, self._source.mode))
        return tuple(replace(item, problem=self._redactor.clean(item.problem)) for item in outcomes)

    def _resume(self) -> None:
        with self._lock:
            self._book.restore(self._sender.remembered())
            if self._sender.lanes:
                self._digest.resume(self._outbox.note(DIGEST))
        left = self._sender.resume()
        if left:
            log.warning("critical alerts of an earlier run are sent first count=%s", left)
        for name, problem in self._opened.problems:
            title = f"alerts over {name} cannot be sent"
            self.offer(Alert(self._clock.now(), AlertLevel.WARNING, f"channel:{name}", title, problem))

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._beat()
            try:
                self._turn()
            except Exception:  # a thread main: whatever happened, the next alerts are sent
                log.exception("alerts not sent at this turn")
            self._wake.wait(TURN_S)
            self._wake.clear()
        with self._lock:
            self._sender.give(self._book.drain(self._clock.now()))
        self._keep_late()
        with self._sending:
            self._sender.send(self._beat, until_s=self._stop_by_s)
        self._save()
        self._outbox.close()

    def _turn(self) -> None:
        self._keep_late()
        self._look()
        self._tell_day()
        now = self._clock.now()
        with self._lock:
            batch = self._book.due(now)
        with self._sending:
            if batch is not None:
                self._sender.give(batch)
            news = self._sender.send(self._beat)
        for alert in news:
            self.offer(alert)
        if self._clock.monotonic() - self._saved_s >= SAVE_EVERY_S:
            self._save()

    def _look(self) -> None:
        """Look at the book for conditions that last."""
        now_s = self._clock.monotonic()
        if self._source.watches and now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            for alert in self._conditions.alerts((self._source.clock or self._clock).now()):
                self.offer(alert)

    def _tell_day(self) -> None:
        now = self._clock.now()
        if not (self._source.watches and self._digest.is_due(now)):
            return
        notes = self.digest_notes()
        with self._lock:
            alert = self._digest.alert(now, notes)
        self.offer(alert)
        self._save()

    def _save(self) -> None:
        """Store what a next life needs to go on."""
        self._saved_s = self._clock.monotonic()
        if not self._sender.lanes:
            return
        with self._lock:
            incidents = self._book.open_incidents() if self._book.is_changed else None
            self._book.is_changed = False
            digest = self._digest.text()
        if incidents is not None:
            self._sender.remember(incidents)
        self._outbox.put_note(DIGEST, digest)

    def _keep(self, alert: Alert, taken: Taken) -> None:
        if taken.fate in _UNHEARD:
            return
        count = self._outbox.keep(alert, taken.id)
        if count is None:
            self._unkept.append((alert, taken.id))
        elif taken.key != OVERFLOW:
            self._book.note_kept(taken.key, count)

    def _keep_late(self) -> None:
        """Store critical alerts that could not be stored when they were offered."""
        with suppress(IndexError):
            while True:
                alert, incident = self._unkept[0]
                count = self._outbox.keep(alert, incident, wait_s=1.0)
                if count is None:
                    return
                self._unkept.popleft()
                with self._lock:
                    self._book.note_kept(alert.key, count)

    def _say(self, alert: Alert, taken: Taken) -> None:
        level = AlertLevel.INFO if alert.ends else alert.level
        word = "resolved" if alert.ends else "alert"
        more = "".join(f" {name}={text}" for name, text in (("why", alert.why), ("next", alert.next_action)) if text)
        log.log(level, "%s #%s %s%s", word, taken.id, alert.title, more)

    def _beat(self) -> None:
        self._beat_s = self._clock.monotonic()

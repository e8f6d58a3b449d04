"""The watch on drift joined to the bot: what was said is kept, alarms become facts, the record is kept in the book."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from bn_ml.domain.events import DriftDetected, Event
from bn_ml.domain.market import to_ms
from bn_ml.ports import Background
from bn_ml.prediction_log import PredictionLog, log_beside
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from data_manager.feature_feed import FeatureFeed
from ml_engine.drift_monitor import BarSource, DriftMonitor
from ml_engine.drift_status import Kept, disabled_status, read_kept
from ml_engine.predictor import MLEnsemblePredictor
from scripts.scan_limits import ScanLimits
from scripts.skew_check import SkewCheck
from scripts.worlds import World
from trader.cycle_report import CycleReport

log = logging.getLogger(__name__)

DRIFT_STATUS = "drift_status"
LIVE_EVERY = timedelta(minutes=15)
REPLAY_EVERY = timedelta(days=1)
ROWS_PER_REPLAY_WRITE = 5_000


@dataclass(frozen=True, slots=True)
class Watch:
    """The parts of the watch: the log, the monitor (None while drift is not watched), and the work beside the loop."""

    predictions: PredictionLog
    monitor: DriftMonitor | None
    chore: Background

    def keep(self, report: CycleReport) -> None:
        """Keep what a finished cycle's scan said."""
        if report.scan is not None:
            self.predictions.record(report.scan)


def open_watch(
    settings: Settings,
    store: StateStore,
    predictor: MLEnsemblePredictor,
    market: BarSource,
    *,
    world: World,
    fresh_feed: Callable[[], FeatureFeed],
) -> Watch:
    """Open the log beside the book and go on watching where the book's record stands.

    Where bars come in as time goes by, what was said is worked out again daily on rows of `fresh_feed`.
    """
    now = world.clock.now()
    gathered = ROWS_PER_REPLAY_WRITE if world.is_replay else 1
    predictions = PredictionLog(log_beside(store.path), rows_per_write=gathered, judge=ScanLimits(settings).verdict)
    predictions.forget_after(to_ms(now))
    retention = TelemetryRetention(predictions, settings.storage.retention_days.telemetry)
    kept = read_kept(store.get(DRIFT_STATUS))
    if not settings.model.drift.enabled:
        store.put(DRIFT_STATUS, disabled_status(to_ms(now)), now)
        return Watch(predictions, None, retention)
    monitor = DriftMonitor(settings, predictor, market, predictions, kept=kept)
    skew = None if world.is_replay else SkewCheck(predictions, predictor, fresh_feed)
    news = DriftNews(store, monitor, kept, skew=skew, every=REPLAY_EVERY if world.is_replay else LIVE_EVERY)
    return Watch(predictions, monitor, _Chores((news, retention)))


class DriftNews:
    """Tells each alarm once, whatever restarts lie between, and keeps `drift_status`.

    The record is written at once when an alarm came or went, else at most once in `every`.
    """

    def __init__(
        self, store: StateStore, monitor: DriftMonitor, kept: Kept, *, skew: SkewCheck | None, every: timedelta
    ) -> None:
        """Write into `store`; `kept` is what its record holds already."""
        self._store = store
        self._monitor = monitor
        self._skew = skew
        self._every = every
        self._told = {symbol: alarm.since_ms for symbol, (_, alarm) in kept.alarms.items()}
        self._told_market_ms = kept.market_since_ms
        self._written = (0, 0)
        self._written_at: datetime | None = None

    def collect(self, now: datetime) -> Sequence[Event]:
        """Give the alarms raised since the last call."""
        monitor, skew = self._monitor, self._skew
        if skew is not None:
            skew.look(monitor.watched, now)
        known = (monitor.alarm_changes, monitor.changes + (skew.changes if skew else 0))
        if known == self._written:
            return ()
        alarms_changed = known[0] != self._written[0]
        if not alarms_changed and self._written_at is not None and now - self._written_at < self._every:
            return ()
        events = self._news(monitor, now) if alarms_changed else ()
        record = {**monitor.status(now), "skew": skew.status() if skew else {}}
        self._store.put(DRIFT_STATUS, record, now)
        self._written, self._written_at = known, now
        return events

    def _news(self, monitor: DriftMonitor, now: datetime) -> Sequence[Event]:
        events: list[Event] = []
        alarms = monitor.alarms
        for symbol in sorted(alarms):
            alarm = alarms[symbol]
            if self._told.get(symbol) != alarm.since_ms:
                version = monitor.version(symbol)
                events.append(DriftDetected(now, symbol, alarm.kind, alarm.score, alarm.limit, version))
        self._told.update({symbol: alarm.since_ms for symbol, alarm in alarms.items()})
        event = monitor.event
        if event is not None and self._told_market_ms is None:
            events.append(DriftDetected(now, None, event.kind, event.share, event.limit, None))
            log.warning("drift of the whole market kind=%s share=%.2f alarms=%s", event.kind, event.share, len(alarms))
        self._told_market_ms = None if event is None else event.since_ms
        return events


class TelemetryRetention:
    """Deletes, once per UTC day, predictions and outcomes older than they are kept."""

    def __init__(self, predictions: PredictionLog, days: int) -> None:
        """Keep so many days."""
        self._predictions = predictions
        self._days = days
        self._done: date | None = None

    def collect(self, now: datetime) -> Sequence[Event]:
        """Prune when a UTC day has begun since the last time; there is nothing to journal."""
        if self._done != now.date():
            self._done = now.date()
            gone = self._predictions.prune(to_ms(now - timedelta(days=self._days)))
            if gone:
                log.debug("old predictions deleted count=%s", gone)
        return ()


class _Chores:
    """Several pieces of background work as one."""

    def __init__(self, parts: Sequence[Background]) -> None:
        self._parts = parts

    def collect(self, now: datetime) -> Sequence[Event]:
        return tuple(event for part in self._parts for event in part.collect(now))

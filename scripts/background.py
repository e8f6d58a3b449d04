"""Work beside trading that the loop takes over at the start of a cycle: bundles to adopt, old rows to drop."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import date, datetime

from bn_ml.domain.events import BundleAdopted, BundleRefused, Event
from bn_ml.domain.market import Symbol, iso
from bn_ml.errors import ModelError
from bn_ml.ports import Clock
from bn_ml.settings_ops import RetentionSettings
from bn_ml.state_store import StateStore
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from scripts.model_records import ModelRecords
from trader.entry_plan import forget_plans

log = logging.getLogger(__name__)

LOOP_BEAT = "loop_beat"
BEAT_EVERY_S = 2.0


class BundleAdoption:
    """Adopts every verified new bundle, from whatever process it came.

    In a replay bundles are looked up as of the simulated instant; they are only judged together here, no fact is told.
    """

    def __init__(self, predictor: MLEnsemblePredictor, *, live: bool, records: ModelRecords | None = None) -> None:
        """Watch the predictor's bundles when `live`, and keep the figures of those adopted in `records`."""
        self._predictor = predictor
        self._live = live
        self._records = records

    def collect(self, now: datetime) -> Sequence[Event]:
        """Adopt what has changed and give the facts."""
        news = self._predictor.adopt(now)
        if not self._live:
            return ()
        events: list[Event] = []
        for symbol, outcome in news:
            if isinstance(outcome, int):
                events.append(BundleAdopted(now, symbol, outcome))
                log.info("bundle adopted symbol=%s version=%s", symbol, outcome)
                if self._records is not None:
                    self._records.keep(self._predictor.bundle_at(symbol, now).metadata, now)
            else:
                events.append(BundleRefused(now, symbol, outcome))
                log.warning("bundle refused symbol=%s reason=%s", symbol, outcome)
        return tuple(events)


def put_back(bundles: BundleStore, predictor: MLEnsemblePredictor, symbol: Symbol, now: datetime) -> None:
    """Publish the version in service again, pinned, where the one on disk does not verify.

    Where none serves it is the newest earlier version that verifies. What cannot be put back is told and left alone.
    """
    try:
        version = predictor.bundle_at(symbol, now).version
    except ModelError:
        version = None
    try:
        fresh = bundles.rollback(symbol, now, version=version, reason="the version on disk was refused")
    except (ModelError, OSError) as error:
        log.warning("no earlier version was put back symbol=%s: %s", symbol, error)
    else:
        log.warning("bundle put back symbol=%s content=%s version=%s", symbol, version, fresh.version)


class LoopBeat:
    """Keeps, for other processes, when the loop was last seen alive, at which step, and which epoch it had read.

    Written every 2 s at most.
    """

    def __init__(self, store: StateStore, clock: Clock, also: Callable[[str], None] = lambda step: None) -> None:
        """Write into `store` by the clock's time; `also` is told every step first."""
        self._store = store
        self._clock = clock
        self._also = also
        self._written_at = float("-inf")

    def __call__(self, step: str) -> None:
        """Take note that the loop is at a step."""
        self._also(step)
        now = self._clock.monotonic()
        if now - self._written_at >= BEAT_EVERY_S:
            self._written_at = now
            at = self._clock.now()
            epoch = self._store.control().epoch
            self._store.put(LOOP_BEAT, {"pid": os.getpid(), "at": iso(at), "step": step, "epoch": epoch}, at)


class Retention:
    """Deletes, once per UTC day, cycles and model metrics older than they are kept, and plans nobody needs."""

    def __init__(self, store: StateStore, days: RetentionSettings) -> None:
        """Prune `store`; trades, positions, orders and the ledger are never touched."""
        self._store = store
        self._days = days
        self._done: date | None = None

    def collect(self, now: datetime) -> Sequence[Event]:
        """Prune when a UTC day has begun since the last time; there is nothing to journal."""
        if self._done != now.date():
            self._done = now.date()
            gone = self._store.prune(now=now, cycles_days=self._days.cycles, metrics_days=self._days.model_metrics)
            gone += forget_plans(self._store, now)
            if gone:
                log.debug("old rows deleted count=%s", gone)
        return ()

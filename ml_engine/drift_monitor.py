"""Watches whether what the bundles say still comes true, in the trading process, with numpy alone.

A scan first settles predictions whose windows have closed, then asks which symbols and whether the market as a whole
have left what the bundles were trained on, and at its end hands over what it said itself. Nothing here depends on
anything but bars and answers in their order, so a replay and a paper run raise the same alarms.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol
from zlib import crc32

from bn_ml.domain.market import Symbol, Timeframe, from_ms, iso, to_ms
from bn_ml.domain.signals import Opportunity, ScanReport
from bn_ml.errors import BnMlError, ModelError
from bn_ml.prediction_log import BAR_MS, OutcomeRecord, PredictionLog, prediction_of
from bn_ml.settings import Settings
from data_manager.bars import Bars
from data_manager.feed_checks import FeatureRow
from ml_engine.bundle import ModelBundle
from ml_engine.drift_columns import volatility_score
from ml_engine.drift_status import Kept, MarketEvent, market_event, status_of
from ml_engine.drift_watch import DAY_MS, Alarm, SymbolWatch

log = logging.getLogger(__name__)

BARS_PER_DAY = DAY_MS // BAR_MS


class BundlesInService(Protocol):
    """Who knows which bundle answers."""

    def bundle_at(self, symbol: Symbol, now: datetime) -> ModelBundle:
        """Give the bundle that answers at `now`; raises `ModelError` when there is none."""


class BarSource(Protocol):
    """Where closed bars come from."""

    def bars(self, symbol: Symbol, timeframe: Timeframe, count: int) -> Bars:
        """Give the newest `count` closed bars, fewer only where no more exist; raises `BnMlError`."""


class DriftMonitor:
    """Follows every symbol that is answered for, traded or not.

    An alarm stands until another bundle version serves, or until 14 quiet days have passed.
    """

    def __init__(
        self,
        settings: Settings,
        bundles: BundlesInService,
        market: BarSource,
        predictions: PredictionLog,
        *,
        kept: Kept | None = None,
    ) -> None:
        """Watch by the settings; `kept` is what the book's own record says of an earlier run."""
        self._drift = settings.model.drift
        self._max_gap_bars = settings.data.max_gap_bars
        self._benchmark = Symbol(self._drift.benchmark_symbol)
        self._bundles = bundles
        self._market = market
        self._predictions = predictions
        self._kept = kept or Kept()
        self._since_ms = self._kept.watched_since_ms
        self._watches: dict[Symbol, SymbolWatch] = {}
        self._next_due_ms = math.inf
        self._event: MarketEvent | None = None
        self._taken_up = False
        self.alarm_changes = 0
        self.changes = 0

    def settle(self, now: datetime) -> None:
        """Judge every prediction whose window has closed by `now`; what has no bars yet waits."""
        now_ms = to_ms(now)
        if not self._taken_up:
            self._take_up(now)
        if now_ms < self._next_due_ms:
            return
        outcomes: list[OutcomeRecord] = []
        for watch in self._watches.values():
            if watch.due_ms <= now_ms:
                outcomes.extend(self._settled(watch, now_ms))
        self._predictions.settle(outcomes)
        self._next_due_ms = min((watch.due_ms for watch in self._watches.values()), default=math.inf)
        if outcomes:
            self.changes += 1
        self._judge_market(now_ms)

    def observe(self, rows: Mapping[Symbol, FeatureRow], report: ScanReport) -> None:
        """Take up what a scan said; a bar seen before is passed over."""
        if self._since_ms is None:
            self._since_ms = to_ms(report.at)
        for item in (*report.opportunities, *report.refused):
            row = rows.get(item.symbol)
            if row is None or not item.signal.members or item.signal.width_frac <= 0.0:
                continue
            try:
                self._follow(item, row, report.at)
            except ModelError as error:
                log.debug("not watched for drift symbol=%s error=%s", item.symbol, error)

    def blocks(self, symbol: Symbol) -> bool:
        """Whether an alarm of this symbol stands."""
        watch = self._watches.get(symbol)
        return watch is not None and watch.alarm is not None

    def drifted(self, now: datetime) -> bool:
        """Whether the market as a whole, or its benchmark, has left what the bundles were trained on."""
        return self._event is not None

    def symbols_drifted(self, now: datetime) -> tuple[Symbol, ...]:
        """Give the symbols whose alarm stands, sorted."""
        return tuple(sorted(self.alarms))

    @property
    def alarms(self) -> dict[Symbol, Alarm]:
        """The alarms that stand."""
        return {symbol: watch.alarm for symbol, watch in self._watches.items() if watch.alarm is not None}

    @property
    def event(self) -> MarketEvent | None:
        """The market-wide event, None while there is none."""
        return self._event

    @property
    def watched(self) -> tuple[Symbol, ...]:
        """The symbols under watch, sorted."""
        return tuple(sorted(self._watches))

    def version(self, symbol: Symbol) -> int | None:
        """Give the bundle version under watch."""
        watch = self._watches.get(symbol)
        return None if watch is None else watch.version

    def status(self, now: datetime) -> dict[str, object]:
        """Give the `drift_status` record."""
        now_ms = to_ms(now)
        since_ms = now_ms if self._since_ms is None else self._since_ms
        return status_of(self._watches.values(), self._event, watched_since_ms=since_ms, now_ms=now_ms)

    def _settled(self, watch: SymbolWatch, now_ms: int) -> list[OutcomeRecord]:
        before = watch.alarm
        count = (now_ms - watch.pending[0].close_ms) // BAR_MS + 2
        try:
            bars = self._market.bars(watch.symbol, Timeframe.M15, count)
        except BnMlError as error:
            log.debug("outcomes wait for bars symbol=%s error=%s", watch.symbol, error)
            return []
        outcomes = watch.settle(bars.closed_by(now_ms), now_ms)
        self._tell(watch, before)
        return outcomes

    def _follow(self, item: Opportunity, row: FeatureRow, now: datetime) -> None:
        watch = self._watches.get(item.symbol)
        if watch is None or watch.version != item.signal.bundle_version:
            watch = self._begun(item.symbol, now)
            if watch.version != item.signal.bundle_version:
                return
        close_ms = row.close_time_ms
        if close_ms <= watch.seen_ms:
            return
        wanted = watch.see(close_ms)
        if watch.columns is not None:
            watch.columns.follow(row)
        if close_ms - watch.compared_ms >= DAY_MS:
            watch.compared_ms = close_ms
            self._compare(watch)
        if wanted:
            watch.take(prediction_of(item))
            self._next_due_ms = min(self._next_due_ms, watch.due_ms)

    def _take_up(self, now: datetime) -> None:
        """Go on with the symbols an earlier run watched."""
        self._taken_up = True
        for symbol in self._kept.seen_ms:
            try:
                self._begun(symbol, now)
            except ModelError as error:
                log.debug("drift not taken up symbol=%s error=%s", symbol, error)

    def _begun(self, symbol: Symbol, now: datetime) -> SymbolWatch:
        """Begin to watch the bundle in service, with what the log and the book know of it already."""
        bundle = self._bundles.bundle_at(symbol, now)
        watch = SymbolWatch.of(symbol, bundle, self._drift, max_gap_bars=self._max_gap_bars)
        now_ms = to_ms(now)
        since_ms = max(self._since_ms or now_ms, to_ms(bundle.metadata.valid_from))
        watch.restore(
            self._predictions.read(symbol, since_ms, now_ms), self._predictions.outcomes(symbol, since_ms, now_ms)
        )
        version, kept = self._kept.alarms.get(symbol, (0, None))
        if version == watch.version:
            watch.alarm = watch.alarm or kept
            watch.seen_ms = max(watch.seen_ms, self._kept.seen_ms.get(symbol, 0))
        watch.compared_ms = now_ms - DAY_MS + crc32(symbol.encode()) % BARS_PER_DAY * BAR_MS
        before = self._watches.get(symbol)
        self._watches[symbol] = watch
        self._next_due_ms = min(self._next_due_ms, watch.due_ms)
        self.changes += 1
        self._tell(watch, kept if before is None else before.alarm)
        self._judge_market(now_ms)
        return watch

    def _compare(self, watch: SymbolWatch) -> None:
        if watch.columns is not None:
            watch.column_scores = watch.columns.scores()
        count = self._drift.recent_window + self._drift.baseline_window + 1
        try:
            watch.volatility = volatility_score(self._market.bars(watch.symbol, Timeframe.M15, count), self._drift)
        except BnMlError as error:
            log.debug("volatility not compared symbol=%s error=%s", watch.symbol, error)
        self.changes += 1

    def _tell(self, watch: SymbolWatch, before: Alarm | None) -> None:
        alarm = watch.alarm
        if alarm == before:
            return
        self.alarm_changes += 1
        if alarm is None:
            log.info("drift no longer detected symbol=%s version=%s", watch.symbol, watch.version)
        elif before is None or before.since_ms != alarm.since_ms:
            log.warning(
                "drift detected symbol=%s chart=%s score=%.4g limit=%.4g version=%s since=%s",
                watch.symbol, alarm.kind, alarm.score, alarm.limit, watch.version, iso(from_ms(alarm.since_ms)),
            )  # fmt: skip

    def _judge_market(self, now_ms: int) -> None:
        """Look anew whether the alarms of the symbols answered for within a day are one event."""
        before = self._event
        present = {symbol: watch for symbol, watch in self._watches.items() if now_ms - watch.seen_ms <= DAY_MS}
        alarms = {symbol: watch.alarm for symbol, watch in present.items() if watch.alarm is not None}
        self._event = market_event(alarms, len(present), self._benchmark)
        if (before is None) != (self._event is None):
            self.alarm_changes += 1

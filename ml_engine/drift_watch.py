"""One symbol's bundle under watch: predictions whose windows are still open, its charts, and its alarm."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from zlib import crc32

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.prediction_log import BAR_MS, OutcomeRecord, PredictionRecord
from bn_ml.settings_model import DriftSettings
from data_manager.bars import Bars
from ml_engine.bundle import ModelBundle
from ml_engine.drift_columns import ColumnScores, ColumnWatch
from ml_engine.drift_reference import Reference
from ml_engine.drift_triggers import Ended, Score, Triggers, Tripped
from ml_engine.labeling import window_classes
from ml_engine.metrics import CLASS_NAMES

DAY_MS = 86_400_000
QUIET_MS = 14 * DAY_MS
GIVEN_UP_MS = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class Alarm:
    """A chart went too far: which, by how much, since when, and when one last did (ms)."""

    kind: str
    score: float
    limit: float
    since_ms: int
    last_ms: int


@dataclass(slots=True)
class SymbolWatch:
    """What is known of one symbol under one bundle version.

    Only every h-th answer is followed, so that outcomes hardly overlap. An alarm stands until another version serves,
    or until the charts, begun anew, have been quiet for 14 days.
    """

    symbol: Symbol
    version: int
    horizon: int
    method: str
    max_gap_bars: int
    triggers: Triggers
    columns: ColumnWatch | None
    pending: deque[PredictionRecord] = field(default_factory=deque)
    alarm: Alarm | None = None
    taken_ms: int = 0
    seen_ms: int = 0
    compared_ms: int = 0
    column_scores: ColumnScores = field(default_factory=ColumnScores)
    volatility: Score | None = None

    @classmethod
    def of(cls, symbol: Symbol, bundle: ModelBundle, settings: DriftSettings, *, max_gap_bars: int) -> SymbolWatch:
        """Begin to watch a bundle."""
        metadata = bundle.metadata
        reference = Reference.of(bundle.reference)
        horizon = metadata.width.horizon_bars if metadata.width else int(str(metadata.labeling.get("horizon_bars", 10)))
        prior = [metadata.base_rates.get(name, 0.0) for name in CLASS_NAMES]
        known = reference.columns
        return cls(
            symbol=symbol,
            version=bundle.version,
            horizon=horizon,
            method=str(metadata.labeling.get("method", "barrier")),
            max_gap_bars=max_gap_bars,
            triggers=Triggers.of(reference, settings, prior, DAY_MS / (BAR_MS * horizon)),
            columns=None if known is None else ColumnWatch(known, metadata.feature_columns, settings),
        )

    @property
    def due_ms(self) -> float:
        """When the oldest open window closes, infinite without one."""
        return self.pending[0].close_ms + self.horizon * BAR_MS if self.pending else math.inf

    def see(self, close_ms: int) -> bool:
        """Note the next bar answered for; tell whether its prediction is to be followed.

        The first one is followed some bars later, other symbols at other bars, so that no scan judges all at once.
        """
        length_ms = self.horizon * BAR_MS
        if not self.seen_ms:
            self.taken_ms = close_ms - length_ms + crc32(self.symbol.encode()) % self.horizon * BAR_MS
        self.seen_ms = close_ms
        return close_ms >= self.taken_ms + length_ms

    def take(self, record: PredictionRecord) -> None:
        """Follow a prediction until its window has closed."""
        self.taken_ms = record.close_ms
        self.pending.append(record)

    def settle(self, bars: Bars, now_ms: int) -> list[OutcomeRecord]:
        """Judge the predictions whose windows `bars` cover, oldest first, and drop those that can never be judged."""
        settled: list[OutcomeRecord] = []
        while self.due_ms <= now_ms:
            record = self.pending[0]
            outcome = self._outcome(record, bars)
            if outcome is None and now_ms - record.close_ms < GIVEN_UP_MS and not self._is_holed(record, bars):
                break
            self.pending.popleft()
            if outcome is not None:
                self.follow(record, outcome)
                settled.append(outcome)
        return settled

    def follow(self, record: PredictionRecord, outcome: OutcomeRecord) -> None:
        """Take an outcome into the charts."""
        size = record.volatility_frac * math.sqrt(self.horizon)
        move = outcome.move_frac / size if size > 0.0 else math.nan
        tripped = self.triggers.follow(Ended((record.sell, record.hold, record.buy), outcome.label, move))
        at_ms = record.close_ms + self.horizon * BAR_MS
        if tripped is not None:
            self.alarm = self._raised(tripped, at_ms)
        elif self.alarm is not None and at_ms - self.alarm.last_ms >= QUIET_MS:
            self.alarm = None

    def restore(self, predictions: Iterable[PredictionRecord], outcomes: Iterable[OutcomeRecord]) -> None:
        """Take up what was said and what came of it before a restart."""
        known = {outcome.close_ms: outcome for outcome in outcomes if outcome.version == self.version}
        for record in predictions:
            if record.version != self.version or record.width_frac <= 0.0:
                continue
            if not self.see(record.close_ms):
                continue
            self.take(record)
            if record.close_ms in known:
                self.pending.pop()
                self.follow(record, known[record.close_ms])

    def _raised(self, tripped: Tripped, at_ms: int) -> Alarm:
        if self.alarm is not None:
            return replace(self.alarm, last_ms=at_ms)
        return Alarm(tripped.kind, tripped.score, tripped.limit, at_ms, at_ms)

    def _outcome(self, record: PredictionRecord, bars: Bars) -> OutcomeRecord | None:
        """Give what came of a prediction, by the rule of the training labels; None while bars are missing."""
        window = bars.between(record.close_ms - BAR_MS, record.close_ms + GIVEN_UP_MS).rows(0, self.horizon + 1)
        if len(window) <= self.horizon or self._is_holed(record, bars):
            return None
        label, _ = window_classes(
            window, np.array([0]), np.array([record.width_frac]), horizon=self.horizon, method=self.method
        )
        move = float(window.close[self.horizon] / window.open[1] - 1.0)
        return OutcomeRecord(self.symbol, record.close_ms, self.version, int(label[0]), move)

    def _is_holed(self, record: PredictionRecord, bars: Bars) -> bool:
        """Whether the window, as far as it is known, lacks its first bar or crosses a hole labels do not cross."""
        opens: Sequence[int] = bars.between(record.close_ms - BAR_MS, record.close_ms + GIVEN_UP_MS).open_time.tolist()
        if not opens or opens[0] != record.close_ms - BAR_MS:
            return bool(len(bars)) and int(bars.open_time[-1]) >= record.close_ms
        largest = (self.max_gap_bars + 1) * BAR_MS
        inside = opens[: self.horizon + 1]
        return any(later - earlier > largest for earlier, later in pairwise(inside))

"""Whether a prediction made live comes out again from the bars as they are known later: once a day for each symbol.

A difference means that training, which sees only later bars, learns from other rows than the bot acts on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Protocol

from bn_ml.domain.market import Symbol, from_ms, iso, to_ms
from bn_ml.domain.signals import Signal
from bn_ml.errors import BnMlError
from bn_ml.prediction_log import BAR_MS, PredictionLog, PredictionRecord
from data_manager.feature_feed import FeatureFeed
from data_manager.feed_checks import FeatureRow

log = logging.getLogger(__name__)

TOLERANCE = 1e-6
EVERY = timedelta(days=1)
OLDEST, NEWEST = timedelta(hours=6), timedelta(minutes=30)


class Judge(Protocol):
    """Who gives signals of rows."""

    def signal(self, row: FeatureRow, now: datetime) -> Signal:
        """Give the signal of a row; never raises for a bad bundle or row."""


@dataclass(frozen=True, slots=True)
class Skew:
    """How far one prediction came out differently: its bar (ISO), the largest difference of a probability."""

    close: str
    version: int
    difference: float
    beyond: bool


class SkewCheck:
    """Works one symbol's prediction out again at each call for which one is due, with caches of its own."""

    def __init__(self, predictions: PredictionLog, judge: Judge, fresh_feed: Callable[[], FeatureFeed]) -> None:
        """Compare with what is logged; `fresh_feed` makes a feed that remembers nothing."""
        self._predictions = predictions
        self._judge = judge
        self._fresh_feed = fresh_feed
        self._found: dict[Symbol, Skew] = {}
        self._looked: dict[Symbol, datetime] = {}
        self.changes = 0

    def look(self, symbols: tuple[Symbol, ...], now: datetime) -> None:
        """Check the first of the symbols that has not been looked at for a day; a new one is given hours first."""
        for symbol in symbols:
            self._looked.setdefault(symbol, now - EVERY + OLDEST)
        due = next((symbol for symbol in symbols if now - self._looked[symbol] >= EVERY), None)
        if due is None:
            return
        self._looked[due] = now
        said = self._predictions.read(due, to_ms(now - OLDEST), to_ms(now - NEWEST))
        answered = [record for record in said if record.version is not None]
        if answered:
            self._compare(answered[-1])

    def status(self) -> dict[str, object]:
        """Give what was found, by symbol."""
        return {str(symbol): asdict(self._found[symbol]) for symbol in sorted(self._found)}

    def _compare(self, record: PredictionRecord) -> None:
        at = from_ms(record.close_ms)
        try:
            row = self._fresh_feed().row(record.symbol, at)
        except BnMlError as error:
            log.debug("prediction not worked out again symbol=%s error=%s", record.symbol, error)
            return
        again = self._judge.signal(row, at + timedelta(milliseconds=BAR_MS // 2))
        if again.bundle_version != record.version or not again.members or record.version is None:
            return
        now = again.probabilities
        pairs = ((now.sell, record.sell), (now.hold, record.hold), (now.buy, record.buy))
        gap = max(abs(one - other) for one, other in pairs)
        self._found[record.symbol] = Skew(iso(at), record.version, gap, gap > TOLERANCE)
        self.changes += 1
        if gap > TOLERANCE:
            log.warning(
                "a prediction comes out differently from the bars known now symbol=%s close=%s difference=%.3g",
                record.symbol, iso(at), gap,
            )  # fmt: skip

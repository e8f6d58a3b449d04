"""The market intelligence inside the bot: asked once per scan, its state and snapshots kept, its changes journaled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from bn_ml.domain.events import Event, MoodChanged
from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.domain.signals import MarketMood, ScanReport
from bn_ml.errors import MarketDataError, StateError
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from data_manager.bars import Bars
from ml_engine.benchmark_view import BenchmarkView
from ml_engine.mood_snapshot import MoodSnapshot
from ml_engine.santrade_intelligence import SanTradeIntelligence, changed, describe, mood_of
from ml_engine.santrade_state import IntelligenceState, StateFile
from ml_engine.scan_figures import INPUTS
from monitoring.mood_exports import MoodExports

log = logging.getLogger(__name__)

SNAPSHOT_KEY = "santrade_intelligence"
STATE_KEY = "santrade_state"
LEARNED_KEY = "santrade_learned"


class BenchmarkMarket(Protocol):
    """Where the benchmark's closed bars come from. Raises `MarketDataError` when they cannot be had."""

    def bars(self, symbol: Symbol, timeframe: Timeframe, count: int) -> Bars:
        """Give the newest `count` closed bars, fewer only where no more exist."""


class StateKeeper(Protocol):
    """Where the intelligence's state outlives the process."""

    def load(self, alpha: float) -> IntelligenceState | None:
        """Give the state kept, None when there is none; raises `StateError` when it cannot be read."""

    def save(self, state: IntelligenceState, at: datetime) -> None:
        """Keep the state; raises `OSError` when it cannot be written."""

    def set_aside(self) -> str:
        """Put an unreadable state out of the way and say where."""


class FileKeeper:
    """Keeps the state in the configured file: the market is the same for every book that lives on real prices."""

    def __init__(self, path: Path, *, every: int) -> None:
        """Write to `path` at every so many updates."""
        self._file = StateFile(path)
        self._every = every

    def load(self, alpha: float) -> IntelligenceState | None:
        """Give the state of the file, None without one."""
        return self._file.load(alpha, INPUTS)

    def save(self, state: IntelligenceState, at: datetime) -> None:
        """Write the file when an update is due."""
        del at
        if state.updates % self._every == 0:
            self._file.save(state)

    def set_aside(self) -> str:
        """Rename the file."""
        return str(self._file.set_aside())


class BookKeeper:
    """Keeps the state in the book, for generated and recorded prices: another book is another world.

    What was learned is written only when it has changed, for a replay asks thousands of times.
    """

    def __init__(self, store: StateStore) -> None:
        """Keep the state in `store`."""
        self._store = store
        self._learned: tuple[int, int, int] | None = None

    def load(self, alpha: float) -> IntelligenceState | None:
        """Give the state of the book, None when it has none."""
        fast, learned = self._store.get(STATE_KEY), self._store.get(LEARNED_KEY)
        if not isinstance(fast, dict) or not isinstance(learned, dict):
            return None
        return IntelligenceState.from_plain({**fast, **learned}, alpha, INPUTS)

    def save(self, state: IntelligenceState, at: datetime) -> None:
        """Write the state into the book in one transaction."""
        plain = state.to_plain()
        learned = {name: plain.pop(name) for name in ("model", "memory", "waiting")}
        mark = (state.model.samples, len(state.memory.outcomes), state.next_sample_ms)
        with self._store.transaction():
            self._store.put(STATE_KEY, plain, at)
            if mark != self._learned:
                self._store.put(LEARNED_KEY, learned, at)
        self._learned = mark

    def set_aside(self) -> str:
        """Leave the record to be written over."""
        return "the book's own record, which is begun anew"


class ScanMood:
    """The mood source of the scanner, and the background work that journals its changes.

    Never raises but for what the scanner answers with an unknown mood.
    """

    def __init__(
        self,
        settings: Settings,
        market: BenchmarkMarket,
        keeper: StateKeeper,
        *,
        publish: Callable[[MoodSnapshot], None],
        source: str,
    ) -> None:
        """Take up the kept state; `publish` hears each new snapshot, `source` names where prices come from."""
        self._settings = settings
        self._market = market
        self._keeper = keeper
        self._publish = publish
        self._source = source
        self._news: list[Event] = []
        self._troubles: set[str] = set()
        self.intelligence = SanTradeIntelligence(settings, self._kept())

    def mood(self, report: ScanReport) -> MarketMood:
        """Give the mood of a scan."""
        before = self.intelligence.state.last
        snapshot = self.intelligence.observe(report, self._benchmark(), self._source)
        if snapshot is not before and self._settings.santrade_intelligence.enabled:
            self._keep(report.at)
            self._publish(snapshot)
            if changed(before, snapshot):
                log.info("market mood %s", describe(snapshot))
                score = snapshot.smoothed_score
                self._news.append(
                    MoodChanged(report.at, snapshot.signal, snapshot.regime.value, snapshot.confidence, score)
                )
        return mood_of(snapshot)

    def reload(self) -> None:
        """Take up what another process may have kept since."""
        self.intelligence.state = self._kept() or self.intelligence.state

    def collect(self, now: datetime) -> Sequence[Event]:
        """Give the changes since the last call, as facts of the instant the loop learns them."""
        news, self._news = tuple(replace(event, at=now) for event in self._news), []
        return news

    def _kept(self) -> IntelligenceState | None:
        alpha = max(self._settings.santrade_intelligence.online_alpha, 1e-6)
        try:
            return self._keeper.load(alpha)
        except StateError as error:
            try:
                log.warning("market intelligence begins anew: %s; kept as %s", error, self._keeper.set_aside())
            except OSError as failure:
                log.warning("market intelligence begins anew: %s; %s", error, failure)
            return None

    def _keep(self, at: datetime) -> None:
        try:
            self._keeper.save(self.intelligence.state, at)
        except OSError as error:
            self._say(f"market intelligence state not written: {error}")

    def _benchmark(self) -> BenchmarkView | None:
        symbol = Symbol(self._settings.santrade_intelligence.benchmark_symbol)
        try:
            return BenchmarkView.of(self._market.bars(symbol, Timeframe.M15, self.intelligence.bars_needed))
        except MarketDataError as error:
            self._say(f"market intelligence without its benchmark: {error}")
            return None

    def _say(self, text: str) -> None:
        """Log a trouble once."""
        if text not in self._troubles:
            self._troubles.add(text)
            log.warning("%s", text)


def open_mood(
    settings: Settings, store: StateStore, market: BenchmarkMarket, exports: MoodExports, *, source: str
) -> ScanMood:
    """Give the mood source of a bot: its state in the configured file on real prices, else in the book."""
    section = settings.santrade_intelligence
    real = source.startswith("binance")
    keeper = FileKeeper(Path(section.state_path), every=section.persist_every_updates) if real else BookKeeper(store)

    def publish(snapshot: MoodSnapshot) -> None:
        shown = snapshot.as_dict()
        store.put(SNAPSHOT_KEY, shown, snapshot.at)
        exports.take(shown)

    return ScanMood(settings, market, keeper, publish=publish, source=source)

"""A market of a few symbols whose bundles are watched for drift, scanned bar by bar without a scanner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zlib import crc32

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.errors import MarketDataError, ModelError
from bn_ml.prediction_log import PredictionLog
from bn_ml.settings import Settings
from data_manager.bars import Bars, FloatArray
from data_manager.feed_checks import FeatureRow
from ml_engine.bundle import ModelBundle
from ml_engine.drift_monitor import DriftMonitor
from ml_engine.drift_reference import LIMIT_DAYS
from ml_engine.drift_status import read_kept
from tests.fakes.bar_builders import START_MS, some_bars
from tests.fakes.bundle_builders import COLUMNS, a_bundle

STEP_MS = Timeframe.M15.ms
HORIZON = 10
SYMBOLS = tuple(Symbol(f"{name}/USDC") for name in ("BTC", "ETH", "SOL", "XRP", "ADA", "LTC"))


def touchy(outcomes: int) -> dict[str, FloatArray]:
    """A loss chart that goes too far with so many outcomes, whatever they are."""
    return {"drift_loss": np.array([-10.0, 1.0]), "drift_loss_limits": np.full(len(LIMIT_DAYS), 9.75 * outcomes - 4)}


def bars_to_alarm(symbol: Symbol, outcomes: int = 3) -> int:
    """How many scans it takes until so many outcomes are known; each symbol begins at a bar of its own."""
    return outcomes * HORIZON + 1 + crc32(symbol.encode()) % HORIZON


class DriftWorld:
    """Bars, bundles and a monitor; `versions` and `references` may be changed between scans."""

    def __init__(self, folder: Path, references: Mapping[Symbol, Mapping[str, FloatArray]], **drift: object) -> None:
        self.settings = Settings.from_mapping({"model": {"drift": drift}} if drift else {})
        self.bars = {symbol: some_bars(3000, symbol=symbol, seed=seed) for seed, symbol in enumerate(SYMBOLS)}
        self.references = dict(references)
        self.versions = dict.fromkeys(SYMBOLS, 1)
        self.silent: set[Symbol] = set()
        self.width_frac = 0.0081
        self.now_ms = START_MS + 400 * STEP_MS
        self.log = PredictionLog(folder / "telemetry.db")
        self.monitor = self.opened()

    def opened(self, kept: object = None) -> DriftMonitor:
        """Give a monitor as a start of the bot makes it; `kept` is the book's record."""
        self.monitor = DriftMonitor(self.settings, self, _Market(self), self.log, kept=read_kept(kept))
        return self.monitor

    @property
    def now(self) -> datetime:
        return from_ms(self.now_ms)

    def bundle_at(self, symbol: Symbol, now: datetime) -> ModelBundle:
        if symbol in self.silent:
            raise ModelError("none", reason="no_bundle")
        built = a_bundle(symbol=str(symbol), model_key=symbol.key, version=self.versions[symbol])
        return replace(built, reference={**built.reference, **self.references.get(symbol, {})})

    def bars_of(self, symbol: Symbol, count: int) -> Bars:
        """Give the newest closed bars of a symbol."""
        found = self.bars[symbol].closed_by(self.now_ms)
        if not len(found):
            raise MarketDataError(f"{symbol}: none", "data_unavailable")
        return found.tail(count)

    def scan(self, bars: int = 1, symbols: Sequence[Symbol] = SYMBOLS) -> None:
        """Go on by so many bars, one scan each."""
        for _ in range(bars):
            self.now_ms += STEP_MS
            self.monitor.settle(self.now)
            rows = {symbol: self._row(symbol) for symbol in symbols}
            report = ScanReport(self.now, (), tuple(self._said(row) for row in rows.values()))
            self.monitor.observe(rows, report)
            self.log.record(report)

    def _row(self, symbol: Symbol) -> FeatureRow:
        values = np.random.default_rng(self.now_ms // STEP_MS).normal(size=len(COLUMNS))
        return FeatureRow(symbol, self.now_ms, values, COLUMNS, np.ones(193), 0.004, 0.003, "test")

    def _said(self, row: FeatureRow) -> Opportunity:
        said = Probabilities(0.2, 0.5, 0.3)
        signal = Signal(row.symbol, Action.HOLD, said, self.now, members={"rf": said},
                        bundle_version=self.versions[row.symbol], width_frac=self.width_frac)  # fmt: skip
        return Opportunity(signal, None, volatility_frac=row.volatility_frac)


class _Market:
    """The world's bars as the monitor asks for them."""

    def __init__(self, world: DriftWorld) -> None:
        self._world = world

    def bars(self, symbol: Symbol, timeframe: Timeframe, count: int) -> Bars:
        """Give the newest `count` closed bars."""
        return self._world.bars_of(symbol, count)

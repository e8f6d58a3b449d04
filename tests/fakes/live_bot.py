"""The bot as the command wires it, on live market data from loopback; only what the models say is written by a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol
from bn_ml.domain.positions import Position
from bn_ml.domain.signals import Action, Probabilities, Signal
from bn_ml.settings import Settings
from data_manager.feed_checks import FeatureRow
from data_manager.sources.binance import BinanceSource
from ml_engine.predictor import MLEnsemblePredictor
from scripts import wiring
from scripts.wiring import Extras, TradingBot, open_bot
from scripts.worlds import World
from tests.fakes.live_market import LiveMarket
from trader.cycle_report import CycleReport

BTC, ETH, SOL, BNB, XRP, ADA, DOGE = map(Symbol, Settings().universe.training_symbols)


class TurnableClock(SimulatedClock):
    """A simulated clock that a test may turn to where it begins, also backwards."""

    def turn(self, instant: datetime) -> None:
        self._now = instant


class WishingPredictor(MLEnsemblePredictor):
    """Says BUY for what a test wants and HOLD for the rest."""

    wanted: frozenset[Symbol] = frozenset()

    def signal(self, row: FeatureRow, now: datetime) -> Signal:
        wanted = row.symbol in self.wanted
        chances = Probabilities(0.1, 0.2, 0.7) if wanted else Probabilities(0.1, 0.8, 0.1)
        action = Action.BUY if wanted else Action.HOLD
        return Signal(
            row.symbol,
            action,
            chances,
            now,
            base_rate=0.3,
            buy_threshold=0.4,
            expected_net_frac=0.01,
            data_source=row.source,
        )

    def without_bundle(self, symbol: Symbol, now: datetime) -> str | None:
        return None

    def priced(self, signal: Signal, spread_frac: float) -> Signal:
        return signal


class LiveBot:
    """A running bot, stepped by hand: its clock passes only while something sleeps."""

    def __init__(self, bot: TradingBot, market: LiveMarket) -> None:
        self.bot = bot
        self.market = market
        self.clock = bot.world.clock
        self.reports: list[CycleReport] = []

    def want(self, *symbols: Symbol) -> None:
        WishingPredictor.wanted = frozenset(symbols)

    def cycle(self, *, after_s: float = 0) -> CycleReport:
        self.wait(after_s)
        self.reports.append(self.bot.engine.run_cycle())
        return self.reports[-1]

    def run(self, cycles: int) -> None:
        """Run cycles with their looks in between, as the command does."""
        self.bot.engine.run(lambda: False, cycles)

    def wait(self, seconds: float) -> None:
        self.clock.sleep_until(self.clock.now() + timedelta(seconds=seconds))

    def held(self) -> tuple[Position, ...]:
        return self.bot.store.open_positions()

    def resting(self) -> int:
        return len(self.bot.store.open_intents())

    def state(self) -> tuple[str, str]:
        control = self.bot.store.control()
        return control.state.value, control.reason

    def funnel(self) -> dict[str, int]:
        scan = self.reports[-1].scan
        return dict(scan.funnel) if scan else {}


@contextmanager
def live_bot(
    market: LiveMarket, folder: Path, monkeypatch: pytest.MonkeyPatch, **sections: object
) -> Iterator[LiveBot]:
    """Open the bot on the market's own clock, recovered and ready for its first cycle."""
    WishingPredictor.wanted = frozenset()
    monkeypatch.setattr(wiring, "MLEnsemblePredictor", WishingPredictor)
    plain = {
        "exchange": {"base_url": market.url, "rate_limit_ms": 10},
        "storage": {"sqlite_path": str(folder / "bn_ml.db"), "min_free_disk_mb": 0},
        "monitoring": {"logs_dir": str(folder / "logs"), "metrics_dir": str(folder / "metrics")},
        "model": {"models_dir": str(folder / "models")},
        "scanner": {"min_score": 0, "min_confidence": 0.1},
        **sections,
    }
    settings = Settings.from_mapping(plain)
    clock = market.clock
    assert isinstance(clock, SimulatedClock)
    source = BinanceSource.connect(settings.exchange, clock)
    bot = open_bot(settings, World(clock, source), Extras())
    try:
        bot.engine.run(threading.Event().is_set, 0)
        yield LiveBot(bot, market)
    finally:
        bot.close()

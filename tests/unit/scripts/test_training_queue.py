"""Which symbols the background training takes next: configured before discovered, in batches, each after its rest."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, from_ms
from bn_ml.settings import Settings
from data_manager.history import HistoryStore
from data_manager.sources.replay import ReplaySource
from ml_engine.retraining import TrainingSupervisor
from scripts.market_basket import basket
from scripts.training_worker import TrainingWorker
from scripts.wiring import Extras, TradingBot, open_bot
from scripts.worlds import World
from tests.fakes.bar_builders import START_MS, some_bars

STORED = ("AAA", "BTC", "CCC", "DDD", "EEE", "FFF")
NOW = from_ms(START_MS + 192 * 900_000)
LOOK = timedelta(seconds=61)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six symbols; the earlier in the alphabet, the less turnover."""
    folder = tmp_path_factory.mktemp("history")
    for place, base in enumerate(STORED):
        bars = some_bars(200, symbol=Symbol(f"{base}/USDC"), seed=place)
        HistoryStore(folder).write(replace(bars, quote_volume=np.full(len(bars), 1_000.0 * (place + 1))))
    return folder


@contextmanager
def bot_on(history: Path, folder: Path, *, discovery: object = None, **universe: object) -> Iterator[TradingBot]:
    found = {"enabled": True, "min_24h_volume_usdt": 1, "min_listing_days": 0, **(discovery or {})}  # type: ignore[dict-item]
    settings = Settings.from_mapping(
        {
            "universe": {"training_symbols": ["BTC/USDC", "AAA/USDC"], "discovery": found, **universe},
            "data": {"replay_dir": str(history)},
            "model": {"models_dir": str(folder / "models")},
            "storage": {"sqlite_path": str(folder / "bn_ml.db")},
        }
    )
    clock = SimulatedClock(NOW)
    bot = open_bot(settings, World(clock, ReplaySource(history, clock)), Extras())
    bot.scanner.universe(NOW)
    try:
        yield bot
    finally:
        bot.close()


class Queue:
    """A worker whose trainer only says which symbols it was given."""

    def __init__(self, bot: TradingBot, caplog: pytest.LogCaptureFixture) -> None:
        command = [sys.executable, "-c", "import sys; print(sys.argv[1:])"]
        self.worker = TrainingWorker(
            bot.settings, bot.world, config=None, enabled=True, supervisor=TrainingSupervisor(command=command)
        )
        self.worker.attach(bot)
        self.caplog = caplog

    def run(self, now: datetime) -> list[str]:
        """Look once, wait for the trainer's end, and give the bases it was told."""
        self.caplog.clear()
        with self.caplog.at_level("INFO", "ml_engine.retraining"):
            self.worker.collect(now)
            for thread in threading.enumerate():
                if thread.name == "training-reader":
                    thread.join(20)
        told = [record.getMessage() for record in self.caplog.records if record.name == "ml_engine.retraining"]
        return re.findall(r"'--symbol', '(\w+)/USDC'", " ".join(told))

    def runs(self, count: int) -> list[list[str]]:
        return [self.run(NOW + place * LOOK) for place in range(count)]


def test_the_configured_come_first_then_the_discovered_by_turnover(
    history: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bot_on(history, tmp_path, auto_train_batch=4) as bot:
        assert Queue(bot, caplog).runs(3) == [["BTC", "AAA", "FFF", "EEE"], ["DDD", "CCC"], []]


def test_a_symbol_rests_for_the_cooldown_after_it_was_tried(
    history: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bot_on(history, tmp_path, auto_train_batch=50) as bot:
        queue = Queue(bot, caplog)
        rest = timedelta(hours=bot.settings.model.retraining.cooldown_hours)
        assert len(queue.run(NOW)) == 6
        assert queue.run(NOW + rest - timedelta(seconds=1)) == []
        assert len(queue.run(NOW + rest + LOOK)) == 6


@pytest.mark.parametrize(("most", "taken"), [(1, 1), (2, 2), (3, 3), (6, 6), (7, 6)])
def test_no_more_symbols_are_trained_in_all_than_allowed(
    history: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, most: int, taken: int
) -> None:
    with bot_on(history, tmp_path, auto_train_batch=50, train_max_symbols=most) as bot:
        first, second = Queue(bot, caplog).runs(2)
        assert first == ["BTC", "AAA", "FFF", "EEE", "DDD", "CCC"][:taken]
        assert second == []


def test_discovered_symbols_are_left_untrained_when_so_configured(
    history: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bot_on(history, tmp_path, discovery={"train": False}) as bot:
        assert "FFF/USDC" in bot.scanner.universe(NOW)
        assert Queue(bot, caplog).runs(2) == [["BTC", "AAA"], []]


def test_without_discovery_only_the_configured_are_trained(
    history: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bot_on(history, tmp_path, discovery={"enabled": False}) as bot:
        assert Queue(bot, caplog).runs(2) == [["BTC", "AAA"], []]


def test_excluded_symbols_are_neither_scanned_nor_trained(
    history: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bot_on(history, tmp_path, exclude=["AAA/USDC", "FFF/USDC"]) as bot:
        assert Queue(bot, caplog).runs(1) == [["BTC", "EEE", "DDD", "CCC"]]


def test_missing_bundles_stay_missing_when_so_configured(
    history: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bot_on(history, tmp_path, auto_train_missing=False) as bot:
        assert Queue(bot, caplog).runs(2) == [[], []]


def test_discovery_leaves_the_basket_of_the_market_columns_alone(history: Path, tmp_path: Path) -> None:
    with bot_on(history, tmp_path) as bot:
        assert bot.scanner.discovered
        assert basket(bot.settings) == ("AAA/USDC", "BTC/USDC")


def test_a_discovered_symbol_without_a_bundle_holds(history: Path, tmp_path: Path) -> None:
    with bot_on(history, tmp_path) as bot:
        report = bot.scanner.scan(NOW)
        assert "FFF/USDC" in {item.symbol for item in report.refused}
        assert report.opportunities == ()

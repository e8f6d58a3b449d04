"""Training beside the bot: a real child process, and the record users see of it."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock, SystemClock
from bn_ml.domain.events import BundleAdopted
from bn_ml.domain.market import Symbol, from_ms
from bn_ml.settings import Settings
from data_manager.history import HistoryStore
from data_manager.sources.replay import ReplaySource
from ml_engine.retraining import TrainingSupervisor
from ml_engine.training_progress import Message, SymbolOutcome, TrainingFinished, TrainingProgress, encode
from scripts.training_worker import TrainingWorker
from scripts.wiring import Extras, TradingBot, open_bot
from scripts.worlds import World
from tests.fakes.bar_builders import BTC, START_MS, some_bars

NOW = from_ms(START_MS + 400 * 900_000)
FIELDS = {
    *("status", "phase", "trigger", "started_at", "updated_at", "current_symbol", "current_index"),
    *("symbols_requested", "symbols_queued", "symbols_completed", "symbols_trained", "symbols_errors"),
    *("symbols_skipped_up_to_date", "symbols_kept_champion", "progress_pct", "eta_s", "last_error", "hpo_enabled"),
    *("models_reloaded_at", "reload_reason"),
}
STEP = TrainingProgress("BTC/USDC", "fit", 1, 1, 0, eta_s=4.0)
TRAINED = SymbolOutcome("BTC/USDC", "trained", tradable=True)
FAILED = SymbolOutcome("BTC/USDC", "failed", reasons=("too few rows",))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    HistoryStore(tmp_path / "history").write(some_bars(500))
    return Settings.from_mapping(
        {
            "base_quote": "USDC",
            "universe": {"training_symbols": ["BTC/USDC"]},
            "data": {"replay_dir": str(tmp_path / "history")},
            "model": {"models_dir": str(tmp_path / "models")},
            "storage": {"sqlite_path": str(tmp_path / "bn_ml.db")},
        }
    )


@pytest.fixture
def world(settings: Settings) -> World:
    clock = SimulatedClock(NOW)
    return World(clock, ReplaySource(settings.data.replay_dir, clock))


@pytest.fixture
def bot(settings: Settings, world: World) -> Iterator[TradingBot]:
    opened = open_bot(settings, world, Extras())
    yield opened
    opened.close()


def child(*messages: Message, then: str = "") -> TrainingSupervisor:
    """A supervisor of a Python child that says its arguments, tells messages and then does something."""
    program = f"import sys, threading\nprint(sys.argv[1:])\nfor line in {[*map(encode, messages)]!r}: print(line)\n"
    return TrainingSupervisor(command=[sys.executable, "-c", f"{program}sys.stdout.flush()\n{then}"])


def worker_of(bot: TradingBot, supervisor: TrainingSupervisor, *, enabled: bool = True) -> TrainingWorker:
    worker = TrainingWorker(bot.settings, bot.world, config=None, enabled=enabled, supervisor=supervisor)
    worker.attach(bot)
    return worker


def ended() -> None:
    for thread in threading.enumerate():
        if thread.name == "training-reader":
            thread.join(20)


def status(bot: TradingBot) -> dict[str, object]:
    kept = bot.store.get("training_status")
    assert isinstance(kept, dict)
    return kept


def run_to_end(bot: TradingBot, *messages: Message, then: str = "") -> dict[str, object]:
    worker = worker_of(bot, child(*messages, then=then))
    worker.collect(NOW)
    ended()
    worker.collect(NOW + timedelta(minutes=1))
    return status(bot)


def test_a_symbol_without_bundle_is_trained_at_once(bot: TradingBot) -> None:
    worker = worker_of(bot, child(then="threading.Event().wait()"))
    assert worker.collect(NOW) == ()
    kept = status(bot)
    worker.stop()
    assert set(kept) == FIELDS
    assert (kept["status"], kept["trigger"], kept["symbols_requested"]) == ("running", "missing_models", 1)
    assert kept["started_at"] == "2024-03-08T04:00:00.000Z"


def test_the_record_follows_the_training_to_its_end(bot: TradingBot) -> None:
    kept = run_to_end(bot, STEP, TRAINED, TrainingFinished("completed", trained=("BTC/USDC",)))
    assert set(kept) == FIELDS
    assert (kept["status"], kept["symbols_trained"], kept["progress_pct"]) == ("completed", 1, 100.0)
    assert (kept["current_symbol"], kept["current_index"], kept["eta_s"]) == ("BTC/USDC", 1, None)
    assert kept["updated_at"] == "2024-03-08T04:01:00.000Z"


def test_a_symbol_that_fails_is_counted_with_its_reason(bot: TradingBot) -> None:
    kept = run_to_end(bot, FAILED, TrainingFinished("completed_with_errors", failed=("BTC/USDC",)))
    assert (kept["status"], kept["symbols_errors"]) == ("completed_with_errors", 1)
    assert kept["last_error"] == "BTC/USDC: too few rows"


def test_a_symbol_that_is_up_to_date_is_counted(bot: TradingBot) -> None:
    kept = run_to_end(bot, SymbolOutcome("BTC/USDC", "up_to_date"), TrainingFinished("completed"))
    assert (kept["symbols_skipped_up_to_date"], kept["symbols_trained"]) == (1, 0)


def test_a_child_that_crashes_is_a_failed_training(bot: TradingBot) -> None:
    kept = run_to_end(bot, STEP, then="sys.exit('no memory left')")
    assert kept["status"] == "failed"
    assert "no memory left" in str(kept["last_error"])
    assert kept["progress_pct"] == 0.0


def test_a_failed_training_is_tried_again_only_after_the_cooldown(bot: TradingBot) -> None:
    retraining = bot.settings.model.retraining
    cooldown, look = timedelta(hours=retraining.cooldown_hours), timedelta(seconds=retraining.check_interval_sec)
    worker = worker_of(bot, child(then="sys.exit(1)"))
    started = []
    for now in (NOW, NOW + cooldown - look, NOW + cooldown + look):
        worker.collect(now)
        ended()
        started.append(status(bot)["started_at"])
    assert started[0] == started[1] != started[2]


def test_the_end_of_the_bot_is_the_end_of_its_training_and_recorded(bot: TradingBot) -> None:
    worker = worker_of(bot, child(STEP, then="threading.Event().wait()"))
    worker.collect(NOW)
    worker.stop()
    assert status(bot)["status"] == "stopped"


def test_a_run_that_died_with_its_bot_is_not_shown_as_running(bot: TradingBot) -> None:
    bot.store.put("training_status", {"status": "running", "phase": "fit", "models_reloaded_at": "x"}, NOW)
    worker = worker_of(bot, child(), enabled=False)
    worker.collect(NOW)
    kept = status(bot)
    assert (kept["status"], kept["phase"], kept["models_reloaded_at"]) == ("stopped", "", "x")


@pytest.mark.parametrize("content", ["nonsense", [1], {"progress_pct": "much"}])
def test_a_stored_record_nobody_understands_is_forgotten(content: object, bot: TradingBot) -> None:
    bot.store.put("training_status", content, NOW)
    worker = worker_of(bot, child(), enabled=False)
    worker.emit(BundleAdopted(NOW, BTC, 2))
    worker.collect(NOW)
    assert status(bot)["status"] == "idle"


def test_an_adopted_bundle_is_noted_even_when_the_bot_does_not_train(bot: TradingBot) -> None:
    worker = worker_of(bot, child(), enabled=False)
    worker.emit(BundleAdopted(NOW, Symbol("ETH/USDC"), 3))
    worker.collect(NOW + timedelta(minutes=1))
    kept = status(bot)
    assert (kept["models_reloaded_at"], kept["reload_reason"]) == ("2024-03-08T04:00:00.000Z", "ETH/USDC version 3")
    assert kept["status"] == "idle"


def test_a_bot_that_does_not_train_starts_nothing_and_says_idle(bot: TradingBot, tmp_path: Path) -> None:
    worker = worker_of(bot, child(STEP), enabled=False)
    worker.collect(NOW)
    worker.stop()
    with closing(sqlite3.connect(tmp_path / "bn_ml.db")) as connection:
        ((kept,),) = connection.execute("SELECT value_json FROM kv_state WHERE key = 'training_status'").fetchall()
    assert json.loads(kept)["status"] == "idle"


def test_the_trainer_is_told_symbols_market_and_instant(bot: TradingBot, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "ml_engine.retraining"):
        run_to_end(bot, TrainingFinished("completed"))
    (told,) = (record.getMessage() for record in caplog.records if record.getMessage().startswith("trainer: ["))
    wanted = ("'--symbol', 'BTC/USDC'", "'--market-data', 'replay'", "'--until', '2024-03-08T04:00:00.000Z'")
    assert all(part in told for part in wanted)
    assert "'--quick'" in told


def test_collecting_never_waits_for_the_child(bot: TradingBot) -> None:
    worker = worker_of(bot, child(then="threading.Event().wait()"))
    clock, begun = SystemClock(), SystemClock().monotonic()
    instants: list[datetime] = [NOW + timedelta(seconds=step) for step in range(20)]
    for instant in instants:
        worker.collect(instant)
    spent = clock.monotonic() - begun
    worker.stop()
    assert spent < 5

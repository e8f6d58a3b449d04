"""The bot's worker acts on what its book says: drift, lost quality, age; and remembers what it tried."""

from __future__ import annotations

import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.events import BundleRefused
from bn_ml.domain.market import Symbol, from_ms, iso, to_ms
from bn_ml.prediction_log import OutcomeRecord, PredictionLog, log_beside
from bn_ml.settings import Settings
from bn_ml.state_reader import StateReader
from data_manager.feature_engineer import FeatureEngineer
from data_manager.history import HistoryStore
from data_manager.sources.replay import ReplaySource
from ml_engine.bundle_store import BundleStore
from ml_engine.retraining import TrainingSupervisor
from ml_engine.training_locks import session_lock
from ml_engine.training_progress import Message, SymbolOutcome, TrainingFinished, encode
from scripts.training_worker import TrainingWorker
from scripts.wiring import Extras, TradingBot, open_bot
from scripts.worlds import World
from tests.fakes.bar_builders import BTC, START_MS, some_bars
from tests.fakes.bundle_builders import a_bundle

NOW = from_ms(START_MS + 400 * 900_000)
LOOK = timedelta(seconds=61)
ETH = Symbol("ETH/USDC")
KEPT = SymbolOutcome(
    "BTC/USDC",
    "kept_champion",
    reasons=("worse than the champion",),
    version=3,
    challenge={"compared": True, "champion_loss": 0.9, "challenger_loss": 0.95},
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for symbol in (BTC, ETH):
        HistoryStore(tmp_path / "history").write(some_bars(500, symbol=symbol))
    return Settings.from_mapping(
        {
            "base_quote": "USDC",
            "universe": {"training_symbols": ["BTC/USDC", "ETH/USDC"], "auto_train_missing": False},
            "data": {"replay_dir": str(tmp_path / "history")},
            "model": {"models_dir": str(tmp_path / "models")},
            "storage": {"sqlite_path": str(tmp_path / "bn_ml.db")},
        }
    )


def publish(settings: Settings, *, age: timedelta = timedelta(hours=10), symbol: Symbol = BTC) -> None:
    trained = NOW - age
    engineer = FeatureEngineer(settings.model)
    bundle = a_bundle(
        symbol=str(symbol),
        model_key=symbol.key,
        feature_hash=engineer.feature_hash,
        trained_at=trained,
        valid_from=trained,
        label_end=trained - timedelta(hours=1),
        validation_metrics={"log_loss": 0.9, "prior_log_loss": 1.0, "trades": 40, "win_rate": 0.5},
    )
    BundleStore(settings.model.models_dir, feature_hash=engineer.feature_hash).save(bundle)


@pytest.fixture
def bot(settings: Settings) -> Iterator[TradingBot]:
    publish(settings)
    clock = SimulatedClock(NOW)
    opened = open_bot(settings, World(clock, ReplaySource(settings.data.replay_dir, clock)), Extras())
    yield opened
    opened.close()


def worker_of(bot: TradingBot, *messages: Message, then: str = "", silent_s: float = 600.0) -> TrainingWorker:
    """A worker whose child tells messages and then does something."""
    program = f"import sys, threading\nprint(sys.argv[1:])\nfor line in {[*map(encode, messages)]!r}: print(line)\n"
    supervisor = TrainingSupervisor(
        command=[sys.executable, "-c", f"{program}sys.stdout.flush()\n{then}"], silent_s=silent_s
    )
    worker = TrainingWorker(bot.settings, bot.world, config=None, enabled=True, supervisor=supervisor)
    worker.attach(bot)
    return worker


def run_to_end(worker: TrainingWorker, now: datetime = NOW) -> None:
    worker.collect(now)
    for thread in threading.enumerate():
        if thread.name == "training-reader":
            thread.join(20)
    worker.collect(now + timedelta(seconds=1))


def status(bot: TradingBot) -> dict[str, object]:
    kept = bot.store.get("training_status")
    assert isinstance(kept, dict)
    return kept


def drift(bot: TradingBot, *symbols: Symbol) -> None:
    alarms = {str(symbol): {"detected": True, "since": iso(NOW - timedelta(hours=1))} for symbol in symbols}
    bot.store.put("drift_status", {"symbols": {**alarms, "OK/USDC": {"detected": False, "since": None}}}, NOW)


def test_a_young_bundle_starts_nothing(bot: TradingBot) -> None:
    worker = worker_of(bot)
    worker.collect(NOW)
    assert status(bot)["status"] == "idle"
    assert worker.waiting == {ETH: "missing_models: universe.auto_train_missing is off"}
    assert bot.store.get("retraining_waiting") == {"ETH/USDC": "missing_models: universe.auto_train_missing is off"}


def test_an_alarm_of_drift_trains_its_symbol_in_full(bot: TradingBot, caplog: pytest.LogCaptureFixture) -> None:
    drift(bot, BTC)
    with caplog.at_level("INFO"):
        run_to_end(worker_of(bot, TrainingFinished("completed")))
    kept = status(bot)
    assert (kept["trigger"], kept["symbols_requested"], kept["hpo_enabled"]) == ("drift", 1, True)
    told = caplog.text
    assert "--no-hpo" not in told
    assert "--quick" not in told


@pytest.mark.parametrize(("days", "trigger"), [(5, ""), (6, "degradation")])
def test_words_that_came_true_too_rarely_are_a_degradation(settings: Settings, days: int, trigger: str) -> None:
    publish(settings, age=timedelta(days=6, hours=12))
    retraining = settings.model.retraining.model_copy(update={"interval_hours": 720.0})
    rarely = settings.model_copy(update={"model": settings.model.model_copy(update={"retraining": retraining})})
    clock = SimulatedClock(NOW)
    opened = open_bot(rarely, World(clock, ReplaySource(settings.data.replay_dir, clock)), Extras())
    said_and_came_otherwise(opened.store.path, [to_ms(NOW) - step * 10 * 900_000 for step in range(1, days * 9)])
    run_to_end(worker_of(opened, TrainingFinished("completed")))
    assert status(opened)["trigger"] == trigger
    opened.close()


def said_and_came_otherwise(book: Path, instants: list[int]) -> None:
    """Predictions of version 1 that BUY was all but impossible, and BUY each time."""
    log = PredictionLog(log_beside(book))
    log.settle([OutcomeRecord(BTC, at, 1, 2, 0.01) for at in instants])
    log.close()
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.executemany(
            "INSERT INTO predictions (symbol, close_ms, version, sell, hold, buy, width, volatility, action, gates, "
            "source) VALUES ('BTC/USDC', ?, 1, 0.5, 0.45, 0.05, 0.01, 0.003, 'HOLD', '[]', 'test')",
            [(at,) for at in instants],
        )


@pytest.mark.parametrize(("hours", "trigger"), [(200, "startup"), (10, "")])
def test_what_is_old_at_the_start_is_trained_for_the_start(settings: Settings, hours: int, trigger: str) -> None:
    publish(settings, age=timedelta(hours=hours))
    clock = SimulatedClock(NOW)
    opened = open_bot(settings, World(clock, ReplaySource(settings.data.replay_dir, clock)), Extras())
    run_to_end(worker_of(opened, TrainingFinished("completed")))
    assert status(opened)["trigger"] == trigger
    opened.close()


def test_the_cooldown_survives_a_restart(bot: TradingBot) -> None:
    drift(bot, BTC)
    run_to_end(worker_of(bot, then="sys.exit(1)"))
    again = worker_of(bot, then="sys.exit(1)")
    again.collect(NOW + LOOK)
    assert status(bot)["started_at"] == iso(NOW)
    assert again.waiting[BTC].startswith("drift: failed, rests until 2024-03-08T10:00")


def test_a_training_called_off_by_the_end_of_the_bot_may_be_made_again_at_once(bot: TradingBot) -> None:
    drift(bot, BTC)
    worker = worker_of(bot, then="threading.Event().wait()")
    worker.collect(NOW)
    worker.stop()
    assert status(bot)["status"] == "stopped"
    run_to_end(worker_of(bot, TrainingFinished("completed")), NOW + LOOK)
    assert (status(bot)["status"], status(bot)["started_at"]) == ("completed", iso(NOW + LOOK))


def test_a_champion_kept_is_counted_and_its_challenge_recorded(bot: TradingBot) -> None:
    drift(bot, BTC)
    run_to_end(worker_of(bot, KEPT, TrainingFinished("completed", kept_champion=("BTC/USDC",))))
    kept = status(bot)
    assert (kept["symbols_kept_champion"], kept["symbols_trained"], kept["last_error"]) == (1, 0, "")
    row = StateReader(bot.store.path).latest_metrics()[0].metrics
    assert (row["event"], row["version"], row["reason"]) == ("kept_champion", 3, "worse than the champion")
    assert row["challenge"] == {"compared": True, "champion_loss": 0.9, "challenger_loss": 0.95}


def test_nothing_is_started_while_another_process_trains(bot: TradingBot, settings: Settings) -> None:
    drift(bot, BTC)
    worker = worker_of(bot, TrainingFinished("completed"))
    with session_lock(Path(settings.model.models_dir), "bnml-trainer"):
        worker.collect(NOW)
        assert worker.waiting[BTC].startswith("running elsewhere: bnml-trainer (process ")
        assert status(bot)["status"] == "idle"
    run_to_end(worker, NOW + LOOK)
    assert status(bot)["status"] == "completed"


def test_a_process_that_keeps_failing_is_started_ever_less_often(bot: TradingBot, settings: Settings) -> None:
    restless = settings.model.retraining.model_copy(update={"cooldown_hours": 0.0})
    fast = settings.model_copy(update={"model": settings.model.model_copy(update={"retraining": restless})})
    drift(bot, BTC)
    supervisor = TrainingSupervisor(command=[sys.executable, "-c", "import sys; sys.exit('no memory left')"])
    worker = TrainingWorker(fast, bot.world, config=None, enabled=True, supervisor=supervisor)
    worker.attach(bot)
    started = set()
    for minute in range(0, 60):
        run_to_end(worker, NOW + timedelta(minutes=minute))
        started.add(str(status(bot)["started_at"]))
    assert len(started) == 4, started
    assert "no memory left" in str(status(bot)["last_error"])


def test_a_hung_training_is_told_as_such(bot: TradingBot) -> None:
    drift(bot, BTC)
    worker = worker_of(bot, then="threading.Event().wait()", silent_s=0.3)
    worker.collect(NOW)
    seconds = 0
    while status(bot)["status"] == "running":
        threading.Event().wait(0.05)
        seconds += 1
        worker.collect(NOW + timedelta(seconds=1))
        assert seconds < 400
    assert status(bot)["status"] == "failed"
    assert "hung: no message for" in str(status(bot)["last_error"])


def test_a_refused_newer_bundle_gets_a_look_of_patience_then_the_old_one_is_put_back(
    bot: TradingBot, settings: Settings
) -> None:
    bot.predictor.adopt(NOW)
    publish(settings, age=timedelta(hours=1))
    folder = Path(settings.model.models_dir) / BTC.key
    (folder / "reference.npz").write_bytes(b"x")
    worker = worker_of(bot)
    worker.emit(BundleRefused(NOW, BTC, "bundle_refused"))
    worker.collect(NOW)
    assert (folder / "reference.npz").read_bytes() == b"x"
    worker.collect(NOW + LOOK)
    assert re.search(r'"version":3', (folder / "manifest.json").read_text().replace(" ", ""))
    assert bot.bundles.load(BTC).metadata.pinned is not None
    worker.stop()


@pytest.mark.parametrize("content", [None, [], {"symbols": 3}, {"symbols": {"BTC/USDC": {"detected": True}}}])
def test_a_drift_status_nobody_understands_is_no_drift(content: object, bot: TradingBot) -> None:
    bot.store.put("drift_status", content, NOW)
    worker_of(bot).collect(NOW)
    assert status(bot)["status"] == "idle"

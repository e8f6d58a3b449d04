"""The record of a training, also of one the bot did not begin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.events import BundleAdopted
from bn_ml.domain.market import from_ms
from bn_ml.settings import Settings
from data_manager.history import HistoryStore
from data_manager.sources.replay import ReplaySource
from ml_engine.retraining import TrainingSupervisor
from ml_engine.training_locks import session_lock
from ml_engine.training_progress import SymbolOutcome, TrainingFinished, TrainingProgress
from scripts.training_status import RUNNING, SharedStatus, begun, followed, shared_status
from scripts.training_worker import TrainingWorker
from scripts.wiring import Extras, TradingBot, open_bot
from scripts.worlds import World
from tests.fakes.bar_builders import BTC, START_MS, some_bars

NOW = from_ms(START_MS + 400 * 900_000)
BEGUN = begun("manual_cli", 4, NOW, hpo=True)


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[TradingBot]:
    HistoryStore(tmp_path / "history").write(some_bars(500))
    settings = Settings.from_mapping(
        {
            "universe": {"training_symbols": ["BTC/USDC"], "auto_train_missing": False},
            "data": {"replay_dir": str(tmp_path / "history")},
            "model": {"models_dir": str(tmp_path / "models")},
            "storage": {"sqlite_path": str(tmp_path / "bn_ml.db")},
        }
    )
    clock = SimulatedClock(NOW)
    opened = open_bot(settings, World(clock, ReplaySource(settings.data.replay_dir, clock)), Extras())
    yield opened
    opened.close()


def status_of(bot: TradingBot, worker: TrainingWorker, minutes: int) -> dict[str, object]:
    worker.collect(NOW + timedelta(minutes=minutes))
    kept = bot.store.get("training_status")
    assert isinstance(kept, dict)
    return kept


def a_worker(bot: TradingBot) -> TrainingWorker:
    supervisor = TrainingSupervisor(command=[sys.executable, "-c", ""])
    worker = TrainingWorker(bot.settings, bot.world, config=None, enabled=True, supervisor=supervisor)
    worker.attach(bot)
    return worker


def test_the_record_follows_each_outcome_to_the_end() -> None:
    status = BEGUN
    for result in ("trained", "kept_champion", "up_to_date"):
        status = followed(status, SymbolOutcome("BTC/USDC", result), NOW)
    status = followed(status, SymbolOutcome("ETH/USDC", "failed", reasons=("rare_class: a", "b")), NOW)
    counts = (status.symbols_trained, status.symbols_kept_champion, status.symbols_skipped_up_to_date)
    assert (counts, status.symbols_errors) == ((1, 1, 1), 1)
    assert status.last_error == "ETH/USDC: rare_class: a; b"
    ended = followed(status, TrainingFinished("completed_with_errors", failed=("ETH/USDC",)), NOW)
    assert (ended.status, ended.progress_pct, ended.eta_s) == ("completed_with_errors", 100.0, None)
    assert (ended.last_error, ended.hpo_enabled, ended.trigger) == (status.last_error, True, "manual_cli")


def test_the_time_left_stays_until_it_is_told_anew() -> None:
    after = followed(BEGUN, TrainingProgress("BTC/USDC", "done", 1, 4, 1, eta_s=30.0), NOW)
    searching = followed(after, TrainingProgress("ETH/USDC", "search lgb 3/30", 2, 4, 1), NOW)
    assert (searching.phase, searching.eta_s, searching.progress_pct) == ("search lgb 3/30", 30.0, 25.0)
    assert (searching.symbols_completed, searching.symbols_queued, searching.current_index) == (1, 3, 2)


def test_a_run_of_another_process_is_shown_while_it_lasts_and_how_it_ended(bot: TradingBot) -> None:
    models, worker = Path(bot.settings.model.models_dir), a_worker(bot)
    worker.emit(BundleAdopted(NOW, BTC, 2))
    assert status_of(bot, worker, 0)["status"] == "idle"
    with session_lock(models, "bnml-trainer"):
        shared = SharedStatus(models, BEGUN, SimulatedClock(NOW))
        shared.hear(TrainingProgress("BTC/USDC", "fit", 1, 4, 0))
        kept = status_of(bot, worker, 1)
        assert (kept["status"], kept["trigger"], kept["phase"]) == (RUNNING, "manual_cli", "fit")
        assert kept["reload_reason"] == "BTC/USDC version 2"
        shared.hear(TrainingFinished("completed"))
    assert status_of(bot, worker, 2)["status"] == "completed"
    assert status_of(bot, worker, 3)["status"] == "completed"


def test_a_run_that_died_elsewhere_is_not_shown_as_running(bot: TradingBot) -> None:
    models, worker = Path(bot.settings.model.models_dir), a_worker(bot)
    with session_lock(models, "bnml-trainer-auto"):
        SharedStatus(models, BEGUN, SimulatedClock(NOW))
        assert status_of(bot, worker, 0)["status"] == RUNNING
    kept = status_of(bot, worker, 1)
    assert (kept["status"], kept["phase"]) == ("stopped", "")


def test_an_old_record_of_another_process_is_no_news(bot: TradingBot) -> None:
    models, worker = Path(bot.settings.model.models_dir), a_worker(bot)
    with session_lock(models, "bnml-trainer"):
        SharedStatus(models, BEGUN, SimulatedClock(NOW))
    assert status_of(bot, worker, 0)["status"] == "idle"


def test_a_record_that_cannot_be_written_or_read_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = SharedStatus(tmp_path / "absent", BEGUN, SimulatedClock(NOW))
    shared.hear(TrainingFinished("completed"))
    assert len([record for record in caplog.records if "not shown elsewhere" in record.getMessage()]) == 1
    assert shared_status(tmp_path / "absent") is None
    (tmp_path / ".training").mkdir()
    (tmp_path / ".training" / "status.json").write_text("nonsense")
    assert shared_status(tmp_path) is None

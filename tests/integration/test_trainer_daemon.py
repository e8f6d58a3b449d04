"""`bnml-trainer-auto` as users run it: triggers, patience while others train, an orderly end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.config import load_settings
from bn_ml.domain.market import Symbol, iso
from bn_ml.state_store import StateStore
from data_manager.feature_engineer import FeatureEngineer
from data_manager.history import HistoryStore
from ml_engine.bundle_store import BundleStore
from ml_engine.training_attempts import TrainingAttempts
from ml_engine.training_locks import running_session, session_lock
from scripts import run_trainer_auto
from tests.fakes.bar_builders import START_MS, some_bars
from tests.fakes.bundle_builders import a_bundle

ROOT = Path(__file__).resolve().parents[2]
GOOD, FEW = Symbol("GOOD/USDC"), Symbol("FEW/USDC")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    HistoryStore(folder).write(some_bars(5_200, symbol=GOOD))
    HistoryStore(folder).write(some_bars(300, symbol=FEW, start_ms=START_MS + 4_900 * 900_000))
    return folder


@pytest.fixture
def config(history: Path, tmp_path: Path) -> Path:
    path = tmp_path / "bot.yaml"
    path.write_text(
        "universe: {training_symbols: [FEW/USDC]}\n"
        f"data: {{paper_market_data_mode: replay, replay_dir: {history}}}\n"
        f"model: {{models_dir: {tmp_path}/models, training_window_days: 45, min_train_rows: 500}}\n"
        f"storage: {{sqlite_path: {tmp_path}/bn_ml.db}}\n",
        encoding="utf-8",
    )
    return path


@contextmanager
def daemon(config: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.run_trainer_auto", "--config", str(config), "--quick", *flags],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"ended without {text!r}")


def test_a_signal_in_the_middle_of_a_training_ends_it_at_once_and_leaves_no_bundle(
    config: Path, tmp_path: Path
) -> None:
    clock = SystemClock()
    with daemon(config, "--symbol", "GOOD/USDC") as process:
        read_until(process, "features and labels")
        assert running_session(tmp_path / "models").startswith("bnml-trainer-auto (process ")
        asked = clock.monotonic()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 0, output
        assert clock.monotonic() - asked < 10
    assert "what was not finished keeps its bundle" in output
    assert running_session(tmp_path / "models") == ""
    assert BundleStore(tmp_path / "models").symbols() == ()
    assert TrainingAttempts(tmp_path / "models").all() == {}


def test_it_idles_while_the_bot_trains(config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), session_lock(tmp_path / "models", "bnml-bot"):
        assert run_trainer_auto.main(["--config", str(config), "--max-cycles", "1", "--fail-fast"]) == 0
    assert "idle, FEW/USDC: running elsewhere: bnml-bot (process" in caplog.text


def test_a_failed_symbol_rests_and_only_fail_fast_makes_it_an_exit_code(
    config: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    flags = ["--config", str(config), "--quick", "--max-cycles", "1"]
    with caplog.at_level("INFO"):
        assert run_trainer_auto.main([*flags, "--fail-fast"]) == 1
        assert "failed: FEW/USDC" in capsys.readouterr().err
        assert run_trainer_auto.main([*flags, "--fail-fast"]) == 0
    assert "idle, FEW/USDC: missing_models: failed, rests until" in caplog.text


def test_an_alarm_in_the_book_of_the_bot_trains_its_symbol(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(config).settings
    engineer, now = FeatureEngineer(settings.model), SystemClock().now()
    bundle = a_bundle(
        symbol=str(FEW),
        model_key=FEW.key,
        feature_hash=engineer.feature_hash,
        trained_at=now,
        valid_from=now,
        label_end=now - timedelta(hours=1),
    )
    BundleStore(tmp_path / "models", feature_hash=engineer.feature_hash).save(bundle)
    book = StateStore(tmp_path / "bn_ml.db")
    before = ["--config", str(config), "--quick", "--max-cycles", "1"]
    with caplog.at_level("INFO"):
        assert run_trainer_auto.main(before) == 0
        assert "idle, nothing is due" in caplog.text
        book.put("drift_status", {"symbols": {str(FEW): {"detected": True, "since": iso(now)}}}, now)
        assert run_trainer_auto.main(before) == 1
    assert "training started trigger=drift symbols=FEW/USDC" in caplog.text
    assert "failed: FEW/USDC" in capsys.readouterr().err
    book.close()


def test_a_signal_while_it_waits_or_still_starts_ends_it_in_order(config: Path) -> None:
    with daemon(config, "--startup-delay-seconds", "600") as process:
        SystemClock().sleep_until(SystemClock().now() + timedelta(seconds=3))
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        assert process.returncode == 0, output


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--interval-seconds", "29"], "at least 30"),
        (["--interval-seconds", "nan"], "at least 30"),
        (["--startup-delay-seconds", "-1"], "must not be negative"),
        (["--startup-delay-seconds", "inf"], "must not be negative"),
        (["--max-cycles", "-1"], "must not be negative"),
    ],
)
def test_numbers_nobody_can_mean_are_refused(
    config: Path, capsys: pytest.CaptureFixture[str], flags: list[str], text: str
) -> None:
    assert run_trainer_auto.main(["--config", str(config), *flags]) == 2
    assert text in capsys.readouterr().err

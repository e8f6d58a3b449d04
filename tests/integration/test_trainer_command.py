"""`bnml-trainer` as users run it: clear answers, exit codes, no traceback, one failure does not stop the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol, from_iso
from ml_engine.bundle_store import BundleStore
from ml_engine.training_progress import SymbolOutcome, TrainingFinished, TrainingProgress, decode
from scripts import run_trainer, run_trainer_auto

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path, market_data: Path) -> Path:
    """Two months of recorded bars of two real symbols, and one symbol that has none."""
    path = tmp_path / "bot.yaml"
    path.write_text(
        "base_quote: USDT\n"
        f"data: {{paper_market_data_mode: replay, replay_dir: {market_data / 'spot_2022_2023'}}}\n"
        "universe: {training_symbols: [SOL/USDT, NONE/USDT]}\n"
        f"model: {{models_dir: {tmp_path / 'models'}, training_window_days: 60, min_train_rows: 1000}}\n",
        encoding="utf-8",
    )
    return path


def trainer(config: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.run_trainer", "--config", str(config), "--quick", "--jobs", "1", *flags]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def test_one_symbol_without_data_fails_and_the_other_is_trained(config: Path, tmp_path: Path) -> None:
    done = trainer(config, "--progress-json", "--until", "2023-06-01")
    messages = [decode(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert "failed: NONE/USDT" in done.stderr
    assert "Traceback" not in done.stderr
    outcomes = {message.symbol: message for message in messages if isinstance(message, SymbolOutcome)}
    assert outcomes["SOL/USDT"].result == "trained"
    assert "data_unavailable" in outcomes["NONE/USDT"].reasons[0]
    assert any(isinstance(message, TrainingProgress) and message.phase == "fit" for message in messages)
    assert messages[-1] == TrainingFinished("completed_with_errors", ("SOL/USDT",), ("NONE/USDT",))
    metadata = BundleStore(tmp_path / "models").as_of(Symbol("SOL/USDT"), from_iso("2023-06-01")).metadata
    assert metadata.data_span.end < from_iso("2023-06-01")
    assert metadata.base_rates["BUY"] > 0.1


def test_a_young_bundle_is_left_alone_unless_all_are_asked_for(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--config", str(config), "--quick", "--jobs", "1", "--until", "2023-06-01", "--json"]
    assert run_trainer.main([*flags, "--symbol", "SOL/USDT"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["symbols"][0]["verdict"] in {"tradable", "no skill"}
    assert run_trainer.main([*flags, "--train-missing-only"]) == 1
    second = json.loads(capsys.readouterr().out)
    assert second["up_to_date"] == ["SOL/USDT"]
    assert (
        run_trainer.main([*flags, "--train-missing-only", "--max-model-age-hours", "0.0001", "--symbol", "SOL/USDT"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["up_to_date"] == ["SOL/USDT"]


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        (["--symbol", "SOL"], 2, "must look like BTC/USDC"),
        (["--until", "soon"], 2, "not a date like 2023-06-01"),
        (["--jobs", "0"], 2, "whole number above 0"),
        (["--max-model-age-hours", "-1"], 2, "number above 0"),
        (["--train-all", "--train-missing-only"], 2, "not allowed with"),
        (["--symbol", "SOL/USDT", "--until", "2022-08-20"], 1, "failed: SOL/USDT"),
    ],
)
def test_wrong_input_is_told_in_a_line(
    config: Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, text: str
) -> None:
    try:
        found = run_trainer.main(["--config", str(config), "--quick", *flags])
    except SystemExit as leave:
        found = int(str(leave.code))
    assert found == code
    assert text in capsys.readouterr().err


def test_the_loop_refuses_to_run_without_pause(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_trainer_auto.main(["--config", str(config), "--interval-seconds", "29"]) == 2
    assert "at least 30" in capsys.readouterr().err


def test_the_loop_stops_at_its_first_failure_when_asked_to(config: Path) -> None:
    flags = ["--config", str(config), "--quick", "--symbol", "NONE/USDT", "--interval-seconds", "30", "--fail-fast"]
    assert run_trainer_auto.main(flags) == 1

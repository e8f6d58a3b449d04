"""What was tried when is known after a restart and in every process; locks end with their process."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol
from ml_engine.retraining_triggers import Attempt
from ml_engine.training_attempts import TrainingAttempts
from ml_engine.training_locks import running_session, session_lock, symbol_lock

NOW = datetime(2024, 5, 1, tzinfo=timezone.utc)
LATER = NOW + timedelta(hours=7)
BTC, ETH = Symbol("BTC/USDC"), Symbol("ETH/USDC")
ROOT = Path(__file__).resolve().parents[3]


def test_an_attempt_is_known_to_another_process_and_after_a_restart(tmp_path: Path) -> None:
    TrainingAttempts(tmp_path).begin([BTC], NOW)
    assert TrainingAttempts(tmp_path).all() == {BTC: Attempt(NOW, "", 0)}


def test_failures_are_counted_in_a_row_and_a_success_forgets_them(tmp_path: Path) -> None:
    attempts = TrainingAttempts(tmp_path)
    for count in (1, 2):
        attempts.begin([BTC], NOW)
        attempts.end(BTC, "failed", NOW)
        assert attempts.all()[BTC] == Attempt(NOW, "failed", count)
    attempts.begin([BTC], LATER)
    assert attempts.all()[BTC] == Attempt(LATER, "", 2)
    attempts.end(BTC, "kept_champion", LATER)
    assert attempts.all()[BTC] == Attempt(LATER, "kept_champion", 0)


def test_an_attempt_called_off_is_forgotten(tmp_path: Path) -> None:
    attempts = TrainingAttempts(tmp_path)
    attempts.begin([BTC, ETH], NOW)
    attempts.withdraw([BTC])
    assert set(TrainingAttempts(tmp_path).all()) == {ETH}


def test_two_processes_do_not_overwrite_each_others_attempts(tmp_path: Path) -> None:
    one, other = TrainingAttempts(tmp_path), TrainingAttempts(tmp_path)
    one.begin([BTC], NOW)
    other.begin([ETH], LATER)
    one.end(BTC, "trained", NOW)
    assert set(TrainingAttempts(tmp_path).all()) == {BTC, ETH}


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", '{"BTC/USDC": {"at": "soon"}}', '{"X": 3}'])
def test_a_record_nobody_understands_costs_only_the_memory(text: str, tmp_path: Path) -> None:
    TrainingAttempts(tmp_path).begin([BTC], NOW)
    (tmp_path / ".training" / "attempts.json").write_text(text)
    attempts = TrainingAttempts(tmp_path)
    assert attempts.all() == {}
    attempts.begin([ETH], LATER)
    assert TrainingAttempts(tmp_path).all() == {ETH: Attempt(LATER, "", 0)}


def test_a_folder_that_cannot_be_written_costs_only_the_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "models").write_text("a file, no folder")
    attempts = TrainingAttempts(tmp_path / "models")
    attempts.begin([BTC], NOW)
    attempts.end(BTC, "failed", NOW)
    assert attempts.all() == {BTC: Attempt(NOW, "failed", 1)}
    assert len([record for record in caplog.records if "not kept" in record.getMessage()]) == 1


def test_a_symbol_is_trained_by_one_at_a_time(tmp_path: Path) -> None:
    with symbol_lock(tmp_path, BTC) as first, symbol_lock(tmp_path, BTC) as second, symbol_lock(tmp_path, ETH) as other:
        assert (first, second, other) == (True, False, True)
    with symbol_lock(tmp_path, BTC) as again:
        assert again


def test_a_run_is_named_as_long_as_its_process_lives(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom ml_engine.training_locks import session_lock\n"
        f"with session_lock(Path({str(tmp_path)!r}), 'elsewhere') as mine:\n"
        "    print(mine, flush=True)\n    sys.stdin.read()\n"
    )
    assert running_session(tmp_path) == ""
    child = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "True"
    assert running_session(tmp_path) == f"elsewhere (process {child.pid})"
    with session_lock(tmp_path, "here") as mine:
        assert not mine
    child.kill()
    child.communicate()
    assert running_session(tmp_path) == ""
    with session_lock(tmp_path, "here") as mine:
        assert mine

"""`bnml-kill-switch`: what it shows of the control state and how trading goes on after a halt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.domain.account import ControlState
from bn_ml.state_store import StateStore
from scripts.kill_switch import main


@pytest.fixture
def halted(tmp_path: Path) -> Path:
    store = StateStore(tmp_path / "bn_ml.db")
    now = SystemClock().now()
    store.bind_book("paper", "paper", now)
    store.start_epoch(now, "start")
    store.set_control(ControlState.HALTED, "breaker_drawdown", "engine", now)
    store.close()
    config = tmp_path / "bot.yaml"
    config.write_text(f"storage: {{sqlite_path: {tmp_path}/bn_ml.db}}\n")
    return config


def test_status_tells_state_and_cause(halted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(halted), "--status", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["reason"], shown["positions"]) == ("HALTED", "breaker_drawdown", [])


def test_resume_needs_a_reason(halted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(halted), "--resume"]) == 2
    assert "--reason" in capsys.readouterr().err


def test_resume_commits_normal_under_a_new_epoch(halted: Path) -> None:
    assert main(["--config", str(halted), "--resume", "--reason", "looked at it"]) == 0
    store = StateStore(halted.parent / "bn_ml.db")
    control = store.control()
    store.close()
    assert (control.state, control.reason, control.epoch) == (ControlState.NORMAL, "resumed: looked at it", 3)


def test_a_missing_book_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "bot.yaml"
    config.write_text(f"storage: {{sqlite_path: {tmp_path}/none.db}}\n")
    assert main(["--config", str(config), "--status"]) == 1
    assert "none.db" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()


def test_selling_is_told_to_be_not_built_yet(halted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(halted)]) == 2
    assert "not built yet" in capsys.readouterr().err

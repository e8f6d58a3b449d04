"""The bot of a campaign as a real child process: started again when it dies, ended in order, killed when it hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from bn_ml.clock import SystemClock
from bn_ml.domain.market import from_iso
from scripts.dod_child import PAUSES_S, STEADY_S, BotProcess, bot_command

ROOT = Path(__file__).resolve().parents[2]
LISTENS = "import signal, sys, time\nsignal.signal(signal.SIGTERM, {})\nprint('up', flush=True)\ntime.sleep(60)"
OBEYS, HANGS = LISTENS.format("lambda *_: sys.exit(0)"), LISTENS.format("signal.SIG_IGN")


class HandClock(SystemClock):
    """A clock whose monotonic seconds a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def dead(bot: BotProcess) -> int:
    """Wait until the bot has ended and give its exit code."""
    assert bot._child is not None
    return bot._child.wait(10)


def bot_of(code: str, clock: HandClock) -> BotProcess:
    return BotProcess([sys.executable, "-c", code], clock, ends_within_s=0.3)


def test_a_bot_that_dies_is_started_again_after_growing_pauses() -> None:
    clock = HandClock()
    bot = bot_of("raise SystemExit(70)", clock)
    assert bot.tend() == ""
    for place, pause in enumerate((*PAUSES_S, PAUSES_S[-1])):
        assert dead(bot) == 70
        assert bot.tend() == ""
        clock.seconds += pause - 0.01
        assert bot.tend() == ""
        assert bot.restarts == place
        clock.seconds += 0.02
        assert bot.tend() == ""
        assert bot.restarts == place + 1
    bot.stop()


def test_a_bot_that_ran_for_long_is_started_again_soon() -> None:
    clock = HandClock()
    bot = bot_of("raise SystemExit(1)", clock)
    for _ in range(3):
        bot.tend()
        dead(bot)
        bot.tend()
        clock.seconds += 60
    bot.tend()
    dead(bot)
    clock.seconds += STEADY_S
    bot.tend()
    before = bot.restarts
    clock.seconds += PAUSES_S[0] + 0.01
    bot.tend()

    assert bot.restarts == before + 1
    bot.stop()


def test_a_refused_configuration_is_of_no_use_to_try_again() -> None:
    bot = bot_of("raise SystemExit(2)", HandClock())
    bot.tend()
    dead(bot)

    assert "exit 2" in bot.tend()
    bot.stop()


@pytest.mark.parametrize(("code", "ended"), [(OBEYS, 0), (HANGS, -signal.SIGKILL)])
def test_a_stop_ends_the_bot_in_order_and_kills_one_that_hangs(
    code: str, ended: int, capfd: pytest.CaptureFixture[str]
) -> None:
    bot = bot_of(code, HandClock())
    bot.tend()
    child = bot._child
    assert child is not None
    until(lambda: "up" in capfd.readouterr().err)

    bot.stop()

    assert child.returncode == ended
    bot.stop()


def test_the_bot_is_run_on_paper_with_live_prices() -> None:
    command = bot_command(("--disable-retrain",))

    assert command[1:] == ("-m", "scripts.run_bot", "--paper", "--market-data", "live", "--disable-retrain")


def test_a_campaign_keeps_its_bot_trying_sums_up_when_told_to_stop_and_goes_on_later(tmp_path: Path) -> None:
    config = tmp_path / "bot.yaml"
    settings = {
        # Nobody listens there: the bot ends with the code for it and is started again.
        "exchange": {"base_url": "http://127.0.0.1:9", "retry_attempts": 0, "timeout_ms": 1000},
        "storage": {"sqlite_path": str(tmp_path / "state" / "bn_ml.db"), "backup": {"enabled": False}},
        "monitoring": {"logs_dir": str(tmp_path / "logs"), "metrics_dir": str(tmp_path / "metrics")},
        "model": {"models_dir": str(tmp_path / "models")},
    }
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "scripts.run_dod_30d", "--config", str(config), "--days", "3"]
    command += ["--disable-retrain", "--daily-out-dir", "daily", "--summary-out", "s.md", "--summary-json", "s.json"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    campaign = subprocess.Popen(
        command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    told: list[str] = []
    try:
        assert campaign.stderr is not None
        for line in campaign.stderr:
            told.append(line)
            if "bot ended (exit 4)" in line:
                break
        second = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30, check=False
        )
        assert second.returncode == 75, second.stderr
        campaign.send_signal(signal.SIGTERM)
        out, err = campaign.communicate(timeout=20)
    finally:
        campaign.kill()

    assert campaign.returncode == 0, "".join(told) + err
    assert out.startswith("# Paper run: not done")
    assert "paper campaign of 3 days began" in "".join(told)
    summary = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert (summary["days_target"], summary["run_days_observed"], summary["reports_count"]) == (3, 0, 0)
    state = json.loads((tmp_path / "state" / "dod_campaign.json").read_text(encoding="utf-8"))
    assert state["finished_at"] is None
    assert abs((SystemClock().now() - from_iso(state["started_at"])).total_seconds()) < 120


def until(holds: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Wait until something holds."""
    clock = SystemClock()
    give_up = clock.monotonic() + limit_s
    while not holds():
        assert clock.monotonic() < give_up, "it never came about"
        clock.sleep_until(clock.now() + timedelta(milliseconds=10))

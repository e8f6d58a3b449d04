"""A bot whose loop is stuck ends itself, tells why, and recovers when it is started again."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("BINANCE", "BNML", "TELEGRAM"))}
FLAGS = ("--paper", "--market-data", "synthetic", "--disable-retrain", "--no-dashboard")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command, "--config", str(folder / "bot.yaml"), *FLAGS],
        cwd=folder,
        env={
            **CLEAN,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "BNML_ALERT_WEBHOOK_URL": "http://127.0.0.1:9/x",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("stalled")
    (folder / "bot.yaml").write_text(
        "universe: {training_symbols: [BTC/USDC]}\n"
        "scanner: {scan_interval_sec: 15}\n"
        "data: {synthetic_speed: 60}\n"
        f"storage: {{sqlite_path: {folder}/state/bn_ml.db, backup: {{base_dir: {folder}/backups}}}}\n"
        f"model: {{models_dir: {folder}/models}}\n"
        "monitoring:\n"
        f"  logs_dir: {folder}/logs\n"
        f"  metrics_dir: {folder}/metrics\n"
        "  alerting: {webhook: {enabled: true}, timeout_sec: 0.5}\n",
        encoding="utf-8",
    )
    return folder, run(folder, "tests.fakes.troubled_bot", "stall")


def test_it_ends_with_the_code_that_has_it_restarted(
    stalled: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert stalled[1].returncode == 70, stalled[1].stderr


def test_the_threads_are_written_down(stalled: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    (dump,) = (stalled[0] / "logs").glob("stall-*.txt")
    written = dump.read_text(encoding="utf-8")
    assert "wait_for_ever" in written
    assert written.count("Thread ") + written.count("Current thread ") >= 3


def test_the_log_and_the_stored_alert_say_where_it_stood(
    stalled: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = stalled
    assert "at step 'cycle'; the process ends" in done.stderr
    assert "CRITICAL" in (folder / "logs" / "bnml.log").read_text(encoding="utf-8")
    with closing(sqlite3.connect(folder / "state" / "alerts.db")) as connection:
        titles = [title for (title,) in connection.execute("SELECT title FROM critical")]
    assert any("stood still" in title for title in titles)


def test_readers_had_the_health_of_loop_and_workers(
    stalled: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    with closing(sqlite3.connect(stalled[0] / "state" / "bn_ml.db")) as connection:
        ((text,),) = connection.execute("SELECT value_json FROM kv_state WHERE key = 'heartbeat'").fetchall()
    record = json.loads(text)
    assert record["pid"] > 0
    assert {"alerts", "metrics", "backups", "training"} <= set(record["workers"])
    assert all(row["alive"] for row in record["workers"].values())


def test_the_next_start_recovers(stalled: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    done = run(stalled[0], "scripts.run_bot", "--once", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["control_state"] == "NORMAL"

"""What a bot does beside its loop, as a process: it tells people, keeps records, and ends in time."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.alert_receivers import WebReceiver
from tests.fakes.stream_server import until

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("BINANCE", "BNML", "TELEGRAM"))}
FLAGS = ("--paper", "--market-data", "synthetic", "--disable-retrain", "--no-dashboard")
TOKEN = "123456:canary-token"


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    with WebReceiver() as opened:
        yield opened


def heard(receiver: WebReceiver, words: str) -> bool:
    return any(words in post.text for post in receiver.posts)


def configured(folder: Path, **others: str) -> Path:
    sections = {
        "universe": "{training_symbols: [BTC/USDC]}",
        "scanner": "{scan_interval_sec: 15}",
        "data": "{synthetic_speed: 60}",
        "storage": f"{{sqlite_path: {folder}/state/bn_ml.db, backup: {{base_dir: {folder}/backups}}}}",
        "model": f"{{models_dir: {folder}/models}}",
        "monitoring": (
            f"{{logs_dir: {folder}/logs, metrics_dir: {folder}/metrics, "
            "alerting: {webhook: {enabled: true}, timeout_sec: 1, dedupe_sec: 0}}"
        ),
    }
    path = folder / "bot.yaml"
    path.write_text("".join(f"{name}: {text}\n" for name, text in (sections | others).items()), encoding="utf-8")
    return path


def start(folder: Path, *command: str, url: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command, "--config", str(folder / "bot.yaml"), *FLAGS],
        cwd=folder,
        env={**CLEAN, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "BNML_ALERT_WEBHOOK_URL": url, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kept(folder: Path) -> dict[str, object]:
    with closing(sqlite3.connect(folder / "state" / "bn_ml.db")) as connection:
        rows = connection.execute("SELECT key, value_json FROM kv_state").fetchall()
    return {key: json.loads(text) for key, text in rows}


def cycles(folder: Path) -> int:
    book = folder / "state" / "bn_ml.db"
    if not book.exists():
        return 0
    with closing(sqlite3.connect(f"{book.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'cycles'").fetchone()[0]
        return int(connection.execute("SELECT count(*) FROM cycles").fetchone()[0]) if known else 0


def test_people_hear_of_start_and_end_and_readers_find_every_record(tmp_path: Path, receiver: WebReceiver) -> None:
    configured(tmp_path)
    bot = start(tmp_path, "scripts.run_bot", "--max-cycles", "3", url=receiver.url)
    _, said = bot.communicate(timeout=60)
    assert bot.returncode == 0, said
    assert heard(receiver, "bot started")
    assert heard(receiver, "bot stopped")
    values = kept(tmp_path)
    assert {"heartbeat", "recent_alerts", "backup_status", "runtime_metrics"} <= set(values)
    assert any("bot started" in json.dumps(row) for row in values["recent_alerts"])  # type: ignore[attr-defined]


def test_one_cycle_is_told_makes_no_backup_and_shows_no_secret(tmp_path: Path, receiver: WebReceiver) -> None:
    configured(tmp_path)
    bot = start(tmp_path, "scripts.run_bot", "--once", url=f"{receiver.url}?token={TOKEN}")
    out, said = bot.communicate(timeout=60)
    assert bot.returncode == 0, said
    assert heard(receiver, "bot stopped")
    assert not (tmp_path / "backups").exists()
    assert "backup_status" not in kept(tmp_path)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert TOKEN not in out + said + "".join(post.text for post in receiver.posts)
    assert not any(TOKEN.encode() in content for content in written)


def test_an_error_that_ends_the_bot_is_told(tmp_path: Path, receiver: WebReceiver) -> None:
    configured(tmp_path)
    bot = start(tmp_path, "tests.fakes.troubled_bot", "break", url=receiver.url)
    bot.communicate(timeout=60)
    assert bot.returncode == 1
    assert heard(receiver, "the bot ends with an error: StateError")
    assert heard(receiver, "the book is torn")
    assert not heard(receiver, "bot stopped")


def test_a_webhook_that_never_answers_delays_neither_cycles_nor_the_end(tmp_path: Path, receiver: WebReceiver) -> None:
    receiver.hangs.set()
    configured(tmp_path)
    bot = start(tmp_path, "scripts.run_bot", url=receiver.url)
    until(lambda: cycles(tmp_path) >= 4, within_s=30)
    bot.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, said = bot.communicate(timeout=30)
    assert bot.returncode == 0, said
    assert time.monotonic() - began < 10
    assert len(kept(tmp_path)) > 5


def test_a_remote_control_that_cannot_work_never_starts(tmp_path: Path, receiver: WebReceiver) -> None:
    configured(tmp_path)
    bot = start(tmp_path, "scripts.run_bot", "--once", url=receiver.url, TELEGRAM_CONTROL="true")
    _, said = bot.communicate(timeout=60)
    assert bot.returncode == 2
    assert "TELEGRAM_BOT_TOKEN" in said
    assert not (tmp_path / "state" / "bn_ml.db").exists()


def test_a_book_that_cannot_be_opened_is_told(tmp_path: Path, receiver: WebReceiver) -> None:
    configured(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "bn_ml.db").write_bytes(b"no database" * 500)
    bot = start(tmp_path, "scripts.run_bot", "--once", url=receiver.url)
    bot.communicate(timeout=60)
    assert bot.returncode == 1
    assert heard(receiver, "the bot ends with an error: StateError")

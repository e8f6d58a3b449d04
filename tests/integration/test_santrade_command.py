"""`bnml-santrade-intel` as users run it: its own snapshot, never the book."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bn_ml.control import ProcessLock
from tests.fakes.bar_builders import START

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, str(REPOSITORY / "scripts" / "run_santrade_intelligence.py"))
CONFIG = """
data: {paper_market_data_mode: synthetic}
universe: {training_symbols: [BTC/USDC, ETH/USDC]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.yaml").write_text(CONFIG)
    return tmp_path


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "--config", "bot.yaml", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, text=True, env={**os.environ, "NO_COLOR": "1"}, **pipes)


def finish(folder: Path, *arguments: str) -> tuple[int, str, str]:
    child = begin(folder, *arguments)
    out, err = child.communicate(timeout=90)
    return child.returncode, out, err


def test_one_reading_writes_its_own_files_and_no_book(folder: Path) -> None:
    code, out, err = finish(folder, "--once", "--json")
    assert code == 0, err
    shown = json.loads(out)
    assert shown["total_symbols"] == 2
    assert shown["market_regime"] == "insufficient_data"
    assert json.loads((folder / "artifacts/metrics/latest_market_intelligence.json").read_text()) == shown
    assert not list(folder.rglob("*.db"))


@pytest.mark.parametrize(
    ("arguments", "config", "words"),
    [
        (("--interval-seconds", "14"), CONFIG, "at least 15"),
        (("--once",), CONFIG + "santrade_intelligence: {enabled: false}\n", "santrade_intelligence.enabled"),
        (("--once",), "data: {paper_market_data_mode: replay}\n", "data.paper_market_data_mode"),
        (("--paper", "--live"), CONFIG, "not allowed with"),
    ],
)
def test_bad_use_names_key_and_fix(folder: Path, arguments: tuple[str, ...], config: str, words: str) -> None:
    (folder / "bot.yaml").write_text(config)
    code, _, err = finish(folder, *arguments)
    assert code == 2
    assert words in err


def test_idles_while_a_bot_runs_and_ends_orderly_on_sigterm(folder: Path) -> None:
    book = folder / "artifacts/state/bn_ml.db"
    book.parent.mkdir(parents=True)
    lock = ProcessLock(book).acquire(START)
    child = begin(folder, "--interval-seconds", "15")
    log = folder / "artifacts/logs/bnml.log"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (log.exists() and "idle: the running bot" in log.read_text()):
        assert child.poll() is None
        threading.Event().wait(0.1)
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=10)
    lock.release()
    assert child.returncode == 0, err
    assert out == ""
    assert "idle: the running bot reads the mood itself" in log.read_text()
    assert not (folder / "artifacts/metrics/latest_market_intelligence.json").exists()

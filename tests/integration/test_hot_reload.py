"""A running bot takes a bundle another process trained into service at its next cycle, and no tampered one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol
from bn_ml.state_reader import StateReader
from ml_engine.bundle_store import BundleStore

ROOT = Path(__file__).resolve().parents[2]
BTC = Symbol("BTC/USDC")
ENVIRON = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("BINANCE", "BNML"))},
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A generated market of one symbol that runs a minute a second, scanned every quarter of a minute."""
    path = tmp_path / "bot.yaml"
    path.write_text(
        "universe: {training_symbols: [BTC/USDC]}\n"
        "scanner: {scan_interval_sec: 15}\n"
        f"storage: {{sqlite_path: {tmp_path}/state/bn_ml.db}}\n"
        f"monitoring: {{logs_dir: {tmp_path}/logs, metrics_dir: {tmp_path}/metrics}}\n"
        f"model: {{models_dir: {tmp_path}/models, training_window_days: 45, min_train_rows: 500}}\n",
        encoding="utf-8",
    )
    return path


@contextmanager
def running_bot(config: Path) -> Iterator[StateReader]:
    """The real bot; gives what observers may read of it."""
    log = config.with_name("bot.out")
    flags = ["--config", str(config), "--paper", "--market-data", "synthetic", "--disable-retrain", "--no-dashboard"]
    with log.open("wb") as out:
        bot = subprocess.Popen(
            [sys.executable, "-m", "scripts.run_bot", *flags], cwd=config.parent, env=ENVIRON, stdout=out, stderr=out
        )
        try:
            yield StateReader(config.parent / "state" / "bn_ml.db")
            bot.terminate()
            assert bot.wait(20) == 0, log.read_text()
        finally:
            bot.kill()
            bot.wait()


def wait_for(holds: Callable[[], bool], seconds: float = 90) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + seconds
    while not holds():
        assert clock.monotonic() < deadline, "it did not happen in time"
        clock.sleep_until(clock.now() + timedelta(seconds=0.1))


def cycles(reader: StateReader) -> int:
    return reader.summary().cycles if reader.path.exists() and has_tables(reader.path) else 0


def has_tables(path: Path) -> bool:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'cycles'").fetchone()[0])


def version_used(reader: StateReader) -> object:
    scan = reader.kv("latest_scan")
    assert isinstance(scan, dict)
    return next(row["bundle_version"] for row in scan["rows"] if row["symbol"] == "BTC/USDC")


def facts(reader: StateReader, kind: str) -> list[object]:
    return [dict(event.payload) for event in reader.events(kind=kind)]


def cycle_of(reader: StateReader, kind: str) -> int:
    return reader.events(kind=kind)[0].cycle


def replace_by_tampered(models: Path, aside: Path) -> None:
    """Swap in a version 2 one byte of which was changed after it was signed, so that no reader sees a gap."""
    shutil.copytree(models, aside)
    copy = BundleStore(aside)
    copy.save(copy.load(BTC))
    reference = aside / BTC.key / "reference.npz"
    content = reference.read_bytes()
    reference.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    waiting = models / ".incoming" / BTC.key
    kept = models / ".versions" / BTC.key / "1"
    (aside / BTC.key).rename(waiting)
    (models / BTC.key).rename(kept)
    waiting.rename(models / BTC.key)


def test_a_bundle_of_another_process_serves_in_the_next_cycle_and_a_tampered_one_never(
    config: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    with running_bot(config) as reader:
        wait_for(lambda: cycles(reader) >= 1)
        assert version_used(reader) is None
        flags = ["--config", str(config), "--market-data", "synthetic", "--quick", "--symbol", "BTC/USDC"]
        done = subprocess.run(
            [sys.executable, "-m", "scripts.run_trainer", *flags],
            cwd=tmp_path, env=ENVIRON, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        seen = cycles(reader)
        wait_for(lambda: bool(facts(reader, "BundleAdopted")))
        assert facts(reader, "BundleAdopted") == [{"symbol": "BTC/USDC", "version": 1}]
        assert cycle_of(reader, "BundleAdopted") <= seen + 2
        wait_for(lambda: version_used(reader) == 1)
        status = reader.kv("training_status")
        assert isinstance(status, dict)
        assert (status["reload_reason"], bool(status["models_reloaded_at"])) == ("BTC/USDC version 1", True)
        assert reader.kv("last_retrain_at") is not None

        replace_by_tampered(models, tmp_path / "aside")
        wait_for(lambda: bool(facts(reader, "BundleRefused")))
        assert facts(reader, "BundleRefused")[0] == {"symbol": "BTC/USDC", "reason": "bundle_refused"}
        seen = cycles(reader)
        wait_for(lambda: cycles(reader) > seen + 1)
        assert version_used(reader) == 1
        assert facts(reader, "BundleAdopted") == [{"symbol": "BTC/USDC", "version": 1}]
    assert "bundle adopted symbol=BTC/USDC version=1" in (tmp_path / "bot.out").read_text()
    assert "bundle refused symbol=BTC/USDC reason=bundle_refused" in (tmp_path / "bot.out").read_text()

"""`bnml-bot` as its users run it: in its own process, in an empty folder, without network or keys."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.market import iso
from bn_ml.state_store import StateStore
from data_manager.history import HistoryStore
from tests.fakes.bar_builders import START, some_bars

ROOT = Path(__file__).resolve().parents[2]
NO_KEYS = {name: value for name, value in os.environ.items() if not name.startswith(("BINANCE", "BNML"))}


def _config(folder: Path, extra: str = "") -> Path:
    path = folder / "bot.yaml"
    path.write_text(
        f"storage: {{sqlite_path: {folder}/state/bn_ml.db}}\n"
        f"monitoring: {{logs_dir: {folder}/logs, metrics_dir: {folder}/metrics, dashboard: {{auto_launch: false}}}}\n"
        f"model: {{models_dir: {folder}/models}}\n{extra}",
        encoding="utf-8",
    )
    return path


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "scripts.run_bot", *arguments]


def _bot(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments),
        cwd=folder,
        env={**NO_KEYS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def one_cycle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("once")
    config = _config(folder)
    return folder, _bot(folder, "--config", str(config), "--once", "--paper", "--market-data", "synthetic", "--json")


def test_one_paper_cycle_needs_no_key_network_or_file(
    one_cycle: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = one_cycle
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["cycles"], figures["data_source"], figures["equity"]) == (1, "synthetic", 1000.0)
    with closing(sqlite3.connect(folder / "state" / "bn_ml.db")) as connection:
        ((data,),) = connection.execute("SELECT data_json FROM cycles").fetchall()
    assert json.loads(data)["funnel"] == {"no_bundle": 7}


def test_the_last_line_of_a_cycle_says_why_nothing_was_traded(
    one_cycle: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    lines = [line for line in one_cycle[1].stderr.splitlines() if "INFO" in line]
    assert "stopped_by: no_bundle=7" in [line for line in lines if "bot stopped" not in line][-1]
    assert len(lines) < 10


def test_the_banner_says_loudly_that_the_market_is_generated(
    one_cycle: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert "SYNTHETIC MARKET DATA" in one_cycle[1].stderr
    assert "60 times faster" in one_cycle[1].stderr


def test_a_scan_is_exported_with_the_specified_columns(
    one_cycle: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    rows = (one_cycle[0] / "metrics" / "latest_scan.csv").read_text().splitlines()
    assert rows[0].startswith("symbol,signal,confidence,probas,ml_score,technical_score,momentum_score,global_score")
    assert len(rows) == 8
    held = json.loads((one_cycle[0] / "state" / "open_positions.json").read_text())
    assert (held["mode"], held["positions"]) == ("paper", [])


def test_every_wrong_key_is_told_at_once_without_a_traceback(tmp_path: Path) -> None:
    config = _config(tmp_path, "risk: {fees_pct: 0.1, max_positons: 3}\nscanner: {min_score: high}\n")
    done = _bot(tmp_path, "--config", str(config), "--once", "--paper")
    assert done.returncode == 2
    assert all(word in done.stderr for word in ("risk.fees_pct", "risk.max_positons", "scanner.min_score"))
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists()


def test_paper_and_live_together_are_refused(tmp_path: Path) -> None:
    assert _bot(tmp_path, "--paper", "--live").returncode == 2


def test_live_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = _bot(tmp_path, "--config", str(_config(tmp_path)), "--live", "--once")
    assert (done.returncode, (tmp_path / "state").exists()) == (3, False)


def test_a_second_instance_on_the_same_book_is_refused(tmp_path: Path) -> None:
    config = _config(tmp_path)
    (tmp_path / "state").mkdir()
    with ProcessLock(tmp_path / "state" / "bn_ml.db").acquire(SystemClock().now()):
        done = _bot(tmp_path, "--config", str(config), "--once", "--paper", "--market-data", "synthetic")
    assert done.returncode == 75
    assert str(os.getpid()) in done.stderr


def test_a_symbol_the_market_does_not_list_is_refused(tmp_path: Path) -> None:
    config = _config(tmp_path)
    done = _bot(
        tmp_path, "--config", str(config), "--once", "--paper", "--market-data", "synthetic", "--symbol", "NOPE/USDC"
    )
    assert done.returncode == 2
    assert "NOPE/USDC" in done.stderr


def test_a_replay_without_bars_says_how_to_get_them(tmp_path: Path) -> None:
    config = _config(
        tmp_path,
        f"data: {{replay_dir: {tmp_path}/none, replay_from: 2023-06-01T00:00:00Z, replay_to: 2023-06-02T00:00:00Z}}\n",
    )
    done = _bot(tmp_path, "--config", str(config), "--paper", "--market-data", "replay")
    assert done.returncode == 1
    assert "bnml-data import" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_replay_needs_its_dates(tmp_path: Path) -> None:
    done = _bot(tmp_path, "--config", str(_config(tmp_path)), "--paper", "--market-data", "replay")
    assert done.returncode == 2
    assert "data.replay_from" in done.stderr


def test_a_book_in_another_quote_asset_is_refused(tmp_path: Path) -> None:
    config = _config(tmp_path, "base_quote: USDT\nuniverse: {training_symbols: [BTC/USDT]}\n")
    store = StateStore(tmp_path / "state" / "bn_ml.db")
    store.bind_book("paper", "paper", SystemClock().now())
    store.deposit("USDC", Decimal(1000), SystemClock().now(), "starting capital")
    store.close()
    done = _bot(tmp_path, "--config", str(config), "--once", "--paper", "--market-data", "synthetic")
    assert done.returncode == 2, done.stderr
    assert "not kept in USDT, it holds USDC" in done.stderr


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    HistoryStore(folder).write(some_bars(2000))
    return folder


def _replay(folder: Path, recorded: Path, extra: str = "") -> Path:
    begin, end = (iso(START + timedelta(days=days)) for days in (10, 10.1))
    return _config(folder, f"data: {{replay_dir: {recorded}, replay_from: '{begin}', replay_to: '{end}'}}\n{extra}")


def test_symbols_the_market_does_not_list_are_named_and_do_not_stop_the_others(tmp_path: Path, recorded: Path) -> None:
    names = ", ".join(["BTC/USDC", *(f"NOPE{number}/USDC" for number in range(20))])
    config = _replay(tmp_path, recorded, f"universe: {{training_symbols: [{names}]}}\n")
    done = _bot(tmp_path, "--config", str(config), "--once", "--paper", "--market-data", "replay")
    assert done.returncode == 0, done.stderr
    assert "NOPE7/USDC and 12 others: not listed by the data source" in done.stderr
    assert "stopped_by: no_bundle=21" in done.stderr


def test_a_replay_over_says_that_nothing_is_left(tmp_path: Path, recorded: Path) -> None:
    config = _replay(tmp_path, recorded)
    command = ("--config", str(config), "--paper", "--market-data", "replay")
    first = _bot(tmp_path, *command)
    assert (first.returncode, "nothing is left to replay" in first.stderr) == (0, False)
    again = _bot(tmp_path, *command)
    assert (again.returncode, "nothing is left to replay" in again.stderr) == (0, True)


def test_a_live_book_is_archived_not_mixed(tmp_path: Path) -> None:
    config = _config(tmp_path)
    store = StateStore(tmp_path / "state" / "bn_ml.db")
    store.bind_book("live", "main", SystemClock().now())
    store.close()
    done = _bot(tmp_path, "--config", str(config), "--once", "--paper", "--market-data", "synthetic")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "state" / "archive").glob("live-*.db"))) == 1


def test_a_corrupt_book_stops_the_start_and_is_left_alone(tmp_path: Path) -> None:
    config = _config(tmp_path)
    (tmp_path / "state").mkdir()
    book = tmp_path / "state" / "bn_ml.db"
    book.write_bytes(b"this is not a database" * 100)
    done = _bot(tmp_path, "--config", str(config), "--once", "--paper", "--market-data", "synthetic")
    assert done.returncode == 1
    assert str(book) in done.stderr
    assert "Traceback" not in done.stderr
    assert book.read_bytes() == b"this is not a database" * 100


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_bot_in_order(tmp_path: Path, number: signal.Signals) -> None:
    config = _config(tmp_path)
    book = tmp_path / "state" / "bn_ml.db"
    process = subprocess.Popen(
        _command("--config", str(config), "--paper", "--market-data", "synthetic", "--disable-retrain"),
        cwd=tmp_path,
        env={**NO_KEYS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        clock = SystemClock()
        deadline = clock.monotonic() + 60
        while _cycles(book) == 0 and clock.monotonic() < deadline:
            clock.sleep_until(clock.now() + timedelta(seconds=0.1))
        asked = clock.monotonic()
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert clock.monotonic() - asked < 10
    assert "ended" in output


def _cycles(book: Path) -> int:
    if not book.exists():
        return 0
    connection = sqlite3.connect(f"file:{book}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM cycles").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()

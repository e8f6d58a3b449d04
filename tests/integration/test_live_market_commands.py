"""The commands as their users run them first: paper on live prices, from an exchange on loopback, in own processes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol, from_ms
from ml_engine.bundle_store import BundleStore
from tests.fakes.live_market import LiveMarket, until

ROOT = Path(__file__).resolve().parents[2]
NO_KEYS = {name: value for name, value in os.environ.items() if not name.startswith(("BINANCE", "BNML"))}
ENVIRON = {**NO_KEYS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
NOBODY = "http://127.0.0.1:9"
ONCE = ("--once", "--paper", "--json", "--market-data")


@pytest.fixture(scope="module")
def market() -> Iterator[LiveMarket]:
    with LiveMarket() as running:
        yield running


def config(folder: Path, url: str, extra: str = "") -> Path:
    path = folder / "bot.yaml"
    path.write_text(
        f"exchange: {{base_url: '{url}', rate_limit_ms: 10}}\n"
        f"storage: {{sqlite_path: {folder}/state/bn_ml.db, min_free_disk_mb: 0}}\n"
        f"monitoring: {{logs_dir: {folder}/logs, metrics_dir: {folder}/metrics}}\n"
        f"data: {{history_dir: {folder}/history}}\n{extra}",
        encoding="utf-8",
    )
    return path


def run(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"scripts.{script}", "--config", str(folder / "bot.yaml"), *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRON, capture_output=True, text=True, timeout=110, check=False)


def cycles(folder: Path) -> list[dict[str, object]]:
    """The data of every recorded cycle."""
    book = folder / "state" / "bn_ml.db"
    if not book.exists():
        return []
    connection = sqlite3.connect(f"file:{book}?mode=ro", uri=True)
    try:
        return [json.loads(data) for (data,) in connection.execute("SELECT data_json FROM cycles ORDER BY id")]
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def control(folder: Path) -> str:
    connection = sqlite3.connect(f"file:{folder / 'state' / 'bn_ml.db'}?mode=ro", uri=True)
    try:
        (account,) = connection.execute("SELECT value_json FROM kv_state WHERE key = 'account_state'").fetchone()
    finally:
        connection.close()
    return str(json.loads(account)["control_state"])


def test_the_first_cycle_on_live_prices_is_quick_cheap_and_says_where_they_come_from(
    market: LiveMarket, tmp_path: Path
) -> None:
    config(tmp_path, market.url)
    before = len(market.requests)
    done = run("run_bot", tmp_path, *ONCE, "live")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data_source"] == "binance_sandbox"
    (cycle,) = cycles(tmp_path)
    assert (cycle["data_source"], cycle["funnel"], cycle["errors"]) == ("binance_sandbox", {"no_bundle": 7}, [])
    asked = market.counted(before)
    assert (asked["time"], asked["exchangeInfo"]) == (1, 1)
    assert asked["klines"] <= 48
    assert market.weight(before) <= 140
    assert "SYNTHETIC" not in done.stderr
    assert "faster" not in done.stderr


def test_auto_is_live_when_the_exchange_answers(market: LiveMarket, tmp_path: Path) -> None:
    config(tmp_path, market.url)
    done = run("run_bot", tmp_path, *ONCE, "auto", "--symbol", "BTC/USDC")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data_source"] == "binance_sandbox"


def test_auto_is_loudly_synthetic_when_nobody_answers(tmp_path: Path) -> None:
    config(tmp_path, NOBODY)
    done = run("run_bot", tmp_path, *ONCE, "auto", "--symbol", "BTC/USDC")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data_source"] == "synthetic"
    assert "SYNTHETIC MARKET DATA" in done.stderr
    assert "did not answer" in done.stderr
    assert cycles(tmp_path)[0]["data_source"] == "synthetic"


def test_live_without_an_exchange_ends_with_the_code_for_it(tmp_path: Path) -> None:
    config(tmp_path, NOBODY)
    done = run("run_bot", tmp_path, *ONCE, "live")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_trainer_pages_its_history_once_and_keeps_it(market: LiveMarket, tmp_path: Path) -> None:
    config(
        tmp_path,
        market.url,
        "universe: {training_symbols: [BTC/USDC]}\n"
        f"model: {{models_dir: {tmp_path}/models, training_window_days: 60, min_train_rows: 1000}}\n",
    )
    before = len(market.requests)
    done = run("run_trainer", tmp_path, "--quick", "--market-data", "live", "--json", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"].startswith("binance_sandbox, kept in")
    assert market.counted(before)["klines"] == 26
    metadata = BundleStore(tmp_path / "models").as_of(Symbol("BTC/USDC"), market.clock.now()).metadata
    assert metadata.data_span.source == "binance_sandbox"
    assert metadata.data_span.end <= market.clock.now()
    assert (tmp_path / "history" / "binance_sandbox" / "BTC_USDC" / "15m.parquet").is_file()
    assert not (tmp_path / "history" / "BTC_USDC").exists()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_bot_trains_on_live_history_adopts_while_running_and_outlives_a_dead_exchange(tmp_path: Path) -> None:
    with LiveMarket() as market:
        config(
            tmp_path,
            market.url,
            "universe: {training_symbols: [BTC/USDC, ETH/USDC]}\n"
            f"scanner: {{scan_interval_sec: 15}}\nmodel: {{models_dir: {tmp_path}/models}}\n",
        )
        flags = ["--config", str(tmp_path / "bot.yaml"), "--paper", "--market-data", "auto", "--max-cycles", "24"]
        with (tmp_path / "output.txt").open("w") as output:
            bot = subprocess.Popen(
                [sys.executable, "-m", "scripts.run_bot", *flags],
                cwd=tmp_path,
                env=ENVIRON,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                _walk(market, tmp_path)
                bot.terminate()
                assert bot.wait(20) == 0
            finally:
                bot.kill()
                bot.wait()
        assert "Traceback" not in (tmp_path / "output.txt").read_text()
        assert {cycle["data_source"] for cycle in cycles(tmp_path)} == {"binance_sandbox"}


def _walk(market: LiveMarket, folder: Path) -> None:
    def last(condition: Callable[[dict[str, object]], bool]) -> Callable[[], bool]:
        return lambda: bool(known := cycles(folder)) and condition(known[-1])

    assert until(last(lambda cycle: cycle["funnel"] == {"no_bundle": 2}), 40)
    assert until(last(lambda cycle: "no_bundle" not in str(cycle["funnel"])), 200)
    store = BundleStore(folder / "models")
    for name in ("BTC/USDC", "ETH/USDC"):
        span = store.as_of(Symbol(name), market.clock.now()).metadata.data_span
        assert span.source == "binance_sandbox"
        assert span.end > from_ms(market.now_ms - 3_600_000)
    market.stop()
    assert until(lambda: control(folder) == "REDUCE_ONLY", 80)
    count = len(cycles(folder))
    market.start()
    assert until(lambda: control(folder) == "NORMAL", 60)
    assert len(cycles(folder)) > count

"""The command itself against the sandbox over HTTP: stopped bot, lost book, exchange away, others' orders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from bn_ml.client_ids import is_client_id
from bn_ml.config import load_settings
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Symbol
from bn_ml.halting import HaltMarker
from bn_ml.side_journal import SideJournal
from bn_ml.state_reader import StateReader
from bn_ml.state_watch import BookWatch
from scripts import kill_switch_session
from scripts.kill_switch import main
from tests.fakes.kill_switch_live_bot import ROOT, LiveBot, live_bot_process
from tests.fakes.sandbox_process import SandboxThread

BTC, ETH = "BTC/USDC", "ETH/USDC"


@dataclass
class Desk:
    """A sandbox, a configuration that leads there, and the command."""

    sandbox: SandboxThread
    config: Path
    capture: pytest.CaptureFixture[str]

    @property
    def database(self) -> Path:
        return self.config.with_name("bn_ml.db")

    @property
    def keys(self) -> dict[str, str]:
        return {"BINANCE_API_KEY": self.sandbox.api_key, "BINANCE_API_SECRET": self.sandbox.api_secret}

    def pull(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run the command in this process; gives its exit code and what it said."""
        self.capture.readouterr()
        code = main(["--config", str(self.config), "--json", *arguments])
        return code, json.loads(self.capture.readouterr().out)

    def open_orders(self) -> list[str]:
        world = self.sandbox.world
        return [order.client_id for order in world.venue.open_orders()]

    def wallet(self, asset: str) -> str:
        return str(self.sandbox.get("account")["balances"].get(asset, {}).get("free", "0"))

    def abandoned(self, *symbols: str) -> None:
        """Let a bot buy and protect the symbols, and die."""
        bot = LiveBot(load_settings(self.config, environ={}).settings, self.keys, [Symbol(name) for name in symbols])
        bot.buy()
        bot.close()


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Desk]]:
    opened: list[SandboxThread] = []

    def made(**exchange: Any) -> Desk:
        sandbox = SandboxThread.start(frozen=False)
        opened.append(sandbox)
        config = tmp_path / "bot.yaml"
        content = {
            "environment": "live",
            "base_quote": "USDC",
            "storage": {"sqlite_path": str(tmp_path / "bn_ml.db"), "min_free_disk_mb": 0},
            "monitoring": {"logs_dir": str(tmp_path / "logs")},
            "universe": {"training_symbols": [BTC, ETH, "BNB/USDC"]},
            "exchange": {"base_url": sandbox.base_url, "ws_url": sandbox.ws_url, "timeout_ms": 1000, **exchange},
        }
        config.write_text(yaml.safe_dump(content))
        kept = Desk(sandbox, config, capsys)
        for name, value in kept.keys.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        return kept

    yield made
    for sandbox in opened:
        sandbox.stop()


def test_a_stopped_live_bot_is_replaced_and_what_is_not_ours_stays(desk: Callable[..., Desk]) -> None:
    world = desk()
    world.sandbox.post("account", deposit={"BTC": "0.5"})
    with live_bot_process(world.config, (BTC, ETH), world.keys) as bot:
        os.kill(bot.pid, signal.SIGSTOP)
        code, told = world.pull()
        assert bot.wait() == -signal.SIGKILL
    assert (code, told["done_by"]) == (3, "the kill switch")
    assert [(item["symbol"], item["cancelled"]) for item in told["symbols"]] == [(BTC, 5), (ETH, 5)]
    assert world.open_orders() == []
    assert world.wallet("BTC").startswith("0.5000")
    view = BookWatch(world.database).look()
    assert (view.control.state, view.positions, view.orders) == (ControlState.HALTED, (), ())


def test_what_a_running_live_bot_did_is_checked_at_the_exchange(
    desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = desk()
    monkeypatch.setattr(kill_switch_session, "LAG", timedelta(milliseconds=10))
    with live_bot_process(world.config, (BTC,), world.keys) as bot:
        code, told = world.pull()
        assert (code, told["done_by"], told["notes"]) == (3, f"the running bot (process {bot.pid})", [])
        book = StateReader(world.database).fills(limit=1)[0].client_id.rpartition("-")[0]
        stray = {"symbol": BTC, "side": "BUY", "type": "LIMIT", "quantity": "0.001", "price": "40000"}
        world.sandbox.post("account", order={**stray, "client_id": f"{book}-zz9"})
        code, told = world.pull()
        assert (code, told["notes"]) == (4, [f"still open: {book}-zz9"])
        monkeypatch.delenv("BINANCE_API_KEY")
        code, told = world.pull()
        assert code == 3
        assert "not checked at the exchange" in told["notes"][0]
        assert bot.poll() is None


def test_the_command_in_its_own_process_is_flat_without_any_heavy_library(desk: Callable[..., Desk]) -> None:
    world = desk()
    world.abandoned(BTC)
    program = (
        "import sys\nfrom scripts.kill_switch import main\ncode = main(sys.argv[1:])\n"
        "heavy = {'pandas', 'numpy', 'sklearn', 'xgboost', 'lightgbm', 'ccxt', 'aiohttp', 'ml_engine', 'data_manager',"
        " 'scanner', 'streamlit', 'fastapi'}\nassert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import time\nassert time.process_time() < 3\nraise SystemExit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--config", str(world.config)],
        cwd=ROOT,
        env={**os.environ, **world.keys},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("done: only dust is left, state HALTED")
    assert "BTC/USDC  cancelled 5  sold " in done.stdout


def test_a_lost_book_is_only_worked_without_when_asked_to(desk: Callable[..., Desk]) -> None:
    world = desk()
    world.abandoned(BTC, ETH)
    world.sandbox.post("account", deposit={"ETH": "2"})
    world.sandbox.post(
        "account", order={"symbol": ETH, "side": "SELL", "type": "LIMIT", "quantity": "1", "price": "4000"}
    )
    for name in ("bn_ml.db-wal", "bn_ml.db-shm"):
        world.database.with_name(name).unlink(missing_ok=True)
    world.database.write_bytes(b"\x13garbage" * 5000)
    before = world.open_orders()
    code, told = world.pull()
    assert (code, world.open_orders()) == (4, before)
    assert [(item["symbol"], item["why"]) for item in told["symbols"]] == [
        (BTC, "5 orders to cancel"),
        (ETH, "5 orders to cancel"),
    ]
    assert not HaltMarker.beside(world.database).path.exists()
    assert world.pull("--dry-run")[0] == 4
    code, told = world.pull("--yes")
    assert (code, told["done_by"]) == (3, "the kill switch, without the book")
    (foreign,) = world.open_orders()
    assert not is_client_id(foreign)
    assert world.wallet("ETH").startswith("1.0000")
    assert HaltMarker.beside(world.database).reason() is not None
    assert len(SideJournal(world.database).story().settled) == 2
    assert world.database.read_bytes() == b"\x13garbage" * 5000
    assert world.pull("--yes")[0] == 3
    assert world.wallet("ETH").startswith("1.0000")


def test_an_exchange_that_is_away_leaves_the_halt_and_the_stops(desk: Callable[..., Desk]) -> None:
    world = desk()
    world.abandoned(BTC)
    config = world.config.read_text()
    world.config.write_text(config.replace(world.sandbox.base_url, "http://127.0.0.1:9"))
    code, told = world.pull("--timeout", "1.5")
    assert code == 4
    assert told["state"] == "HALTED"
    assert "cannot be reached" in told["notes"][0]
    (line,) = told["symbols"]
    assert float(line["left"]) > 0
    assert "5 resting orders protect it" in line["why"]
    assert len(world.open_orders()) == 5
    world.config.write_text(config)
    code, told = world.pull()
    assert (code, told["symbols"][0]["cancelled"]) == (3, 5)


def test_nothing_is_sent_or_written_for_a_dry_run(desk: Callable[..., Desk]) -> None:
    world = desk()
    world.abandoned(BTC)
    before = (world.open_orders(), BookWatch(world.database).look())
    code, told = world.pull("--dry-run")
    assert (code, told["symbols"][0]["why"]) == (4, "5 orders to cancel")
    assert (world.open_orders(), BookWatch(world.database).look()) == before


def test_without_keys_the_halt_stands_and_the_way_out_is_named(
    desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = desk()
    world.abandoned(BTC)
    monkeypatch.delenv("BINANCE_API_SECRET")
    code, told = world.pull()
    assert (code, told["state"]) == (4, "HALTED")
    assert "BINANCE_API_SECRET" in told["notes"][0]


def test_the_mode_that_was_named_must_be_that_of_the_book(desk: Callable[..., Desk]) -> None:
    world = desk()
    world.abandoned(BTC)
    assert main(["--config", str(world.config), "--paper"]) == 2
    assert "live book" in world.capture.readouterr().err
    assert BookWatch(world.database).look().control.state is ControlState.NORMAL

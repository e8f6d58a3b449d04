"""The drill: a bot that holds positions loses its book, a backup is put in place, and it trades on with equal books."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from benchmarks.rehearsal_bot import SEED_VARIABLE, SHARE_VARIABLE, DrawingPredictor
from bn_ml.backup_store import BackupStore
from bn_ml.client_ids import is_client_id
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from scripts import wiring
from tests.fakes import live_command
from tests.fakes.live_command import Answer, LiveDesk
from tests.fakes.live_sandbox import restored, started
from tests.fakes.sandbox_process import SandboxThread

LONGEST_S = 30.0
BUYING = {SEED_VARIABLE: "1", SHARE_VARIABLE: "1"}
PAPER = ("--paper", "--market-data", "synthetic", "--disable-retrain", "--no-dashboard")
IDLE = {SEED_VARIABLE: "1", SHARE_VARIABLE: "0"}
EASY: dict[str, Any] = {
    "exchange": {"orders": {"max_notional_per_day_usdt": 20_000}},
    "scanner": {"min_score": 0, "min_confidence": 0.1, "depth_min_usdt": 0, "spread_max_pct": 0.01},
    "risk": {
        "min_net_profit_pct": 0,
        "max_correlation": 1.0,
        "max_cluster_exposure_pct": 0.5,
        "max_daily_risk_pct": 0.5,
        "max_weekly_risk_pct": 1.0,
        "max_live_capital_usdt": 1000,
        "circuit_breakers": {"volatility_spike_ratio": 20},
    },
}


@pytest.fixture(scope="module")
def exchange() -> Iterator[SandboxThread]:
    sandbox = started()
    yield sandbox
    sandbox.stop()


@pytest.fixture
def desk(exchange: SandboxThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveDesk:
    monkeypatch.setattr(wiring, "MLEnsemblePredictor", DrawingPredictor)
    made = LiveDesk(tmp_path, restored(exchange))
    made.sections.update(EASY)
    return made


def bought(desk: LiveDesk) -> list[str]:
    """Let the bot buy in one cycle; gives what it holds."""
    done = desk.bot("--once", environ=BUYING)
    assert done.code == 0, done.err
    return held(desk)


def held(desk: LiveDesk) -> list[str]:
    store = StateStore(desk.book)
    try:
        return [str(position.symbol) for position in store.open_positions()]
    finally:
        store.close()


def doctor(desk: LiveDesk, *words: str) -> Answer:
    """Run `bnml-doctor backups` as a process."""
    return desk.run("scripts.doctor", "backups", *words)


def newest(desk: LiveDesk) -> str:
    assert doctor(desk, "create").code == 0
    return BackupStore(desk.folder / "backups").backups()[-1].backup_id


def lose_the_book(desk: LiveDesk) -> None:
    shutil.rmtree(desk.book.parent)


def differences(desk: LiveDesk) -> Any:
    verdict: Any = StateReader(desk.book).kv("reconciliation")
    return verdict["result"], verdict["differences"], verdict["orphan_orders"]


def test_a_live_book_that_was_lost_trades_again_within_half_a_minute(desk: LiveDesk, exchange: SandboxThread) -> None:
    had = bought(desk)
    assert len(had) == 2
    ours, foreign = desk.amounts()
    backup = newest(desk)
    lose_the_book(desk)
    began = monotonic()
    refused = desk.process()
    assert refused.code == 1
    assert f"bnml-doctor backups restore {backup}" in refused.err
    done = doctor(desk, "restore", backup)
    assert done.code == 0, done.all
    assert "control state: HALTED (books_restored: " in done.out
    done = desk.bot("--once", environ=IDLE)
    took_s = monotonic() - began
    assert done.code == 0, done.err
    assert desk.state()[0] == "NORMAL"
    assert (held(desk), desk.amounts()) == (had, (ours, foreign))
    assert differences(desk) == ("equal", [], [])
    assert took_s < LONGEST_S
    sent = [row["client_id"] for row in exchange.get("audit")["orders"] if is_client_id(row["client_id"])]
    assert len(sent) == len(set(sent))
    sys.stderr.write(f"restore drill: {took_s:.1f} s from the loss to NORMAL\n")


def test_what_a_live_bot_bought_after_the_backup_keeps_it_halted_with_the_table(desk: LiveDesk) -> None:
    assert desk.bot("--once", environ=IDLE).code == 0
    backup = newest(desk)
    assert len(bought(desk)) == 2
    assert doctor(desk, "restore", backup).code == 0
    done = desk.bot("--once", environ=IDLE)
    assert (done.code, done.failures()) == (3, ["reconciliation"]), done.err
    state, reason = desk.state()
    assert state == "HALTED"
    assert reason.startswith("books_restored: ")
    assert "unexplained_balance: exchange minus ledger BTC +" in reason
    result, rows, orphans = differences(desk)
    assert result == "unexplained"
    assert {row["asset"] for row in rows} >= {"BTC", "ETH", "USDC"}
    assert any("BTC/USDC" in trade for row in rows for trade in row["unknown_trades"])
    assert orphans
    assert desk.kill_switch("--resume", "--reason", "kept by hand from here on").code == 0
    done = desk.bot("--once", environ=IDLE)
    assert (done.code, desk.state()[0]) == (0, "NORMAL"), done.err
    assert {"BTC", "ETH"} <= set(desk.amounts()[1]), "declared foreign, never touched"


def test_a_live_book_found_damaged_is_mended_and_waits_for_a_person(desk: LiveDesk) -> None:
    had = bought(desk)
    backup = newest(desk)
    content = bytearray(desk.book.read_bytes())
    content[4096 : 3 * 4096] = bytes(2 * 4096)
    desk.book.write_bytes(content)
    done = desk.bot("--once", environ=IDLE)
    assert done.code == 5, done.err
    assert f"backup {backup} of " in done.err
    assert held(desk) == had
    assert desk.state()[0] == "HALTED"
    assert desk.state()[1].startswith(f"books_restored: the book was damaged, backup {backup}")
    assert desk.kill_switch("--resume", "--reason", "compared by hand").code == 0
    done = desk.bot("--once", environ=IDLE)
    assert (done.code, desk.state()[0], differences(desk)) == (0, "NORMAL", ("equal", [], [])), done.err


def test_a_paper_book_that_was_lost_goes_on_as_it_was(desk: LiveDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_command, "START", PAPER)
    had = bought(desk)
    assert had
    backup = newest(desk)
    before, _ = desk.amounts()
    lose_the_book(desk)
    began = monotonic()
    assert doctor(desk, "restore", backup).code == 0
    done = desk.bot("--once", environ=IDLE)
    took_s = monotonic() - began
    assert done.code == 0, done.err
    assert (held(desk), desk.state()[0]) == (had, "NORMAL")
    assert desk.amounts()[0] == before
    assert differences(desk)[0] == "equal"
    assert took_s < LONGEST_S
    sys.stderr.write(f"restore drill: {took_s:.1f} s from the loss to NORMAL\n")

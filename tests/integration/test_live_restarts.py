"""What a live bot finds when it comes back: its own positions, other people's money and orders, and a halt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rehearsal_bot import SEED_VARIABLE, SHARE_VARIABLE, DrawingPredictor
from bn_ml.client_ids import make_client_id
from bn_ml.clock import SystemClock
from bn_ml.halting import HaltMarker, commit_halt
from bn_ml.state_store import StateStore
from scripts import wiring
from tests.fakes.live_command import START, LiveDesk
from tests.fakes.live_sandbox import restored, started
from tests.fakes.sandbox_process import SandboxThread

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
BUYING = {SEED_VARIABLE: "1", SHARE_VARIABLE: "1"}


@pytest.fixture(scope="module")
def exchange() -> Iterator[SandboxThread]:
    sandbox = started()
    yield sandbox
    sandbox.stop()


@pytest.fixture
def sandbox(exchange: SandboxThread) -> SandboxThread:
    return restored(exchange)


@pytest.fixture
def desk(sandbox: SandboxThread, tmp_path: Path) -> LiveDesk:
    return LiveDesk(tmp_path, sandbox)


@pytest.fixture
def holding(desk: LiveDesk, monkeypatch: pytest.MonkeyPatch) -> LiveDesk:
    """A desk whose bot bought both symbols in one cycle and ended."""
    desk.sections.update(EASY)
    with monkeypatch.context() as patched:
        patched.setattr(wiring, "MLEnsemblePredictor", DrawingPredictor)
        done = desk.bot(environ=BUYING)
    assert done.code == 0, done.err
    assert len(held(desk)) == 2, done.err
    return desk


def held(desk: LiveDesk) -> list[str]:
    store = StateStore(desk.book)
    try:
        return [str(position.symbol) for position in store.open_positions()]
    finally:
        store.close()


def orders(sandbox: SandboxThread, *statuses: str) -> list[Any]:
    rows: list[Any] = sandbox.get("audit")["orders"]
    return [row for row in rows if row["client_id"].startswith("bnml-") and (not statuses or row["status"] in statuses)]


def resting_buy(sandbox: SandboxThread) -> dict[str, str]:
    """An order somebody else places well below the price."""
    price = (Decimal(sandbox.get("prices")["BTC/USDC"]["last"]) * Decimal("0.9")).quantize(Decimal(1))
    return {"symbol": "BTC/USDC", "side": "BUY", "type": "LIMIT", "quantity": "0.001", "price": str(price)}


def test_a_deposit_by_hand_is_explained_by_a_person_before_the_bot_starts_again(
    desk: LiveDesk, sandbox: SandboxThread
) -> None:
    assert desk.bot().code == 0
    sandbox.post("account", deposit={"USDC": "50", "ETH": "2"})
    for done in (desk.bot(), desk.process()):
        assert (done.code, done.failures()) == (3, ["reconciliation"])
        assert "ETH: ours 0, declared foreign 0, expected 0, on the exchange 2" in done.err
        assert "USDC: ours 100, declared foreign 900, expected 1000, on the exchange 1050" in done.err
        assert "bnml-kill-switch --resume --reason" in done.err
    assert desk.state()[0] == "HALTED"
    assert desk.kill_switch("--resume", "--reason", "my own deposit").code == 0
    done = desk.bot()
    assert (done.code, desk.state()[0]) == (0, "NORMAL"), done.err
    own, foreign = desk.amounts()
    assert (own["USDC"], foreign["USDC"], foreign["ETH"]) == (100, 950, 2)
    assert {event["note"] for event in desk.events("ForeignDeclared")} == {"accepted by the operator"}


def test_a_difference_that_was_undone_lets_the_bot_start_but_halted(desk: LiveDesk, sandbox: SandboxThread) -> None:
    assert desk.bot().code == 0
    client_id = make_client_id("bnml", "other", 1)
    sandbox.post("account", order=resting_buy(sandbox) | {"client_id": client_id})
    done = desk.bot()
    assert (done.code, done.failures()) == (3, ["reconciliation"])
    assert f"order {client_id} is ours but in no book" in done.err
    sandbox.post("account", cancel={"symbol": "BTC/USDC", "client_id": client_id})
    done = desk.bot()
    assert done.code == 5
    assert "WARN control state: no entries, HALTED: orphan_order" in done.err
    assert desk.kill_switch("--resume", "--reason", "cancelled it").code == 0
    assert desk.bot().code == 0


def test_an_order_of_another_program_is_told_and_left_alone(desk: LiveDesk, sandbox: SandboxThread) -> None:
    assert desk.bot().code == 0
    sandbox.post("account", order=resting_buy(sandbox))
    done = desk.bot()
    assert done.code == 0, done.err
    assert "order of somebody else symbol=BTC/USDC" in done.err
    (order,) = sandbox.get("audit")["orders"]
    assert order["status"] == "NEW"


def test_a_restart_neither_opens_nor_closes_and_finds_its_stops_in_place(
    holding: LiveDesk, sandbox: SandboxThread
) -> None:
    before = orders(sandbox)
    assert len(orders(sandbox, "NEW")) >= 2
    done = holding.bot()
    assert done.code == 0, done.err
    assert (orders(sandbox), len(held(holding))) == (before, 2)
    assert "positions=2" in done.err


def test_money_that_is_invested_is_capital_too(holding: LiveDesk) -> None:
    cash = holding.amounts()[0]["USDC"]
    holding.configure(risk={"min_capital_usdt": float(cash) + 1})
    done = holding.bot()
    assert done.code == 0, done.err
    assert "OK   capital: " in done.err
    holding.configure(risk={"min_capital_usdt": 2000})
    done = holding.bot()
    assert done.code == 0, done.err
    assert "WARN capital: " in done.err


def test_a_book_of_another_account_is_refused_while_it_holds_anything(
    holding: LiveDesk, sandbox: SandboxThread
) -> None:
    moved = holding.folder / "moved"
    store = StateStore(holding.book)
    store.session.execute("UPDATE kv_state SET value_json = replace(value_json, 'sandbox:', 'binance:')")
    store.close()
    done = holding.bot()
    assert done.code == 1, done.err
    assert "has open positions (BTC/USDC, ETH/USDC)" in done.err
    assert not moved.exists()
    assert "LIVE TRADING" not in done.err


def test_a_halted_book_that_is_flat_starts_and_ends_with_5(holding: LiveDesk, sandbox: SandboxThread) -> None:
    pulled = holding.kill_switch("--json")
    assert pulled.code in (0, 3), pulled.all
    before = orders(sandbox)
    assert held(holding) == []
    done = holding.process()
    assert done.code == 5, done.err
    assert "WARN control state: no entries, HALTED: kill_switch" in done.err
    assert orders(sandbox) == before


def test_a_halt_committed_while_the_bot_was_down_is_carried_out_once(holding: LiveDesk, sandbox: SandboxThread) -> None:
    commit_halt(holding.book, "me", SystemClock().now())
    done = holding.bot()
    assert (done.code, held(holding), orders(sandbox, "NEW")) == (5, [], []), done.err
    before = orders(sandbox)
    sold = [row for row in before if row["side"] == "SELL" and row["status"] == "FILLED"]
    assert len(sold) == 2
    assert holding.bot().code == 5
    assert orders(sandbox) == before


def test_a_halt_left_beside_the_book_is_heeded_and_taken_away(desk: LiveDesk) -> None:
    assert desk.bot().code == 0
    marker = HaltMarker.beside(desk.book)
    marker.write("kill_switch: me, the book could not be used", SystemClock().now())
    done = desk.bot()
    assert done.code == 5, done.err
    assert desk.state()[0] == "HALTED"
    assert "the book could not be used" in desk.state()[1]
    assert not marker.path.exists()
    assert desk.bot().code == 5


def _until_bought(desk: LiveDesk) -> None:
    clock = SystemClock()
    latest = clock.monotonic() + 40
    said = desk.folder / "out.txt"
    while "funnel scanned" not in said.read_text() and clock.monotonic() < latest:
        clock.sleep_until(clock.now() + timedelta(seconds=0.05))


def test_sigterm_ends_a_running_bot_in_time_and_leaves_its_stops(desk: LiveDesk, sandbox: SandboxThread) -> None:
    desk.sections.update(EASY)
    process = desk.spawn("benchmarks.rehearsal_start", *START, "--json", environ=BUYING)
    try:
        _until_bought(desk)
        asked = SystemClock().monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)
        took_s = SystemClock().monotonic() - asked
    finally:
        process.kill()
        process.wait()
    said = (desk.folder / "out.txt").read_text()
    assert (code, took_s < 10) == (0, True), said
    assert len(held(desk)) == 2
    resting = orders(sandbox, "NEW")
    assert {row["symbol"] for row in resting} == {"BTC/USDC", "ETH/USDC"}
    assert all(row["side"] == "SELL" for row in resting)
    assert desk.environ["BINANCE_API_SECRET"] not in said
    assert desk.environ["BINANCE_API_KEY"] not in said
    assert sandbox.get("audit")["violations"] == []


def test_a_second_signal_ends_it_at_once(desk: LiveDesk, sandbox: SandboxThread) -> None:
    process = desk.spawn("scripts.run_bot", *START)
    try:
        _until_bought(desk)
        sandbox.post("faults", script=[{"kind": "delay", "amount": 8000, "times": 50}])
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert code == 130, (desk.folder / "out.txt").read_text()


def test_the_capital_of_a_changed_ceiling_leaves_what_is_invested(holding: LiveDesk) -> None:
    holding.configure(risk={"max_live_capital_usdt": 400})
    cash = holding.amounts()[0]["USDC"]
    done = holding.bot()
    assert done.code == 0, done.err
    own, foreign = holding.amounts()
    assert own["USDC"] == cash - 600
    assert foreign["USDC"] == Decimal(600)

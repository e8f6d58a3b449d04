"""Whose account it is, and what speeds a sandbox up."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import from_ms
from bn_ml.errors import ConfigError
from bn_ml.halting import HaltMarker
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from bn_ml.venue_clock import VenueClock
from scripts.accounts import SPEED_VARIABLE, LiveAccount, _host, _speed, heed_halt_marker, is_sandbox, require_quote
from tests.fakes.live_orders import a_live_exchange, ok, refusal

NOW = from_ms(1_700_000_000_000)
LOCAL = "http://127.0.0.1:9101"


def settings(base_url: str | None = None, *, testnet: bool | None = None) -> Settings:
    return Settings.from_mapping({"exchange": {"base_url": base_url, "testnet": testnet}})


@pytest.mark.parametrize(
    ("base_url", "testnet", "name"),
    [
        (None, None, "binance"),
        (None, True, "binance testnet"),
        ("https://api3.binance.com", None, "binance"),
        ("https://testnet.binance.vision", None, "binance testnet"),
        ("https://demo-api.binance.com", None, "binance demo"),
        (LOCAL, None, "sandbox"),
        ("http://localhost:1", None, "sandbox"),
        ("http://[::1]:9101", True, "sandbox"),
    ],
)
def test_an_account_is_named_by_where_it_lies(base_url: str | None, testnet: bool | None, name: str) -> None:
    assert _host(settings(base_url, testnet=testnet)) == name
    assert is_sandbox(settings(base_url, testnet=testnet)) == (name == "sandbox")


def test_only_a_sandbox_may_run_faster() -> None:
    faster = {SPEED_VARIABLE: "12.5"}
    assert _speed(settings(LOCAL), faster) == 12.5
    assert _speed(settings(), faster) == 1.0
    assert _speed(settings("https://api.binance.com"), faster) == 1.0
    assert _speed(settings(LOCAL), {}) == 1.0


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", "10001"])
def test_a_speed_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=SPEED_VARIABLE):
        _speed(settings(LOCAL), {SPEED_VARIABLE: text})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bn_ml.db"


def test_a_halt_marker_becomes_the_state_of_the_book(path: Path) -> None:
    store = StateStore(path)
    HaltMarker.beside(path).write("kill_switch: me", NOW)
    heed_halt_marker(store, NOW)
    control = store.control()
    assert (control.state, control.set_by) == (ControlState.HALTED, "kill switch")
    assert control.reason.startswith("kill_switch: me at ")
    assert not HaltMarker.beside(path).path.exists()
    store.start_epoch(NOW, "start")
    assert store.control().state is ControlState.HALTED
    store.close()


def test_a_halt_in_force_keeps_its_cause_and_without_a_marker_nothing_changes(path: Path) -> None:
    store = StateStore(path)
    heed_halt_marker(store, NOW)
    assert store.control().state is ControlState.NORMAL
    store.set_control(ControlState.HALTED, "breaker_drawdown", "engine", NOW)
    HaltMarker.beside(path).path.write_text("not json")
    heed_halt_marker(store, NOW)
    assert store.control().reason == "breaker_drawdown"
    assert not HaltMarker.beside(path).path.exists()
    store.close()


def test_a_book_in_another_quote_asset_is_refused(path: Path) -> None:
    store = StateStore(path)
    require_quote(store, settings())
    store.deposit("EUR", Decimal(5), NOW, "before")
    with pytest.raises(ConfigError, match="not kept in USDC, it holds EUR"):
        require_quote(store, settings())
    store.close()


def rates(symbol: str, taker: str) -> dict[str, object]:
    paid = {"maker": "0.001", "taker": taker, "buyer": "0", "seller": "0"}
    nothing = {name: "0" for name in paid}
    return {"symbol": symbol, "standardCommission": paid, "specialCommission": nothing, "taxCommission": nothing}


def test_the_account_s_own_taker_fee_takes_the_place_of_the_configured_one() -> None:
    exchange, _, _ = a_live_exchange(ok(rates("BTCUSDC", "0.00075")))
    account = LiveAccount(exchange, VenueClock(SimulatedClock(NOW)), "sandbox:1")
    priced = account.priced(Settings())
    assert priced.risk.fees_pct == 0.00075
    assert priced.risk.stop_loss_pct == Settings().risk.stop_loss_pct


def test_an_unknown_fee_leaves_the_configured_one() -> None:
    exchange, _, _ = a_live_exchange(refusal(-1121, "Invalid symbol."))
    account = LiveAccount(exchange, VenueClock(SimulatedClock(NOW)), "sandbox:1")
    assert account.priced(Settings()) == Settings()
    nobody = Settings.from_mapping({"universe": {"training_symbols": [], "discovery": {"enabled": True}}})
    assert account.priced(nobody) == nobody

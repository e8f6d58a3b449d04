"""Orders of users' own scripts, through the data manager to the real venue in memory."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import from_ms
from bn_ml.errors import Refused
from bn_ml.venue.persistence import MemoryPersistence
from bn_ml.venue.venue import Venue
from data_manager.data_manager import BinanceDataManager
from data_manager.sources.synthetic import SyntheticSource
from tests.fakes.bar_builders import BTC, START_MS
from trader.exchanges.paper import PaperExchange


@pytest.fixture
def manager() -> BinanceDataManager:
    clock = SimulatedClock(from_ms(START_MS))
    source = SyntheticSource(clock, [BTC])
    view = BinanceDataManager({}, source=source, clock=clock)
    exchange = PaperExchange(Venue(MemoryPersistence()), view, clock)
    exchange.fund("USDC", Decimal(1000))
    return BinanceDataManager({}, source=source, exchange=exchange, clock=clock)


def test_a_market_order_fills_and_moves_the_balance(manager: BinanceDataManager) -> None:
    order = manager.create_order("BTC/USDC", "buy", 0.005)
    assert (order["status"], order["filled"]) == ("FILLED", 0.005)
    balance = manager.get_balance()
    assert balance["BTC"]["free"] == pytest.approx(0.005 * 0.999)
    assert balance["USDC"]["free"] == pytest.approx(1000 - float(str(order["cost"])))


def test_a_limit_order_rests_and_can_be_cancelled(manager: BinanceDataManager) -> None:
    price = float(manager.quote(BTC).bid) * 0.9
    order = manager.create_order("BTC/USDC", "buy", 0.005, price)
    assert order["status"] == "NEW"
    assert manager.fetch_order_status(str(order["id"]))["status"] == "NEW"
    assert manager.get_balance()["USDC"]["used"] > 0
    assert manager.cancel_order(str(order["id"]))["status"] == "CANCELED"
    assert manager.get_balance()["USDC"]["used"] == 0


def test_an_amount_below_the_step_is_refused_before_it_is_sent(manager: BinanceDataManager) -> None:
    with pytest.raises(Refused, match="below the step"):
        manager.create_order("BTC/USDC", "buy", float(manager.rules(BTC).step) / 2)


def test_the_venues_refusal_comes_through(manager: BinanceDataManager) -> None:
    with pytest.raises(Refused, match="NOTIONAL"):
        manager.create_order("BTC/USDC", "buy", 0.00002)


def test_an_order_of_others_is_not_touched(manager: BinanceDataManager) -> None:
    with pytest.raises(Refused, match="not placed here"):
        manager.fetch_order_status("someone-elses")


def test_on_paper_without_an_exchange_orders_go_to_an_account_with_the_configured_capital() -> None:
    clock = SimulatedClock(from_ms(START_MS))
    manager = BinanceDataManager({"risk": {"capital_total": 500}}, source=SyntheticSource(clock, [BTC]), clock=clock)
    assert manager.get_balance() == {"USDC": {"free": 500.0, "used": 0.0, "total": 500.0}}
    order = manager.create_order("BTC/USDC", "buy", 0.001)
    assert manager.fetch_order_status(str(order["id"]))["status"] == "FILLED"
    assert manager.get_balance()["BTC"]["free"] == pytest.approx(0.001 * 0.999)


def test_live_orders_are_never_placed_without_an_exchange() -> None:
    clock = SimulatedClock(from_ms(START_MS))
    manager = BinanceDataManager({"environment": "live"}, source=SyntheticSource(clock, [BTC]), clock=clock)
    with pytest.raises(Refused, match="only reads the market"):
        manager.create_order("BTC/USDC", "buy", 0.001)

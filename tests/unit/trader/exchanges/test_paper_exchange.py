from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import OrderReport, OrderStatus, OrderType, Side, TimeInForce
from bn_ml.errors import Refused
from bn_ml.ports import Exchange
from bn_ml.venue.persistence import MemoryPersistence
from bn_ml.venue.venue import Venue
from tests.fakes.venue_world import QUARTER, START, SYMBOL, StepClock, TinyMarket, bar, intent
from trader.exchanges.paper import PaperExchange

BUY, SELL = Side.BUY, Side.SELL
MARKET, LIMIT, STOP, MAKER = OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_LOSS, OrderType.LIMIT_MAKER


class Desk:
    """A paper exchange over three bars: calm, calm, crash."""

    def __init__(self) -> None:
        self.clock = StepClock()
        self.market = TinyMarket(
            self.clock,
            [
                bar("100", "101", "99", "100"),
                bar("100", "102", "98", "101", at=START + QUARTER),
                bar("101", "101", "90", "91", at=START + 2 * QUARTER),
                bar("91", "92", "90", "91", at=START + 3 * QUARTER),
            ],
        )
        self.persistence = MemoryPersistence()
        self.restart()
        self.paper.fund("USDT", Decimal(1000))

    def restart(self) -> None:
        self.paper = PaperExchange(Venue(self.persistence), self.market, self.clock)
        self.exchange: Exchange = self.paper

    def wait(self, bars: int = 1) -> None:
        self.clock.sleep_until(self.clock.now() + bars * QUARTER)

    def status(self, client_id: str) -> OrderReport:
        report = self.exchange.order_status(SYMBOL, client_id)
        assert report is not None
        return report


@pytest.fixture
def desk() -> Desk:
    return Desk()


def protect(desk: Desk) -> tuple[OrderReport, OrderReport]:
    desk.exchange.create_order(intent(BUY, MARKET, "2", client_id="entry"))
    return desk.exchange.create_oco(
        intent(SELL, MAKER, "1.998", client_id="t", price="110", list_id="list"),
        intent(SELL, STOP, "1.998", client_id="s", stop="95", list_id="list"),
    )


def test_the_starting_capital_is_credited_once(desk: Desk) -> None:
    desk.paper.fund("USDT", Decimal(1000))
    desk.restart()
    desk.paper.fund("USDT", Decimal(5000))
    assert desk.exchange.balances() == {"USDT": Balance("USDT", Decimal(1000))}


def test_an_order_fills_at_the_present_quote_with_exact_fee_and_quote_amount(desk: Desk) -> None:
    report = desk.exchange.create_order(intent(BUY, MARKET, "2"))
    assert (report.status, report.executed_quantity, report.executed_quote) == (
        OrderStatus.FILLED,
        2,
        Decimal("200.02"),
    )
    (fill,) = report.fills
    assert (fill.fee, fill.fee_asset, fill.at) == (Decimal("0.002"), "ABC", START)
    assert desk.exchange.balances()["ABC"].free == Decimal("1.998")


def test_a_query_gives_what_the_placement_gave(desk: Desk) -> None:
    report = desk.exchange.create_order(intent(BUY, MARKET, "2"))
    assert desk.exchange.order_status(SYMBOL, "a") == report


def test_unknown_orders_are_none_everywhere(desk: Desk) -> None:
    assert desk.exchange.order_status(SYMBOL, "never") is None
    assert desk.exchange.cancel_order(SYMBOL, "never") is None
    desk.exchange.create_order(intent(BUY, MARKET))
    assert desk.exchange.cancel_order(SYMBOL, "a") is None


def test_refusals_carry_the_code_and_the_text_of_the_venue(desk: Desk) -> None:
    with pytest.raises(Refused, match="Account has insufficient balance for requested action") as caught:
        desk.exchange.create_order(intent(BUY, MARKET, "11"))
    assert caught.value.code == -2010
    with pytest.raises(Refused, match="Filter failure: NOTIONAL") as caught:
        desk.exchange.create_order(intent(BUY, MARKET, "0.01"))
    assert caught.value.code == -1013
    assert desk.exchange.order_status(SYMBOL, "a") is None


def test_a_limit_order_without_time_in_force_rests(desk: Desk) -> None:
    report = desk.exchange.create_order(intent(BUY, LIMIT, price="95"))
    assert report.status is OrderStatus.NEW
    assert [item.client_id for item in desk.exchange.open_orders()] == ["a"]


def test_a_capped_ioc_never_stays_open(desk: Desk) -> None:
    report = desk.exchange.create_order(intent(BUY, LIMIT, price="100", tif=TimeInForce.IOC))
    assert (report.status, report.fills) == (OrderStatus.EXPIRED, ())


def test_an_oco_shares_its_list_id_and_one_reservation(desk: Desk) -> None:
    target, stop = protect(desk)
    assert (target.client_id, stop.client_id, target.list_id, stop.list_id) == ("t", "s", "list", "list")
    assert desk.exchange.balances()["ABC"] == Balance("ABC", Decimal(0), Decimal("1.998"))


def test_an_oco_around_the_wrong_price_is_refused(desk: Desk) -> None:
    desk.exchange.create_order(intent(BUY, MARKET, "2", client_id="entry"))
    with pytest.raises(Refused, match="The relationship of the prices for the orders is not correct"):
        desk.exchange.create_oco(
            intent(SELL, MAKER, "1", client_id="t", price="110", list_id="list"),
            intent(SELL, STOP, "1", client_id="s", stop="100", list_id="list"),
        )


def test_cancelling_one_leg_frees_the_holding(desk: Desk) -> None:
    protect(desk)
    report = desk.exchange.cancel_order(SYMBOL, "t")
    assert report is not None
    assert report.status is OrderStatus.CANCELED
    assert desk.status("s").status is OrderStatus.CANCELED
    assert desk.exchange.balances()["ABC"].free == Decimal("1.998")


def test_a_resting_stop_sells_in_the_bar_that_reaches_it(desk: Desk) -> None:
    protect(desk)
    desk.wait(2)
    assert desk.status("s").status is OrderStatus.NEW
    desk.wait()
    report = desk.status("s")
    assert (report.status, report.executed_quote / report.executed_quantity) == (OrderStatus.FILLED, Decimal("94.99"))
    assert desk.status("t").status is OrderStatus.EXPIRED
    assert desk.exchange.open_orders() == ()


def test_the_market_moves_on_while_the_bot_is_down(desk: Desk) -> None:
    protect(desk)
    desk.wait(3)
    desk.restart()
    assert desk.exchange.open_orders() == ()
    assert desk.status("s").fills[0].fee_asset == "USDT"


def test_each_bar_is_asked_for_and_used_once(desk: Desk) -> None:
    protect(desk)
    desk.wait()
    desk.paper.sync(desk.clock.now())
    desk.wait()
    desk.paper.sync(desk.clock.now())
    starts = [since for since, until in desk.market.asked if until > since]
    assert starts == sorted(set(starts))


def test_an_order_placed_within_a_bar_does_not_see_that_bar(desk: Desk) -> None:
    desk.exchange.create_order(intent(BUY, MARKET, "2", client_id="entry"))
    desk.clock.sleep_until(START + 2 * QUARTER + timedelta(seconds=30))
    desk.exchange.create_order(intent(SELL, STOP, "1", client_id="s", stop="95"))
    desk.wait()
    assert desk.market.quote(SYMBOL).last == 91
    assert desk.paper.sync(START + 3 * QUARTER) == ()
    assert desk.status("s").fills[0].price == Decimal("90.99")


def test_nothing_fills_on_a_stale_or_missing_quote(desk: Desk) -> None:
    protect(desk)
    desk.clock.sleep_until(START + timedelta(days=1))
    with pytest.raises(Refused, match="quote older than 60 s") as caught:
        desk.exchange.create_order(intent(BUY, MARKET, client_id="late"))
    assert caught.value.code == 0
    desk.market.down = True
    with pytest.raises(Refused, match="no market data"):
        desk.exchange.create_order(intent(BUY, MARKET, client_id="late"))
    assert desk.exchange.order_status(SYMBOL, "late") is None


def test_queries_and_cancels_answer_while_market_data_is_down(desk: Desk) -> None:
    protect(desk)
    desk.market.down = True
    desk.wait()
    assert desk.paper.sync(desk.clock.now()) == (f"{SYMBOL}: {SYMBOL}: no data",)
    assert {report.client_id for report in desk.exchange.open_orders()} == {"s", "t"}
    assert desk.status("s").status is OrderStatus.NEW
    cancelled = desk.exchange.cancel_order(SYMBOL, "s")
    assert cancelled is not None
    assert cancelled.status is OrderStatus.CANCELED


def test_what_happened_during_a_data_outage_is_caught_up_afterwards(desk: Desk) -> None:
    protect(desk)
    desk.market.down = True
    desk.wait(3)
    assert desk.status("s").status is OrderStatus.NEW
    desk.market.down = False
    assert desk.status("s").executed_quote / Decimal("1.998") == Decimal("94.99")


def test_rules_are_refreshed_before_each_order(desk: Desk) -> None:
    desk.exchange.create_order(intent(BUY, MARKET))
    desk.market.trading = False
    with pytest.raises(Refused, match=r"Market is closed\.") as caught:
        desk.exchange.create_order(intent(BUY, MARKET, client_id="b"))
    assert caught.value.code == -2010


def test_a_symbol_without_data_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused):
        desk.exchange.create_order(intent(BUY, MARKET, symbol=Symbol("XYZ/USDT")))

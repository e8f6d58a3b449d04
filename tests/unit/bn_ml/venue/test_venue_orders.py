from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from bn_ml.venue.account import FeeRates
from bn_ml.venue.errors import CancelReplaceError, VenueError
from bn_ml.venue.invariants import violations
from bn_ml.venue.liquidity import Liquidity
from bn_ml.venue.orders import VenueOrder
from bn_ml.venue.venue import Venue
from tests.fakes.venue_world import QUARTER, START, SYMBOL, bar, quote, request, rules, venue

BUY, SELL = Side.BUY, Side.SELL
LIMIT, MARKET, STOP = OrderType.LIMIT, OrderType.MARKET, OrderType.STOP_LOSS
STOP_LIMIT, TARGET, MAKER = OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.LIMIT_MAKER
LATER = START + timedelta(seconds=5)


def found(made: Venue, client_id: str = "a") -> VenueOrder:
    order = made.find(SYMBOL, client_id=client_id)
    assert order is not None
    return order


@pytest.fixture
def thin() -> Venue:
    made = venue(base="1000", usdt="100000")
    made.on_quote(quote(at=LATER, depth="20000"))
    return made


def test_a_buy_pays_the_ask_and_its_fee_in_base_so_that_what_executed_cannot_be_sold_in_full() -> None:
    made = venue()
    order = made.place(request(type_=MARKET, quantity="1"), START)
    trade = made.my_trades(order)[0]
    assert (order.status, trade.price, trade.fee, trade.fee_asset) == (
        OrderStatus.FILLED,
        Decimal("100.01"),
        Decimal("0.001"),
        "ABC",
    )
    assert made.balances()["ABC"].free == Decimal("0.999")
    with pytest.raises(VenueError, match="insufficient balance"):
        made.place(request(SELL, MARKET, "1", client_id="b"), START)
    made.place(request(SELL, MARKET, "0.999", client_id="b"), START)
    assert violations(made.state) == ()


def test_a_sell_gets_the_bid_and_pays_its_fee_in_quote() -> None:
    made = venue(base="2", usdt="0")
    order = made.place(request(SELL, MARKET, "2"), START)
    assert order.executed_quote == Decimal("199.98")
    assert made.balances()["USDT"].free == Decimal("199.98") - Decimal("0.19998")


def test_commission_is_cut_to_eight_decimals() -> None:
    made = venue(fees=FeeRates(taker=Decimal("0.00033333")))
    trade = made.my_trades(made.place(request(type_=MARKET, quantity="1.001"), START))[0]
    assert trade.fee == Decimal("0.00033366")


def test_commission_in_bnb_is_discounted_and_falls_back_fill_by_fill() -> None:
    made = venue(fees=FeeRates(pay_with_discount_asset=True))
    bnb = Symbol("BNB/USDT")
    made.set_rules(rules(bnb))
    made.on_quote(quote("200", symbol=bnb))
    made.deposit("BNB", Decimal("0.0005"))
    first = made.my_trades(made.place(request(type_=MARKET), START))[0]
    assert (first.fee_asset, first.fee) == ("BNB", Decimal("0.00037503"))
    second = made.my_trades(made.place(request(type_=MARKET), START))[0]
    assert (second.fee_asset, second.fee) == ("ABC", Decimal("0.001"))
    assert violations(made.state) == ()


def test_maker_and_taker_pay_their_own_rates() -> None:
    made = venue(base="1", fees=FeeRates(maker=Decimal(0), taker=Decimal("0.002")))
    made.place(request(SELL, LIMIT, price="101"), START)
    made.on_quote(quote("102", at=LATER))
    assert made.my_trades(found(made))[0].fee == 0


def test_a_large_market_order_walks_the_levels_with_one_trade_each(thin: Venue) -> None:
    order = thin.place(request(type_=MARKET, quantity="60"), START)
    trades = thin.my_trades(order)
    prices = [trade.price for trade in trades]
    assert order.status is OrderStatus.FILLED
    assert prices == sorted(set(prices))
    assert len({trade.trade_id for trade in trades}) == len(trades) > 3
    assert order.executed_quote == sum(trade.quote_quantity for trade in trades)


def test_a_market_order_that_runs_the_book_dry_expires_and_keeps_its_fills(thin: Venue) -> None:
    order = thin.place(request(type_=MARKET, quantity="500"), START)
    assert order.status is OrderStatus.EXPIRED
    assert Decimal(90) < order.executed < Decimal(100)
    assert thin.place(request(type_=MARKET, client_id="b"), START).executed == 0
    assert violations(thin.state) == ()


def test_taken_depth_stays_taken_until_the_quote_changes(thin: Venue) -> None:
    thin.place(request(type_=MARKET, quantity="500"), START)
    thin.on_quote(quote(at=LATER, depth="20000"))
    assert thin.place(request(type_=MARKET, quantity="1"), START).executed == 0
    thin.on_quote(quote(at=LATER + timedelta(seconds=1), depth="20000"))
    assert thin.place(request(type_=MARKET, quantity="1"), START).executed == 1


def test_a_capped_ioc_buys_what_its_price_allows_and_expires(thin: Venue) -> None:
    order = thin.place(request(price="100.11", quantity="60", tif=TimeInForce.IOC), START)
    assert order.status is OrderStatus.EXPIRED
    assert 0 < order.executed < 60
    assert max(trade.price for trade in thin.my_trades(order)) <= Decimal("100.11")
    assert thin.balances()["USDT"].locked == 0


def test_an_ioc_below_the_ask_expires_without_a_fill() -> None:
    order = venue().place(request(price="100", tif=TimeInForce.IOC), START)
    assert (order.status, order.executed) == (OrderStatus.EXPIRED, 0)


def test_a_fok_fills_whole_or_not_at_all(thin: Venue) -> None:
    refused = thin.place(request(price="100.11", quantity="60", tif=TimeInForce.FOK), START)
    assert (refused.status, refused.executed) == (OrderStatus.EXPIRED, 0)
    filled = thin.place(request(price="100.11", quantity="5", tif=TimeInForce.FOK), START)
    assert filled.status is OrderStatus.FILLED


def test_a_quote_quantity_buys_whole_steps_and_never_spends_more() -> None:
    made = venue()
    order = made.place(request(type_=MARKET, quantity=None, spend="50"), START)
    assert (order.status, order.executed) == (OrderStatus.FILLED, Decimal("0.499"))
    assert order.executed_quote <= 50
    sold = made.place(request(SELL, MARKET, None, spend="20", client_id="b"), START)
    assert (sold.status, sold.executed) == (OrderStatus.FILLED, Decimal("0.2"))


def test_a_quote_quantity_beyond_the_book_expires(thin: Venue) -> None:
    order = thin.place(request(type_=MARKET, quantity=None, spend="50000"), START)
    assert order.status is OrderStatus.EXPIRED
    assert order.executed > 0


def test_a_resting_limit_locks_and_fills_only_when_traded_through() -> None:
    made = venue()
    made.place(request(price="99"), START)
    assert made.balances()["USDT"].locked == 99
    made.on_bar(SYMBOL, bar("100", "101", "99", "100"))
    assert found(made).executed == 0
    made.on_bar(SYMBOL, bar("100", "101", "98.99", "100", at=START + QUARTER))
    order = found(made)
    assert (order.status, order.executed_quote) == (OrderStatus.FILLED, 99)
    assert made.my_trades(order)[0].maker


def test_a_resting_order_fills_no_more_than_its_share_of_the_bar() -> None:
    made = venue(base="100")
    made.place(request(SELL, MAKER, "100", price="101"), START)
    made.on_bar(SYMBOL, bar("100", "102", "100", "100", volume="1000"))
    order = found(made)
    assert (order.status, order.executed) == (OrderStatus.PARTIALLY_FILLED, 10)
    made.on_bar(SYMBOL, bar("100", "102", "100", "100", volume="1000", minutes=5, at=START + QUARTER))
    assert found(made).executed == 40


def test_a_bar_is_used_once_and_never_by_orders_placed_after_it_opened() -> None:
    made = venue(base="10")
    made.place(request(SELL, STOP, stop="95"), START + timedelta(minutes=1))
    crash = bar("100", "100", "90", "92")
    made.on_bar(SYMBOL, crash)
    assert found(made).is_open
    made.on_quote(quote("96", at=START + QUARTER))
    made.place(request(SELL, STOP, stop="95", client_id="b"), START)
    made.on_bar(SYMBOL, crash)
    assert found(made, "b").is_open


def test_a_bar_without_trades_triggers_nothing() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, stop="95"), START)
    made.on_bar(SYMBOL, bar("90", "90", "90", "90", volume="0"))
    assert found(made).is_open


def test_a_stop_fills_at_its_trigger_less_half_the_spread_when_touched() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, stop="95"), START)
    made.on_bar(SYMBOL, bar("100", "101", "95.01", "96"))
    assert found(made).is_open
    made.on_bar(SYMBOL, bar("96", "101", "95", "100", at=START + QUARTER))
    order = found(made)
    assert order.status is OrderStatus.FILLED
    assert order.executed_quote == Decimal("94.99")


def test_a_stop_gapped_through_fills_at_the_open_not_at_its_price() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, stop="95"), START)
    made.on_bar(SYMBOL, bar("90", "96", "89", "96"))
    assert found(made).executed_quote == Decimal("89.99")


def test_a_thin_symbol_pays_its_own_spread_and_impact() -> None:
    made = venue(base="20")
    made.place(request(SELL, STOP, "20", stop="95"), START)
    made.state.books.clear()
    made.on_bar(SYMBOL, bar("100", "100", "94", "96", volume="80"))
    order = found(made)
    average = order.executed_quote / order.executed
    assert order.status is OrderStatus.FILLED
    assert Decimal("94.4") < average < Decimal("94.92")


def test_extra_slippage_worsens_every_taker_price() -> None:
    made = venue(liquidity=Liquidity(slippage_frac=Decimal("0.001")))
    assert made.place(request(type_=MARKET), START).executed_quote == Decimal("100.12")


def test_stop_limit_rests_at_its_limit_when_the_market_gaps_below_it() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP_LIMIT, stop="95", price="94.5"), START)
    made.on_bar(SYMBOL, bar("90", "92", "89", "91"))
    order = found(made)
    assert (order.status, order.triggered, order.executed) == (OrderStatus.NEW, True, 0)
    made.on_bar(SYMBOL, bar("91", "95", "91", "95", at=START + QUARTER))
    assert found(made).executed_quote == Decimal("94.5")


def test_a_triggered_stop_limit_does_not_fill_from_the_fall_that_triggered_it() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP_LIMIT, stop="95", price="95"), START)
    made.on_bar(SYMBOL, bar("95", "95", "90", "91"))
    assert found(made).executed == 0


def test_take_profit_sells_at_market_when_its_price_is_reached() -> None:
    made = venue(base="1")
    made.place(request(SELL, TARGET, stop="105"), START)
    made.on_bar(SYMBOL, bar("100", "105", "99", "101"))
    assert found(made).executed_quote == Decimal("104.99")


def test_a_buy_stop_beyond_its_means_buys_what_it_can_and_expires() -> None:
    made = venue(usdt="105")
    made.place(request(BUY, STOP, "1", stop="105"), START)
    assert made.balances()["USDT"].locked == 105
    made.on_bar(SYMBOL, bar("110", "111", "109", "110"))
    order = found(made)
    assert (order.status, order.executed) == (OrderStatus.EXPIRED, Decimal("0.954"))
    assert violations(made.state) == ()


def test_quotes_trigger_stops_by_the_last_price() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, stop="95"), START)
    made.on_quote(quote("95.01", at=LATER))
    assert found(made).is_open
    made.on_quote(quote("95", at=LATER + timedelta(seconds=1)))
    assert found(made).executed_quote == Decimal("94.99")


def test_an_older_quote_is_ignored() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, stop="95"), START)
    made.on_quote(quote("90", at=START - timedelta(seconds=1)))
    assert found(made).is_open


def test_a_trailing_stop_follows_the_best_price_and_never_falls_back() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, delta=100), START)
    made.on_bar(SYMBOL, bar("100", "110", "99.5", "109.5"))
    order = found(made)
    assert (order.best, order.trigger_level) == (Decimal(110), Decimal("108.9"))
    made.on_bar(SYMBOL, bar("109", "109.5", "108", "109", at=START + QUARTER))
    sold = found(made)
    assert sold.status is OrderStatus.FILLED
    assert sold.executed_quote == Decimal("108.89")


def test_a_trailing_stop_with_a_stop_price_starts_when_it_is_reached() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, stop="95", delta=100), START)
    made.on_bar(SYMBOL, bar("100", "110", "96", "100"))
    assert found(made).trigger_level is None
    made.on_quote(quote("95", at=START + QUARTER))
    assert found(made).trigger_level == Decimal("94.05")


def test_trailing_orders_on_the_other_side_fire_on_a_rise() -> None:
    made = venue()
    made.place(request(BUY, STOP, delta=100), START)
    made.on_bar(SYMBOL, bar("100", "100.5", "90", "90.5"))
    assert found(made).best == 90
    made.on_bar(SYMBOL, bar("90.5", "91", "90.2", "91", at=START + QUARTER))
    assert found(made).status is OrderStatus.FILLED


def test_cancel_replace_tests_filters_before_it_cancels() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, stop="95", client_id="old"), START)
    with pytest.raises(CancelReplaceError) as caught:
        made.cancel_replace("old", request(SELL, STOP, stop="95.001"), START)
    assert (caught.value.code, caught.value.text) == (-2022, "Order cancel-replace failed.")
    assert found(made, "old").is_open
    with pytest.raises(CancelReplaceError) as caught:
        made.cancel_replace("absent", request(SELL, STOP, stop="96"), START)
    assert (caught.value.code, str(caught.value.cancel)) == (-2022, "Unknown order sent.")


def test_cancel_replace_that_fails_half_way_says_so_and_leaves_the_cancel() -> None:
    made = venue(base="1")
    made.place(request(SELL, STOP, stop="95", client_id="old"), START)
    with pytest.raises(CancelReplaceError) as caught:
        made.cancel_replace("old", request(SELL, STOP, stop="101"), START)
    assert (caught.value.code, caught.value.text) == (-2021, "Order cancel-replace partially failed.")
    assert found(made, "old").status is OrderStatus.CANCELED
    made.place(request(SELL, STOP, stop="95", client_id="old"), START)
    assert made.cancel_replace("old", request(SELL, STOP, stop="97", client_id="new"), START).is_open


def test_time_priority_shares_a_bar_between_orders_at_one_price() -> None:
    made = venue(base="100")
    made.place(request(SELL, MAKER, "8", price="101", client_id="first"), START)
    made.place(request(SELL, MAKER, "8", price="101", client_id="second"), START)
    made.on_bar(SYMBOL, bar("100", "102", "100", "100", volume="1000"))
    assert found(made, "first").executed == 8
    assert found(made, "second").executed == 2

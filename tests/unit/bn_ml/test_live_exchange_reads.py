"""What the live exchange reads of orders and the account, over a scripted venue."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.orders import Side
from bn_ml.errors import ExchangeError, Transient
from bn_ml.http_answers import HttpAnswer
from tests.fakes.live_orders import (
    BTC,
    ENTRY_ID,
    NOW,
    STOP_ID,
    a_live_exchange,
    a_stop,
    a_trade,
    an_intent,
    an_order,
    ok,
    refusal,
)
from tests.fakes.recorded_answers import recorded

GONE = refusal(-2013, "Order does not exist.")


def test_only_the_venue_saying_so_makes_an_order_unknown_to_it() -> None:
    exchange, transport, _ = a_live_exchange(GONE)
    assert exchange.order_status(BTC, ENTRY_ID) is None
    assert transport.params["origClientOrderId"] == ENTRY_ID
    for answer in (ok(""), ok("null"), ok([]), refusal(-2011, "Unknown order sent."), HttpAnswer(404, "<html>")):
        with pytest.raises(ExchangeError):
            a_live_exchange(answer)[0].order_status(BTC, ENTRY_ID)


def test_a_query_answered_about_another_order_is_repeated_later() -> None:
    for changes in ({"clientOrderId": STOP_ID}, {"symbol": "ETHUSDC"}):
        with pytest.raises(Transient):
            a_live_exchange(ok(an_order(an_intent(), **changes)))[0].order_status(BTC, ENTRY_ID)


def test_trades_of_an_order_are_read_page_by_page() -> None:
    intent = an_intent(quantity=Decimal("1.001"))
    pages = [a_trade("10.00", "0.001", 100 + number) for number in range(1001)]
    body = an_order(intent, executed="1.001", quote="10.01")
    exchange, transport, _ = a_live_exchange(ok(body), ok(pages[:1000]), ok(pages[1000:]))
    report = exchange.order_status(BTC, ENTRY_ID)
    assert report is not None
    assert len(report.fills) == 1001
    assert (transport.params["orderId"], transport.params["fromId"]) == ("28", "1100")
    exchange, _, _ = a_live_exchange(ok(body), ok(pages[:1000]), ok(pages[999:]))
    with pytest.raises(Transient, match="goes back"):
        exchange.order_status(BTC, ENTRY_ID)


def test_open_orders_are_those_of_the_whole_account() -> None:
    ours = an_order(a_stop(), time=1, updateTime=1, isWorking=True)
    foreign = {**an_order(an_intent("web_1"), executed="0.02", quote="1.00"), "symbol": "DOGEFDUSD"}
    odd = {**an_order(an_intent("web_2")), "symbol": "币安人生USDT", "origQty": "0"}
    exchange, transport, _ = a_live_exchange(ok([ours, foreign, odd]))
    first, second = exchange.open_orders()
    assert (first.client_id, first.symbol) == (STOP_ID, BTC)
    assert (second.client_id, second.symbol, second.executed_quantity, second.fills) == (
        "web_1",
        Symbol("DOGE/FDUSD"),
        Decimal("0.02"),
        (),
    )
    assert "symbol" not in transport.params


@pytest.mark.parametrize(
    "body", [{}, [1], [an_order(a_stop(), status="FILLED")], [{**an_order(a_stop()), "clientOrderId": None}]]
)
def test_open_orders_that_cannot_be_read_are_asked_for_again(body: Any) -> None:
    with pytest.raises(Transient):
        a_live_exchange(ok(body))[0].open_orders()


def test_trades_of_a_symbol_are_read_a_day_at_a_time() -> None:
    since = NOW - timedelta(hours=30)
    first = [a_trade("20000.00", "0.01", 5, time=to_ms(since))]
    exchange, transport, _ = a_live_exchange(ok(first), ok([a_trade("20000.00", "0.02", 9)]))
    fills = exchange.trades(BTC, since)
    assert [(fill.trade_id, fill.client_id, fill.order_id) for fill in fills] == [("5", "", "28"), ("9", "", "28")]
    windows = [(params["startTime"], params["endTime"]) for _, _, params, _ in transport.asked]
    day = 86_400_000
    start = to_ms(since)
    assert windows == [(str(start), str(start + day - 1)), (str(start + day), str(start + 2 * day - 1))]


def test_a_full_page_of_trades_is_followed_to_the_end() -> None:
    page = [a_trade("10.00", "0.001", number) for number in range(1, 1001)]
    exchange, transport, _ = a_live_exchange(ok(page), ok([a_trade("10.00", "0.001", 1001)]))
    assert len(exchange.trades(BTC, NOW - timedelta(hours=30))) == 1001
    assert (len(transport.asked), transport.params["fromId"]) == (2, "1001")
    assert "startTime" not in transport.params


def test_balances_are_those_that_are_not_zero() -> None:
    held = [
        {"asset": "BTC", "free": "0.5", "locked": "0.25"},
        {"asset": "USDC", "free": "0.00000000", "locked": "0.00000000"},
    ]
    balances = a_live_exchange(ok({"balances": held}))[0].balances()
    assert {asset: balance.total for asset, balance in balances.items()} == {"BTC": Decimal("0.75")}
    for body in ({"balances": held + held[:1]}, {}, {"balances": [{"asset": "BTC", "free": "-1", "locked": "0"}]}):
        with pytest.raises(Transient):
            a_live_exchange(ok(body))[0].balances()


def test_the_account_says_what_it_may_do() -> None:
    flags = a_live_exchange(ok(recorded("account/account_information__response.json")))[0].account_flags()
    assert (flags.can_trade, flags.can_withdraw, flags.account_type, flags.uid) == (True, True, "SPOT", 354937868)


def test_the_key_says_what_it_may_do_where_the_venue_tells() -> None:
    told = {
        "ipRestrict": True,
        "createTime": 1698645219000,
        "enableReading": True,
        "enableWithdrawals": False,
        "enableSpotAndMarginTrading": True,
    }
    exchange, transport, _ = a_live_exchange(ok(told))
    permissions = exchange.api_permissions()
    assert permissions is not None
    assert (permissions.may_trade_spot, permissions.may_withdraw, permissions.is_ip_restricted) == (True, False, True)
    assert transport.asked[0][1] == "/sapi/v1/account/apiRestrictions"
    assert a_live_exchange(HttpAnswer(404, "<html>"))[0].api_permissions() is None
    with pytest.raises(Transient):
        a_live_exchange(ok({**told, "enableWithdrawals": "false"}))[0].api_permissions()


def test_commission_sums_its_parts_for_each_side() -> None:
    rates = a_live_exchange(ok(recorded("account/query_commission_rates__response.json")))[0].commission(
        Symbol("BTC/USDT")
    )
    assert rates.maker[Side.BUY] == Decimal("0.0000001") + Decimal("0.0000003") + Decimal("0.04") + Decimal("0.0000023")
    assert rates.taker[Side.SELL] == Decimal("0.0000006") + Decimal("0.06") + Decimal("0.0000023")
    assert rates.discount_asset == "BNB"
    with pytest.raises(Transient):
        a_live_exchange(ok(recorded("account/query_commission_rates__response.json")))[0].commission(BTC)


def test_the_server_time_is_asked_for_without_a_key() -> None:
    exchange, transport, _ = a_live_exchange(ok({"serverTime": 1_700_000_000_123}))
    assert exchange.server_time_ms() == 1_700_000_000_123
    assert transport.asked == [("GET", "/api/v3/time", {}, False)]
    for body in ({"serverTime": "1"}, {}, [], {"serverTime": True}, {"serverTime": -5}):
        with pytest.raises(Transient):
            a_live_exchange(ok(body))[0].server_time_ms()

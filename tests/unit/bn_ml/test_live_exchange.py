"""Single orders over a scripted venue: what is sent, and what each answer becomes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bn_ml.domain.market import Symbol, from_ms, to_ms
from bn_ml.domain.orders import OrderStatus, OrderType, TimeInForce
from bn_ml.errors import ExchangeError, OutcomeUnknown, Refused
from bn_ml.http_answers import NoAnswer
from tests.fakes.live_orders import (
    BTC,
    ENTRY_ID,
    NOW,
    STOP_ID,
    a_fill,
    a_live_exchange,
    a_market_exit,
    a_stop,
    a_trade,
    an_intent,
    an_oco,
    an_order,
    ok,
    refusal,
    two_fills,
)
from tests.fakes.recorded_answers import recorded

GONE = refusal(-2013, "Order does not exist.")


def test_a_limit_order_goes_out_in_plain_digits_with_our_id_and_its_own_instant() -> None:
    intent = an_intent(quantity=Decimal("5E-2"), limit_price=Decimal("2E+4"))
    exchange, transport, _ = a_live_exchange(ok(an_order(intent)))
    exchange.create_order(intent)
    assert transport.asked == [
        (
            "POST",
            "/api/v3/order",
            {
                "symbol": "BTCUSDC",
                "side": "BUY",
                "type": "LIMIT",
                "quantity": "0.05",
                "timeInForce": "IOC",
                "price": "20000",
                "newClientOrderId": ENTRY_ID,
                "newOrderRespType": "FULL",
                "timestamp": str(to_ms(NOW)),
                "recvWindow": "5000",
            },
            True,
        )
    ]


@pytest.mark.parametrize(
    ("intent", "terms"),
    [
        (an_intent(time_in_force=None), {"timeInForce": "GTC", "price": "20000.00"}),
        (an_intent(time_in_force=TimeInForce.GTC), {"timeInForce": "GTC", "price": "20000.00"}),
        (a_market_exit(), {}),
        (a_stop(), {"stopPrice": "19700.00"}),
        (a_stop(trailing_bp=150), {"stopPrice": "19700.00", "trailingDelta": "150"}),
        (a_stop(stop_price=None, trailing_bp=150), {"trailingDelta": "150"}),
    ],
)
def test_each_type_sends_the_terms_it_has_and_no_others(intent: Any, terms: dict[str, str]) -> None:
    exchange, transport, _ = a_live_exchange(ok(an_order(intent)))
    exchange.create_order(intent)
    optional = ("timeInForce", "price", "stopPrice", "trailingDelta", "quoteOrderQty")
    assert {name: transport.params[name] for name in optional if name in transport.params} == terms


@pytest.mark.parametrize(
    "intent",
    [
        an_intent(limit_price=None),
        a_stop(stop_price=None),
        an_intent(limit_price=Decimal("NaN")),
        an_intent(limit_price=Decimal("-1")),
        an_intent(limit_price=Decimal("1e-21")),
        an_intent(quantity=Decimal("1e20")),
    ],
)
def test_an_order_that_cannot_be_written_is_refused_here(intent: Any) -> None:
    exchange, transport, _ = a_live_exchange()
    with pytest.raises(Refused) as caught:
        exchange.create_order(intent)
    assert (caught.value.code, transport.asked) == (0, [])


def test_fills_come_with_their_own_trade_ids_and_commissions() -> None:
    intent = an_intent()
    report = a_live_exchange(ok(two_fills(intent)))[0].create_order(intent)
    assert (report.status, report.executed_quantity, report.executed_quote) == (
        OrderStatus.FILLED,
        Decimal("0.05"),
        Decimal("999.98"),
    )
    first, second = report.fills
    assert (first.trade_id, first.price, first.quantity, first.fee, first.fee_asset) == (
        "56",
        Decimal("19999.00"),
        Decimal("0.02000"),
        Decimal("0.00001"),
        "BTC",
    )
    assert (second.quote_quantity, second.at, second.order_id) == (Decimal("600"), from_ms(to_ms(NOW) + 5), "28")
    assert {fill.client_id for fill in report.fills} == {ENTRY_ID}


def test_an_order_that_expired_with_fills_is_what_it_filled() -> None:
    intent = an_intent()
    body = an_order(intent, executed="0.02", quote="399.98", status="EXPIRED", fills=[a_fill("19999.00", "0.02", 56)])
    report = a_live_exchange(ok(body))[0].create_order(intent)
    assert (report.status, report.executed_quantity) == (OrderStatus.EXPIRED, Decimal("0.02"))
    assert [fill.quantity for fill in report.fills] == [Decimal("0.02")]


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("NEW", OrderStatus.NEW),
        ("PENDING_NEW", OrderStatus.PENDING_NEW),
        ("REJECTED", OrderStatus.REJECTED),
        ("EXPIRED", OrderStatus.EXPIRED),
        ("EXPIRED_IN_MATCH", OrderStatus.EXPIRED),
    ],
)
def test_every_state_without_fills_is_read(told: str, status: OrderStatus) -> None:
    intent = an_intent()
    report = a_live_exchange(ok(an_order(intent, status=told, fills=[])))[0].create_order(intent)
    assert (report.status, report.fills) == (status, ())


def test_a_new_order_nobody_cancelled_is_not_taken_for_cancelled() -> None:
    intent = an_intent()
    body = ok(an_order(intent, status="CANCELED"))
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(body)[0].create_order(intent)
    report = a_live_exchange(body)[0].order_status(BTC, ENTRY_ID)
    assert report is not None
    assert report.status is OrderStatus.CANCELED


def test_an_answer_without_fills_is_completed_from_the_trades() -> None:
    intent = an_intent()
    trades = [a_trade("19999.00", "0.02", 56), a_trade("20000.00", "0.03", 57)]
    exchange, transport, _ = a_live_exchange(ok(an_order(intent, executed="0.05", quote="999.98")), ok(trades))
    report = exchange.create_order(intent)
    assert transport.paths() == ["POST order", "GET myTrades"]
    assert (transport.params["orderId"], transport.params["limit"]) == ("28", "1000")
    assert [(fill.trade_id, fill.client_id) for fill in report.fills] == [("56", ENTRY_ID), ("57", ENTRY_ID)]


@pytest.mark.parametrize(
    "trades",
    [
        ok([]),
        ok([a_trade("19999.00", "0.02", 56)]),
        ok([a_trade("19999.00", "0.02", 56), a_trade("20000.00", "0.03", 56)]),
        ok([a_trade("19999.00", "0.02", 57), a_trade("20000.00", "0.03", 56)]),
        ok([a_trade("19999.00", "0.02", 56), a_trade("20000.00", "0.03", 57, order=29)]),
        ok([a_trade("19999.00", "0.02", 56), a_trade("20000.00", "0.03", 57, isBuyer=False)]),
        ok([a_trade("19999.00", "0.02", 56), a_trade("20000.01", "0.03", 57)]),
        ok([a_trade("19999.00", "0.02", 56), a_trade("20000.00", "0.03", 57, symbol="ETHUSDC")]),
        ok([a_trade("19999.00", "0.02", 56), a_trade("20000.00", "0.03", 57, commission="0.04")]),
        ok("{}"),
        ok(""),
        refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401),
        NoAnswer("timed out"),
    ],
)
def test_trades_that_do_not_add_up_leave_a_write_unknown_and_a_read_to_be_repeated(trades: Any) -> None:
    intent = an_intent()
    body = ok(an_order(intent, executed="0.05", quote="999.98"))
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(body, trades)[0].create_order(intent)
    with pytest.raises(ExchangeError) as caught:
        a_live_exchange(body, trades)[0].order_status(BTC, ENTRY_ID)
    assert not isinstance(caught.value, (Refused, OutcomeUnknown))


def test_a_bare_acknowledgement_is_followed_by_a_query() -> None:
    intent = an_intent()
    ack = {key: an_order(intent)[key] for key in ("symbol", "orderId", "orderListId", "clientOrderId", "transactTime")}
    exchange, transport, _ = a_live_exchange(ok(ack), ok(an_order(intent)))
    assert exchange.create_order(intent).status is OrderStatus.NEW
    assert transport.paths() == ["POST order", "GET order"]
    for later in (GONE, NoAnswer("reset"), ok(an_order(intent, origQty="0.06")), ok(an_order(intent, side="SELL"))):
        with pytest.raises(OutcomeUnknown):
            a_live_exchange(ok(ack), later)[0].create_order(intent)


WRONG: list[dict[str, Any]] = [
    {"symbol": "ETHUSDC"},
    {"side": "SELL"},
    {"side": "buy"},
    {"clientOrderId": STOP_ID},
    {"clientOrderId": None},
    {"type": "MARKET"},
    {"price": "20000.01"},
    {"price": 20000},
    {"origQty": "0.06"},
    {"origQty": "NaN"},
    {"origQty": "-0.05"},
    {"origQty": 0.05},
    {"origQty": "5e-2"},
    {"executedQty": None},
    {"executedQty": "0.06"},
    {"executedQty": "0.04"},
    {"executedQty": ""},
    {"cummulativeQuoteQty": "999.97"},
    {"cummulativeQuoteQty": "Infinity"},
    {"status": "NEW"},
    {"status": "PARTIALLY_FILLED"},
    {"status": "PENDING_CANCEL"},
    {"status": "filled"},
    {"status": None},
    {"orderId": -1},
    {"orderId": "28"},
    {"orderId": True},
    {"orderListId": None},
    {"transactTime": "soon"},
    {"transactTime": 10**18},
    {"fills": None},
    {"fills": []},
    {"fills": [a_fill("19999.00", "0.02", 56)]},
    {"fills": [a_fill("19999.00", "0.02", 56), a_fill("20000.00", "0.03", 56)]},
    {"fills": [a_fill("19999.00", "0.02", 56), a_fill("20000.00", "0.03", -1)]},
    {"fills": [a_fill("19999.00", "0.02", 56), a_fill("20000.00", "0.03", 57, fee="0.031")]},
    {"fills": [a_fill("19999.00", "0.02", 56), a_fill("20000.00", "0.03", 57, fee="-0.01")]},
    {"fills": [a_fill("19999.00", "0.02", 56), a_fill("20000.00", "0.03", 57, asset="")]},
    {"fills": [a_fill("19999.00", "0.05", 56), a_fill("20000.00", "0.00", 57)]},
    {"fills": [a_fill("49999.00", "0.02", 56), a_fill("0.00", "0.03", 57)]},
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_an_acceptance_that_is_not_of_our_order_or_makes_no_sense_is_unknown(changes: dict[str, Any]) -> None:
    intent = an_intent()
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(ok({**two_fills(intent), **changes}))[0].create_order(intent)


@pytest.mark.parametrize("name", ["symbol", "clientOrderId", "orderId", "status", "side", "type", "origQty", "price"])
def test_an_acceptance_without_a_field_that_decides_is_unknown(name: str) -> None:
    intent = an_intent()
    body = two_fills(intent)
    del body[name]
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(ok(body))[0].create_order(intent)


def test_the_recorded_full_answer_whose_cost_does_not_add_up_is_unknown() -> None:
    body = recorded("orders/new_order__response_full.json")
    intent = a_market_exit(
        client_id=body["clientOrderId"], symbol=Symbol("BTC/USDT"), quantity=Decimal(body["origQty"])
    )
    with pytest.raises(OutcomeUnknown, match="executed quote"):
        a_live_exchange(ok(body))[0].create_order(intent)
    body["cummulativeQuoteQty"] = "39983.00000000"
    report = a_live_exchange(ok(body))[0].create_order(intent)
    assert (report.executed_quantity, len(report.fills)) == (Decimal(10), 5)


def test_the_recorded_market_order_that_ran_dry_keeps_what_it_bought() -> None:
    body = recorded("orders/market_order_expired_partly_filled.json")
    intent = an_intent(
        body["clientOrderId"],
        symbol=Symbol("LTC/BNB"),
        type=OrderType.MARKET,
        quantity=Decimal(body["origQty"]),
        limit_price=None,
    )
    report = a_live_exchange(ok(body))[0].create_order(intent)
    assert (report.status, report.executed_quantity, len(report.fills)) == (OrderStatus.EXPIRED, Decimal(4), 2)


@pytest.mark.parametrize("answer", [NoAnswer("timed out"), ok(""), ok('{"symbol":"BT'), ok("<html>"), ok([])])
def test_no_clean_answer_to_a_write_is_unknown(answer: Any) -> None:
    target, stop = an_oco()
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(answer)[0].create_order(an_intent())
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(answer)[0].create_oco(target, stop)
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(answer)[0].replace_order(STOP_ID, a_stop())
    with pytest.raises(OutcomeUnknown):
        a_live_exchange(answer)[0].cancel_order(BTC, STOP_ID)


def test_a_revoked_key_is_a_refusal_however_often_it_worked_before() -> None:
    intent = an_intent()
    exchange, _, _ = a_live_exchange(
        ok(two_fills(intent)), refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    )
    exchange.create_order(intent)
    with pytest.raises(Refused) as caught:
        exchange.create_order(intent)
    assert caught.value.code == -2015
    assert exchange.weight.banned_until is None

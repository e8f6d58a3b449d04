from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from risk_builders import BTC, NOW, market_rules, quote

from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side
from trader.order_rules import order_problems

RULES = market_rules(BTC, min_quantity=Decimal("0.001"), max_quantity=Decimal(10), max_notional=Decimal(900))
QUOTE = quote(BTC)


def order(**changes: object) -> OrderIntent:
    base = OrderIntent(
        client_id="bnml-1",
        symbol=BTC,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=Decimal("0.5"),
        purpose=Purpose.ENTRY,
        position_id="p",
        created_at=NOW,
        limit_price=Decimal("100.10"),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def codes(intent: OrderIntent, free: str | None = "1000", **rules: object) -> list[str]:
    money = Decimal(free) if free is not None else None
    return [item.code for item in order_problems(intent, replace(RULES, **rules), QUOTE, money)]  # type: ignore[arg-type]


def test_a_good_order_has_no_problems() -> None:
    assert codes(order()) == []


@pytest.mark.parametrize(("quantity", "fine"), [("0.04996", True), ("0.04995", False), ("0.04994", False)])
def test_least_notional(quantity: str, fine: bool) -> None:
    assert codes(order(quantity=Decimal(quantity), limit_price=Decimal(100)), min_notional=Decimal("4.996")) == (
        [] if fine else ["min_notional"]
    )


def test_the_message_names_need_size_and_key() -> None:
    (problem,) = order_problems(order(quantity=Decimal("0.05"), limit_price=Decimal("74.3")), RULES, QUOTE)
    assert problem.message == "min notional 5 USDC, got 3.715 (BTC/USDC); raise risk.max_position_size_usdt"
    assert (problem.got, problem.needed) == (Decimal("3.715"), 5)
    assert problem.config_key == "risk.max_position_size_usdt"


@pytest.mark.parametrize(("price", "fine"), [("99", True), ("100", True), ("101", False)])
def test_largest_notional(price: str, fine: bool) -> None:
    assert codes(order(quantity=Decimal(9), limit_price=Decimal(price))) == ([] if fine else ["max_notional"])


@pytest.mark.parametrize(("quantity", "fine"), [("0.0011", True), ("0.001", True), ("0.0009", False)])
def test_least_quantity(quantity: str, fine: bool) -> None:
    assert codes(order(quantity=Decimal(quantity)), min_notional=Decimal("0.01")) == ([] if fine else ["min_quantity"])


@pytest.mark.parametrize(("quantity", "fine"), [("9.9", True), ("10", True), ("10.1", False)])
def test_largest_quantity(quantity: str, fine: bool) -> None:
    assert codes(order(quantity=Decimal(quantity)), "2000", max_notional=Decimal(0)) == (
        [] if fine else ["max_quantity"]
    )


def test_quantity_and_price_lie_on_their_grid() -> None:
    assert codes(order(quantity=Decimal("0.500001"))) == ["step"]
    assert codes(order(limit_price=Decimal("100.101"))) == ["tick"]


def test_market_orders_have_their_own_lot_and_zero_turns_it_off() -> None:
    market = order(type=OrderType.MARKET, limit_price=None)
    assert codes(market) == []
    assert codes(market, market_max_quantity=Decimal("0.4")) == ["max_quantity"]
    assert codes(market, market_min_quantity=Decimal("0.6")) == ["market_quantity"]
    assert codes(market, market_step=Decimal("0.3")) == ["step"]


def test_market_notional_counts_only_where_the_filter_says_so() -> None:
    small = order(type=OrderType.MARKET, limit_price=None, quantity=Decimal("0.01"))
    assert codes(small) == ["min_notional"]
    assert codes(small, notional_applies_to_market=False) == []


@pytest.mark.parametrize(("price", "fine"), [("20.00", True), ("19.99", False), ("500.00", True), ("500.01", False)])
def test_price_band_of_the_side(price: str, fine: bool) -> None:
    intent = order(limit_price=Decimal(price), quantity=Decimal(1))
    assert codes(intent) == ([] if fine else ["price_band"])


def test_sells_have_the_other_band() -> None:
    stop = order(side=Side.SELL, type=OrderType.STOP_LOSS, limit_price=None, stop_price=Decimal("98.50"))
    assert codes(stop, ask_multiplier_down=Decimal("0.985")) == []
    assert codes(stop, ask_multiplier_down=Decimal("0.986")) == ["price_band"]


def test_price_bounds_of_the_filter() -> None:
    assert codes(order(), min_price=Decimal("100.10"), max_price=Decimal("100.10")) == []
    assert codes(order(), min_price=Decimal("100.11")) == ["price_bounds"]
    assert codes(order(), max_price=Decimal("100.09")) == ["price_bounds"]


@pytest.mark.parametrize(("free", "fine"), [("50.06", True), ("50.05", True), ("50.04", False)])
def test_a_buy_needs_its_quote(free: str, fine: bool) -> None:
    assert codes(order(), free) == ([] if fine else ["insufficient_balance"])
    assert codes(order(), None) == []


def test_a_buy_needs_all_it_reserves() -> None:
    assert codes(order(reserved_quote=Decimal(60)), "59") == ["insufficient_balance"]


@pytest.mark.parametrize(("free", "fine"), [("0.6", True), ("0.5", True), ("0.49", False)])
def test_a_sell_needs_its_base(free: str, fine: bool) -> None:
    assert codes(order(side=Side.SELL), free) == ([] if fine else ["insufficient_balance"])


def test_a_symbol_that_does_not_trade_takes_no_orders() -> None:
    assert codes(order(), trading=False) == ["symbol_not_trading"]

"""A problem tells what was wrong, what would have been right, and which setting helps, for every filter."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from risk_builders import BTC, NOW, market_rules, quote

from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side
from trader.order_rules import notional_price, order_problems

D = Decimal
SIZE = "risk.max_position_size_usdt"
RULES = market_rules(BTC, min_quantity=D("0.001"), max_quantity=D(10), max_notional=D(900))
QUOTE = quote(BTC, bid="99", ask="101")
LAST = QUOTE.last


def order(**changes: object) -> OrderIntent:
    base = OrderIntent(
        "bnml-1", BTC, Side.BUY, OrderType.LIMIT, D("0.5"), Purpose.ENTRY, "p", NOW, limit_price=D("100.10")
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def told(intent: OrderIntent, free: str | None = None, **rules: object) -> list[tuple[str, Decimal, Decimal, str]]:
    money = None if free is None else D(free)
    found = order_problems(intent, replace(RULES, **rules), QUOTE, money)  # type: ignore[arg-type]
    return [(item.code, item.got, item.needed, item.config_key) for item in found]


MARKET = order(type=OrderType.MARKET, limit_price=None)


@pytest.mark.parametrize(
    ("intent", "rules", "problem"),
    [
        (order(), {"trading": False}, ("symbol_not_trading", D(0), D(1), "")),
        (order(), {"min_quantity": D("0.6")}, ("min_quantity", D("0.5"), D("0.6"), SIZE)),
        (order(), {"max_quantity": D("0.4")}, ("max_quantity", D("0.5"), D("0.4"), SIZE)),
        (order(), {"step": D("0.3")}, ("step", D("0.5"), D("0.3"), "")),
        (MARKET, {"market_min_quantity": D("0.6")}, ("market_quantity", D("0.5"), D("0.6"), SIZE)),
        (MARKET, {"market_max_quantity": D("0.4")}, ("max_quantity", D("0.5"), D("0.4"), SIZE)),
        (order(), {"tick": D("0.03")}, ("tick", D("100.10"), D("0.03"), "")),
        (order(), {"min_price": D("100.11")}, ("price_bounds", D("100.10"), D("100.11"), "")),
        (order(), {"max_price": D("100.09")}, ("price_bounds", D("100.10"), D("100.09"), "")),
        (order(), {"bid_multiplier_down": D(2)}, ("price_band", D("100.10"), LAST * 2, "")),
        (order(), {"bid_multiplier_up": D("0.5")}, ("price_band", D("100.10"), LAST / 2, "")),
        (order(), {"min_notional": D(60)}, ("min_notional", D("50.050"), D(60), SIZE)),
        (order(), {"max_notional": D(50)}, ("max_notional", D("50.050"), D(50), SIZE)),
    ],
)
def test_each_filter_tells_its_figures(
    intent: OrderIntent, rules: dict[str, object], problem: tuple[str, Decimal, Decimal, str]
) -> None:
    assert told(intent, **rules) == [problem]


@pytest.mark.parametrize(
    ("intent", "free", "needed"),
    [
        (order(), "50", D("50.050")),
        (MARKET, "50", D("0.5") * 101),
        (order(reserved_quote=D(60)), "59", D(60)),
        (order(reserved_quote=D(20)), "50", D("50.050")),
        (order(side=Side.SELL), "0.4", D("0.5")),
    ],
)
def test_a_wallet_that_is_too_small_tells_what_is_free_and_what_is_needed(
    intent: OrderIntent, free: str, needed: Decimal
) -> None:
    assert told(intent, free) == [("insufficient_balance", D(free), needed, SIZE)]
    assert told(intent, str(needed)) == []
    assert told(intent, None) == []


def test_limits_of_zero_are_no_limits() -> None:
    nothing = {"max_quantity": D(0), "max_notional": D(0), "max_price": D(0), "bid_multiplier_up": D(0)}
    assert told(order(quantity=D(5000)), **nothing) == []


def test_each_side_has_its_own_band_and_each_price_of_an_order_is_held_against_it() -> None:
    sale = order(side=Side.SELL, type=OrderType.STOP_LOSS_LIMIT, limit_price=D("98.00"), stop_price=D("99.00"))
    assert told(sale, bid_multiplier_down=D(2), bid_multiplier_up=D("0.1")) == []
    assert [(code, got) for code, got, _, _ in told(sale, ask_multiplier_down=D(2))] == [
        ("price_band", D("98.00")),
        ("price_band", D("99.00")),
    ]
    assert [got for _, got, _, _ in told(sale, ask_multiplier_up=D("0.98"))] == [D("99.00")]


def test_a_notional_is_measured_at_the_limit_else_at_the_stop_else_at_the_last_trade() -> None:
    both = order(type=OrderType.STOP_LOSS_LIMIT, stop_price=D(90))
    assert notional_price(both, QUOTE) == D("100.10")
    assert notional_price(replace(both, limit_price=None), QUOTE) == 90
    assert notional_price(MARKET, QUOTE) == LAST


def test_every_problem_of_an_order_is_told_at_once() -> None:
    codes = [item[0] for item in told(order(quantity=D("0.000505"), limit_price=D("1.005")), "0")]
    assert codes == ["min_quantity", "step", "tick", "price_band", "min_notional", "insufficient_balance"]

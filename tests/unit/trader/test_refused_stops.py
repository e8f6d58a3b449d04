"""What a refused stop tells, prices that fit the filters, pauses, and what one market sale may sell."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.market import EPOCH, MarketRules, Quote, Symbol
from bn_ml.domain.positions import Tranche
from tests.fakes.venue_world import StepClock
from trader.closing import is_too_small, sale_quantity
from trader.pauses import Pauses
from trader.refusals import Refusal, refusal_of
from trader.stop_levels import fitted, is_past_stop, is_past_target

D = Decimal
AAA = Symbol("AAA/USDC")
RULES = MarketRules(
    AAA,
    tick=D("0.01"),
    step=D("0.001"),
    min_notional=D(5),
    ask_multiplier_down=D("0.9"),
    ask_multiplier_up=D("1.2"),
    min_quantity=D("0.001"),
)


def tranche(stop: str, target: str | None = None) -> Tranche:
    return Tranche("tp1", D(1), D(stop), target_price=None if target is None else D(target))


def quote(last: str, bid: str | None = None) -> Quote:
    return Quote(AAA, D(bid or last), max(D(last), D(bid or last)), D(last), EPOCH, "test")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("-2010 Filter failure: MAX_NUM_ALGO_ORDERS", Refusal.NO_STOP),
        ("-1013 Filter failure: EXCHANGE_MAX_NUM_ALGO_ORDERS", Refusal.NO_STOP),
        ("-2010 Filter failure: MAX_NUM_ORDERS", Refusal.NO_LIST),
        ("-2010 Filter failure: MAX_NUM_ORDER_LISTS", Refusal.NO_LIST),
        ("-2010 Order would trigger immediately.", Refusal.BELOW_STOP),
        ("-2010 Order would immediately match and take.", Refusal.ABOVE_TARGET),
        ("-1013 The relationship of the prices for the orders is not correct.", Refusal.CROSSED),
        ("-2010 The relationship of the prices for the orders is not correct.", Refusal.CROSSED),
        ("-2010 Account has insufficient balance for requested action.", Refusal.BALANCE),
        ("-2010 Market is closed.", Refusal.CLOSED),
        ("-1013 Market is closed.", Refusal.CLOSED),
        ("-1021 Timestamp for this request is outside of the recvWindow.", Refusal.TOO_LATE),
        ("-1015 Too many new orders; current limit is 100 orders per 10 SECOND.", Refusal.LATER),
        ("-1003 status 418: banned", Refusal.LATER),
        ("status 429: b''", Refusal.LATER),
        ("AAA/USDC: quote older than 60 s", Refusal.LATER),
        ("-1013 Filter failure: NOTIONAL", Refusal.INVALID),
        ("-1013 Filter failure: TRAILING_DELTA", Refusal.INVALID),
        ("-2015 Invalid API-key, IP, or permissions for action.", Refusal.INVALID),
    ],
)
def test_the_text_of_a_refusal_says_what_to_do(reason: str, expected: Refusal) -> None:
    assert refusal_of(reason) is expected


def test_prices_are_brought_on_a_changed_tick_without_lowering_the_stop() -> None:
    coarse = replace(RULES, tick=D("0.5"))
    aim = fitted(tranche("98.51", "102.02"), coarse, quote("100"))
    assert (aim.stop_price, aim.target_price) == (D("99.0"), D("102.5"))


@pytest.mark.parametrize(("last", "stop"), [("109.44", "98.50"), ("109.46", "98.52")])
def test_a_stop_below_the_price_band_is_raised_to_its_edge(last: str, stop: str) -> None:
    assert fitted(tranche("98.50"), RULES, quote(last)).stop_price == D(stop)


@pytest.mark.parametrize(("last", "target"), [("85.01", "102.01"), ("85.02", "102.02"), ("100", "102.02")])
def test_a_target_above_the_price_band_comes_down_to_its_edge(last: str, target: str) -> None:
    assert fitted(tranche("60", "102.02"), RULES, quote(last)).target_price == D(target)


def test_without_a_quote_only_the_tick_counts() -> None:
    assert fitted(tranche("98.501", "102.001"), RULES, None) == tranche("98.51", "102.01")


def test_a_band_that_is_off_leaves_the_target() -> None:
    off = replace(RULES, ask_multiplier_up=D(0), ask_multiplier_down=D(0))
    assert fitted(tranche("98.50", "500"), off, quote("100")) == tranche("98.50", "500")


@pytest.mark.parametrize(
    ("last", "bid", "past"), [("98.50", "98.5", True), ("98.51", "98.51", False), ("98.51", "98.5", True)]
)
def test_a_stop_is_past_when_last_or_bid_is_at_it(last: str, bid: str, past: bool) -> None:
    assert is_past_stop(tranche("98.50"), quote(last, bid)) is past


@pytest.mark.parametrize(("last", "past"), [("102.02", True), ("102.01", False)])
def test_a_target_is_past_when_the_price_is_at_it(last: str, past: bool) -> None:
    assert is_past_target(tranche("98.50", "102.02"), quote(last)) is past
    assert not is_past_target(tranche("98.50"), quote(last))


def test_a_pause_doubles_with_each_refusal_up_to_ten_seconds_and_ends_with_an_acceptance() -> None:
    clock = StepClock()
    pauses = Pauses(clock)
    lengths = []
    for _ in range(5):
        pauses.refused("a")
        seconds = 0
        while pauses.waits("a"):
            seconds += 1
            clock.sleep_until(clock.now() + timedelta(seconds=1))
        lengths.append(seconds)
    assert lengths == [2, 4, 8, 10, 10]
    pauses.refused("a")
    pauses.accepted("a")
    assert not pauses.waits("a")
    assert not pauses.waits("b")


@pytest.mark.parametrize(
    ("changes", "quantity", "expected"),
    [
        ({}, "1.2345", "1.234"),
        ({"max_quantity": D(1)}, "1.2345", "1.000"),
        ({"market_max_quantity": D("0.5")}, "1.2345", "0.500"),
        ({"market_step": D("0.1")}, "1.2345", "1.200"),
        ({"market_step": D("0.1"), "market_max_quantity": D("0.55")}, "1.2345", "0.500"),
    ],
)
def test_one_sale_sells_what_the_market_filters_allow(
    changes: dict[str, Decimal], quantity: str, expected: str
) -> None:
    assert sale_quantity(D(quantity), replace(RULES, **changes)) == D(expected)


@pytest.mark.parametrize(
    ("changes", "quantity", "too_small"),
    [
        ({}, "0.05", False),
        ({}, "0.049", True),
        ({"notional_applies_to_market": False}, "0.001", False),
        ({"notional_applies_to_market": False}, "0", True),
        ({"market_min_quantity": D("0.06")}, "0.05", True),
        ({"market_min_quantity": D("0.05")}, "0.05", False),
    ],
)
def test_a_sale_is_too_small_below_the_venues_minimum(
    changes: dict[str, object], quantity: str, too_small: bool
) -> None:
    assert is_too_small(D(quantity), D(100), replace(RULES, **changes)) is too_small  # type: ignore[arg-type]


@given(
    stop=st.decimals("0.01", "200", places=4),
    last=st.decimals("1", "200", places=2),
    tick=st.sampled_from([D("0.01"), D("0.5"), D("1")]),
)
def test_a_fitted_stop_is_on_the_tick_inside_the_band_and_never_lower(
    stop: Decimal, last: Decimal, tick: Decimal
) -> None:
    rules = replace(RULES, tick=tick)
    level = fitted(replace(tranche("1"), stop_price=stop), rules, quote(str(last))).stop_price
    assert level >= stop
    assert level % tick == 0
    assert level >= last * rules.ask_multiplier_down

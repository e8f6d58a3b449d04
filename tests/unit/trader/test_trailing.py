"""Handing a stop over to the venue: never a lower stop, never a wider distance, only what the symbol takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.market import EPOCH, Bar, MarketRules, Quote, Symbol
from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side
from trader.trailing import StopMove, guaranteed, start_level, stop_move, trailing_bp, trigger

D = Decimal
AAA = Symbol("AAA/USDC")
RULES = MarketRules(AAA, tick=D("0.01"), step=D("0.001"), min_notional=D(5))
ONE = D("0.01")


def decided(
    resting: str, wanted: str, last: str, *, distance: Decimal | None = ONE, rules: MarketRules = RULES
) -> StopMove | None:
    return stop_move(D(resting), D(wanted), D(last), rules, distance_frac=distance)


def trailing_intent(last: str = "102") -> OrderIntent:
    return OrderIntent(
        client_id="a",
        symbol=AAA,
        side=Side.SELL,
        type=OrderType.STOP_LOSS,
        quantity=D(1),
        purpose=Purpose.STOP,
        position_id="p",
        created_at=EPOCH,
        reference_price=D(last),
        trailing_bp=100,
    )


def quote(last: str, *, after_s: float) -> Quote:
    price = D(last)
    return Quote(AAA, price, price, price, EPOCH + timedelta(seconds=after_s), "test")


def bar(high: str, *, after_s: float, volume: str = "1") -> Bar:
    start, price = EPOCH + timedelta(seconds=after_s), D(high)
    return Bar(start, start + timedelta(minutes=1), price, price, price, price, D(volume))


def test_a_stop_far_below_the_market_is_handed_over() -> None:
    assert decided("98.5", "101.02", "102.04") == StopMove(D("100.76"), 100)


def test_a_stop_stays_fixed_while_nothing_trails() -> None:
    assert decided("98.5", "100.20", "102.04", distance=None) == StopMove(D("100.20"))
    assert decided("98.5", "98.5", "102.04", distance=None) is None


@pytest.mark.parametrize(("last", "trails"), [("101.50", True), ("101.45", False)])
def test_the_venue_may_start_a_tenth_of_the_distance_below_what_we_ask_for_and_no_more(last: str, trails: bool) -> None:
    wanted = "100.58"
    move = decided("98.5", wanted, last)
    assert move is not None
    assert bool(move.trailing_bp) is trails
    assert trails or move == StopMove(D(wanted))


@pytest.mark.parametrize(("resting", "trails"), [("100.76", True), ("100.77", False)])
def test_a_next_trade_a_quarter_of_the_distance_lower_never_starts_below_the_resting_stop(
    resting: str, trails: bool
) -> None:
    move = decided(resting, resting, "102.04")
    assert (move is not None and move.trailing_bp == 100) is trails


@pytest.mark.parametrize(
    ("low", "high", "allowed", "trails"),
    [(100, 100, True, True), (101, 2000, True, False), (10, 99, True, False), (10, 2000, False, False)],
)
def test_a_distance_the_symbol_does_not_take_is_trailed_from_our_side(
    low: int, high: int, allowed: bool, trails: bool
) -> None:
    rules = replace(RULES, min_trailing_delta=low, max_trailing_delta=high, trailing_allowed=allowed)
    move = decided("98.5", "101.02", "102.04", rules=rules)
    assert move is not None
    assert bool(move.trailing_bp) is trails
    assert trails or move.stop == D("101.02")


@pytest.mark.parametrize(("distance", "expected"), [("0.01", 100), ("0.004399", 43), ("0.0044", 44), ("0.00009", 0)])
def test_the_distance_is_rounded_to_the_tighter_side(distance: str, expected: int) -> None:
    assert trailing_bp(D(distance)) == expected


def test_a_distance_below_a_basis_point_is_never_handed_over() -> None:
    rules = replace(RULES, min_trailing_delta=0)
    assert decided("98.5", "102.03", "102.04", distance=D("0.00001"), rules=rules) == StopMove(D("102.03"))


def test_trades_after_the_order_lift_what_is_guaranteed() -> None:
    intent = trailing_intent()
    assert guaranteed(intent, quote("103", after_s=5), (), RULES) == D("101.97")
    assert guaranteed(intent, quote("101.5", after_s=5), (bar("104", after_s=2),), RULES) == D("102.96")


@pytest.mark.parametrize(
    ("seen", "bars"),
    [
        (quote("103", after_s=0.9), ()),
        (quote("102", after_s=5), ()),
        (quote("102", after_s=5), (bar("104", after_s=0.5),)),
        (quote("102", after_s=5), (bar("104", after_s=5, volume="0"),)),
    ],
)
def test_what_proves_no_later_trade_guarantees_nothing(seen: Quote, bars: tuple[Bar, ...]) -> None:
    assert guaranteed(trailing_intent(), seen, bars, RULES) == 0


@given(
    last=st.integers(1_000, 100_000),
    resting=st.integers(1, 100_000),
    wanted=st.integers(1, 100_000),
    basis_points=st.integers(1, 3_000),
    next_down=st.integers(0, 400),
)
def test_a_handed_over_stop_starts_at_or_above_the_resting_one(
    last: int, resting: int, wanted: int, basis_points: int, next_down: int
) -> None:
    price, distance = last * RULES.tick, D(basis_points) / 10_000
    move = stop_move(resting * RULES.tick, max(wanted, resting) * RULES.tick, price, RULES, distance_frac=distance)
    if move is None:
        return
    assert move.stop >= resting * RULES.tick
    if move.trailing_bp:
        assert move.trailing_bp <= basis_points
        slip = distance / 4 * next_down / 400
        assert trigger(price * (1 - slip), move.trailing_bp) >= resting * RULES.tick
        assert start_level(price, move.trailing_bp, RULES) == move.stop

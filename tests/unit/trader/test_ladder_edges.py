"""The smallest order, the last place and empty slices, each at its limit and on both sides of it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from test_ladder import AAA, BBB, RULES, SHARES, report
from test_trailing import bar, quote, trailing_intent

from bn_ml.domain.market import EPOCH, Quote
from bn_ml.domain.orders import OrderType
from bn_ml.domain.positions import Tranche
from trader.ladder import ENOUGH, PLENTY, Slots, free_slots, is_sellable, ladder, slices
from trader.stop_levels import is_past_stop, is_past_target
from trader.trailing import guaranteed

D = Decimal


@pytest.mark.parametrize(
    ("orders", "stops", "takes"), [(1, 1, True), (0, 1, False), (1, 0, False), (0, 0, False), (2, 5, True)]
)
def test_a_stop_needs_a_place_among_all_orders_and_among_the_stops(orders: int, stops: int, takes: bool) -> None:
    assert Slots(orders, stops, 0).takes_a_stop is takes


@pytest.mark.parametrize(
    ("quantity", "price", "least", "step", "sellable"),
    [
        ("0.05", "100", "0.05", "0.01", True),
        ("0.049", "200", "0.05", "0.001", False),
        ("0.051", "100", "0.05", "0.001", True),
        ("0.05", "100", "0.01", "0.05", True),
        ("0.04", "200", "0.01", "0.05", False),
        ("0.05", "99.99", "0.001", "0.001", False),
        ("0", "100", "0", "0.001", False),
    ],
)
def test_a_sale_passes_from_the_least_quantity_the_step_and_the_least_notional_on(
    quantity: str, price: str, least: str, step: str, sellable: bool
) -> None:
    rules = replace(RULES, min_quantity=D(least), step=D(step))
    assert is_sellable(D(quantity), D(price), rules) is sellable


def test_one_tranche_alone_must_be_sellable_at_the_stop() -> None:
    nowhere = Slots(0, 0, 0)
    assert ladder(SHARES, D("0.05"), D(100), RULES, nowhere) == [("runner", D("0.05"))]
    assert ladder(SHARES, D("0.049"), D(100), RULES, nowhere) == []
    # Quantity and price are not each other: 200 at 0.01 is too little, 0.01 at 200 as well.
    assert ladder(SHARES, D(200), D("0.01"), RULES, nowhere) == []
    assert ladder(SHARES, D(6000), D("0.001"), RULES, nowhere) == [("runner", D(6000))]


def test_a_share_of_nothing_gets_no_tranche_and_takes_no_quantity_from_the_next() -> None:
    shares = (("tp1", D("0.5")), ("tp2", D(0)), ("runner", D("0.5")))
    assert slices(shares, D(1), D(100), RULES) == [("tp1", D("0.500")), ("runner", D("0.500"))]
    small = (("tp1", D("0.04")), ("tp2", D(0)), ("runner", D("0.96")))
    assert slices(small, D(1), D(100), RULES) == [("runner", D(1))]


def test_what_is_left_at_the_end_joins_the_last_tranche() -> None:
    shares = (("tp1", D("0.97")), ("tp2", D("0.02")), ("runner", D("0.01")))
    assert slices(shares, D(1), D(100), RULES) == [("tp1", D(1))]


def test_nothing_to_sell_makes_no_tranche() -> None:
    free = replace(RULES, min_quantity=D(0))
    assert slices(SHARES, D(0), D(100), free) == []
    assert ladder(SHARES, D(0), D(100), free) == []


@pytest.mark.parametrize(("taken", "left"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_places_are_what_the_venue_allows_less_what_rests_there(taken: int, left: int) -> None:
    rules = replace(RULES, max_orders=2, max_algo_orders=2, max_order_lists=2)
    resting = [report(f"theirs-{number}", AAA, f"l-{number}") for number in range(taken)]
    elsewhere = [report(f"far-{number}", BBB, f"f-{number}") for number in range(9)]
    assert free_slots(rules, [*resting, *elsewhere], {}) == Slots(left, left, left)


def test_two_orders_of_one_list_take_one_list_and_only_contingent_ones_a_stop() -> None:
    rules = replace(RULES, max_orders=9, max_algo_orders=9, max_order_lists=9)
    resting = [report("target", AAA, "l-1"), report("stop", AAA, "l-1"), report("alone", AAA)]
    ours = {"target": OrderType.LIMIT_MAKER, "stop": OrderType.STOP_LOSS, "alone": OrderType.LIMIT}
    assert free_slots(rules, resting, ours) == Slots(6, 8, 8)
    assert free_slots(rules, resting, {}) == Slots(6, 6, 8)
    assert Slots(PLENTY, PLENTY, PLENTY) == ENOUGH


@pytest.mark.parametrize(
    ("last", "bid", "past"),
    [("102.01", "102.01", False), ("102.02", "102.00", True), ("102.00", "102.02", True), ("102.03", "102.03", True)],
)
def test_a_target_can_be_had_when_last_trade_or_bid_is_at_it(last: str, bid: str, past: bool) -> None:
    seen = Quote(AAA, D(bid), max(D(last), D(bid)), D(last), EPOCH, "test")
    assert is_past_target(Tranche("tp1", D(1), D("98.50"), target_price=D("102.02")), seen) is past


@pytest.mark.parametrize(
    ("last", "bid", "past"), [("98.51", "98.51", False), ("98.50", "98.49", True), ("98.60", "98.50", True)]
)
def test_a_stop_would_sell_when_last_trade_or_bid_is_at_it(last: str, bid: str, past: bool) -> None:
    seen = Quote(AAA, D(bid), max(D(last), D(bid)), D(last), EPOCH, "test")
    assert is_past_stop(Tranche("tp1", D(1), D("98.50")), seen) is past


@pytest.mark.parametrize(("after_s", "level"), [(0.999, 0), (1.0, "102.96"), (1.001, "102.96")])
def test_what_traded_from_a_second_after_the_order_on_lifts_its_level(after_s: float, level: str) -> None:
    before = quote("102", after_s=0)
    assert guaranteed(trailing_intent(), before, (bar("104", after_s=after_s),), RULES) == D(level)
    assert guaranteed(trailing_intent(), quote("104", after_s=after_s), (), RULES) == D(level)

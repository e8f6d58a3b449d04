"""How many tranches a position gets: at, just inside and just outside the venue's minimum and its free places."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.domain.orders import OrderReport, OrderStatus, OrderType, Side
from trader.ladder import ENOUGH, PLENTY, Slots, free_slots, is_sellable, ladder, slices

D = Decimal
AAA, BBB = Symbol("AAA/USDC"), Symbol("BBB/USDC")
RULES = MarketRules(AAA, tick=D("0.01"), step=D("0.001"), min_notional=D(5), min_quantity=D("0.001"))
SHARES = (("tp1", D("0.5")), ("tp2", D("0.3")), ("runner", D("0.2")))


def labels(*, total: str = "1", slots: Slots = ENOUGH, rules: MarketRules = RULES) -> list[str]:
    return [label for label, _ in ladder(SHARES, D(total), D(100), rules, slots)]


def report(client_id: str, symbol: Symbol = AAA, list_id: str | None = None) -> OrderReport:
    return OrderReport(client_id, symbol, Side.SELL, OrderStatus.NEW, D(1), D(0), D(0), "1", list_id=list_id)


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (Slots(5, 3, 2), ["tp1", "tp2", "runner"]),
        (Slots(4, 3, 2), ["tp1", "runner"]),
        (Slots(5, 2, 2), ["tp1", "runner"]),
        (Slots(5, 3, 1), ["tp1", "runner"]),
        (Slots(3, 2, 1), ["tp1", "runner"]),
        (Slots(2, 2, 1), ["runner"]),
        (Slots(3, 1, 1), ["runner"]),
        (Slots(3, 2, 0), ["runner"]),
        (Slots(1, 1, 0), ["runner"]),
        (Slots(0, 0, 0), ["runner"]),
    ],
)
def test_fewer_places_make_fewer_tranches_but_never_none(slots: Slots, expected: list[str]) -> None:
    assert labels(slots=slots) == expected
    assert sum(quantity for _, quantity in ladder(SHARES, D(1), D(100), RULES, slots)) == 1


def test_a_dropped_tranche_joins_the_next() -> None:
    assert ladder(SHARES, D(1), D(100), RULES, Slots(3, 2, 1)) == [("tp1", D("0.500")), ("runner", D("0.500"))]


@pytest.mark.parametrize(
    ("total", "expected"),
    [("0.245", ["tp1", "tp2", "runner"]), ("0.244", ["tp1", "tp2"]), ("0.05", ["runner"]), ("0.049", [])],
)
def test_a_slice_at_the_minimum_stands_and_one_below_it_joins(total: str, expected: list[str]) -> None:
    assert labels(total=total) == expected


def test_a_target_already_taken_gets_no_tranche() -> None:
    rest = (("tp1", D(0)), ("tp2", D("0.3")), ("runner", D("0.2")))
    assert ladder(rest, D("0.5"), D(100), RULES) == [("tp2", D("0.300")), ("runner", D("0.200"))]


def test_shares_of_nothing_leave_one_tranche() -> None:
    nothing = (("tp1", D(0)), ("tp2", D(0)), ("runner", D(0)))
    assert slices(nothing, D(1), D(100), RULES) == [("runner", D(1))]


def test_orders_of_other_programs_count_as_stops_and_ours_as_what_they_are() -> None:
    resting = [report("theirs"), report("target", list_id="l"), report("stop", list_id="l"), report("far", BBB)]
    ours = {"target": OrderType.LIMIT_MAKER, "stop": OrderType.STOP_LOSS}
    assert free_slots(RULES, resting, ours) == Slots(orders=197, stops=3, lists=19)


def test_a_full_symbol_has_no_place_and_a_missing_limit_has_plenty() -> None:
    full = MarketRules(AAA, tick=D("0.01"), step=D("0.001"), min_notional=D(5), max_algo_orders=1, max_orders=0)
    assert free_slots(full, [report("theirs")], {}) == Slots(orders=PLENTY, stops=0, lists=20)
    assert not free_slots(full, [report("theirs")], {}).takes_a_stop
    assert free_slots(full, [], {}).takes_a_stop


def test_a_symbol_without_lists_gets_a_stop_alone() -> None:
    rules = MarketRules(AAA, tick=D("0.01"), step=D("0.001"), min_notional=D(5), lists_allowed=False)
    assert labels(slots=free_slots(rules, [], {}), rules=rules) == ["runner"]


@given(
    total=st.integers(1, 100_000),
    stop=st.integers(1, 50_000),
    orders=st.integers(0, 8),
    stops=st.integers(0, 5),
    lists=st.integers(0, 3),
)
def test_every_ladder_covers_the_whole_with_sellable_tranches_in_their_places(
    total: int, stop: int, orders: int, stops: int, lists: int
) -> None:
    whole, price, slots = total * RULES.step, stop * RULES.tick, Slots(orders, stops, lists)
    cut = ladder(SHARES, whole, price, RULES, slots)
    if not is_sellable(whole, price, RULES):
        assert cut == []
        return
    assert sum(quantity for _, quantity in cut) == whole
    assert all(is_sellable(quantity, price, RULES) for _, quantity in cut)
    assert slots.fit([label for label, _ in cut]) or [label for label, _ in cut] == ["runner"]

"""The daily check finds what is beyond a limit and only that: at, inside and outside, for each limit it recomputes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bn_ml.settings import Settings
from monitoring.dod import judged
from monitoring.dod_findings import Violation
from monitoring.dod_rows import ControlRow, Notes, Payload, Rows, ToldRow
from tests.fakes.dod_days import DAY, MINUTE_MS, WINDOW, HandWritten, settings_with

AFTER = WINDOW.end + timedelta(hours=1)
WIDE = settings_with(
    max_open_positions=50,
    max_exposure_pct=1.0,
    max_daily_risk_pct=0.9,
    max_weekly_risk_pct=0.9,
    max_loss_per_day=0.5,
    max_loss_per_week=0.5,
)
SHARES = st.integers(min_value=1, max_value=999).map(lambda whole: whole / 1000)


def limited(**risk: object) -> Settings:
    """Wide settings with some limits drawn tighter."""
    return WIDE.model_copy(update={"risk": WIDE.risk.model_copy(update=risk)})


def found(day: HandWritten, settings: Settings = WIDE) -> set[Violation]:
    """What is found of the rules these days are written for."""
    report = judged(day.rows(), DAY, settings, now=AFTER)
    return {item.violation for item in report.found} - {Violation.BOOKS}


def bought(sizes: list[float], *, planned: float = 0.1) -> HandWritten:
    """A day on which one symbol after the other is bought and held."""
    day = HandWritten()
    for place, size in enumerate(sizes):
        day.buys(f"S{place}/USDC", 10 + place, size=size, planned=planned)
    return day


@given(count=st.integers(1, 12), limit=st.integers(1, 12))
def test_positions_beyond_their_limit_are_found(count: int, limit: int) -> None:
    day = bought([10.0] * count)

    assert (Violation.MAX_POSITIONS in found(day, limited(max_open_positions=limit))) == (count > limit)


@given(sizes=st.lists(st.integers(1, 20_000).map(lambda cents: cents / 100), min_size=1, max_size=4), share=SHARES)
def test_exposure_beyond_its_limit_is_found(sizes: list[float], share: float) -> None:
    total = sum(round(size * 100) for size in sizes)
    beyond = total > round(share * 1000) * 100

    assert (found(bought(sizes), limited(max_exposure_pct=share)) == {Violation.EXPOSURE}) == beyond


@given(planned=st.lists(st.integers(1, 500).map(lambda cents: cents / 100), min_size=1, max_size=5), share=SHARES)
@pytest.mark.parametrize(
    ("violation", "name"),
    [(Violation.DAILY_RISK, "max_daily_risk_pct"), (Violation.WEEKLY_RISK, "max_weekly_risk_pct")],
)
def test_planned_losses_beyond_a_budget_are_found(
    violation: Violation, name: str, planned: list[float], share: float
) -> None:
    share = share / 100
    day = HandWritten()
    for place, loss in enumerate(planned):
        day.buys(f"S{place}/USDC", 10 + place, size=1.0, planned=loss)
    beyond = sum(round(loss * 100) for loss in planned) > round(share * 100_000)

    assert (found(day, limited(**{name: share})) == {violation}) == beyond


@pytest.mark.parametrize(
    ("equity", "expected"),
    [(970.01, set()), (970.0, {Violation.DAILY_DRAWDOWN}), (969.99, {Violation.DAILY_DRAWDOWN}), (1100.0, set())],
)
def test_an_entry_while_the_day_has_lost_its_limit_is_found(equity: float, expected: set[Violation]) -> None:
    day = HandWritten()
    day.cycle(0, cycle=1)
    day.buys("A/USDC", 30, notes=Notes(equity=equity))

    assert found(day, limited(max_loss_per_day=0.03)) == expected


def test_the_costs_of_a_turns_own_entries_do_not_trip_the_breaker_of_that_turn() -> None:
    day = HandWritten(begin_ms=WINDOW.begin_ms)
    day.cycle(0, cycle=1)
    first = day.buys("A/USDC", 30, notes=Notes(equity=970.05))
    second = day.buys("B/USDC", 30, notes=Notes(equity=969.95))
    day.cycle(31, cycle=2, equity=969.9, daily_pnl_pct=-0.0301)
    rows = day.rows()
    told = tuple(_sent(rows, name, cycle=2) for name in (first, second))

    report = judged(replace(rows, told=told), DAY, limited(max_loss_per_day=0.03), now=AFTER)

    assert {item.violation for item in report.found} - {Violation.BOOKS} == set()


@pytest.mark.parametrize(("ratio", "is_found"), [(1.49, False), (1.5, False), (1.51, True), (float("nan"), False)])
def test_a_buy_in_a_volatile_market_is_found(ratio: float, is_found: bool) -> None:
    day = HandWritten()
    day.buys("A/USDC", 30, notes=Notes(equity=1000.0, market_volatility_ratio=ratio))

    assert (found(day) == {Violation.VOLATILITY}) == is_found


@pytest.mark.parametrize("blocks", [True, False])
def test_a_buy_in_a_drifting_market_is_found_where_drift_blocks(blocks: bool) -> None:
    breakers = WIDE.risk.circuit_breakers.model_copy(update={"drift_block_enabled": blocks})
    day = HandWritten()
    day.buys("A/USDC", 30, notes=Notes(equity=1000.0, market_drift_detected=True))

    assert (found(day, limited(circuit_breakers=breakers)) == {Violation.DRIFT}) == blocks


@given(
    state=st.sampled_from(["NORMAL", "REDUCE_ONLY", "HALTED"]),
    offset_ms=st.sampled_from([-MINUTE_MS, -1, 0, 1, MINUTE_MS]),
    knows=st.booleans(),
)
def test_an_entry_is_judged_by_the_state_it_was_committed_under_and_the_one_in_force(
    state: str, offset_ms: int, knows: bool
) -> None:
    day = HandWritten()
    day.control.append(ControlRow(2, state, "", day.begin_ms + 30 * MINUTE_MS + offset_ms))
    day.buys("A/USDC", 30, epoch=2 if knows else 1)
    forbidden = state != "NORMAL" and (knows or offset_ms < 0)

    assert (found(day) == {Violation.CONTROL}) == forbidden


@example(late_ms=5000, covered=1.0)
@example(late_ms=5001, covered=1.0)
@given(late_ms=st.integers(0, 9000), covered=st.sampled_from([0.0, 0.5, 0.999, 1.0]))
def test_what_waits_for_its_stop_longer_than_five_seconds_is_found(late_ms: int, covered: float) -> None:
    day = HandWritten()
    day.buys("A/USDC", 30, size=10.0, stop_after_ms=late_ms, covered=covered)
    day.cycle(31, cycle=1)
    is_bare = late_ms > 5000 or covered < 1.0

    assert (found(day) == {Violation.NO_STOP}) == is_bare


def test_where_time_jumps_from_bar_to_bar_no_stop_may_be_late() -> None:
    day = HandWritten()
    day.buys("A/USDC", 30, stop_after_ms=1000)
    day.cycle(31, cycle=1, data_source="replay")

    assert found(day) == {Violation.NO_STOP}


def test_a_position_bare_since_the_day_before_is_found_on_both_days() -> None:
    day = HandWritten(begin_ms=WINDOW.begin_ms - 60 * MINUTE_MS)
    day.buys("A/USDC", 30, covered=0.5)

    assert found(day) == {Violation.NO_STOP}
    before = judged(day.rows(), DAY - timedelta(days=1), WIDE, now=AFTER)
    assert Violation.NO_STOP in {item.violation for item in before.found}


def test_what_a_day_before_did_wrong_is_not_found_again() -> None:
    day = HandWritten(begin_ms=WINDOW.begin_ms - 60 * MINUTE_MS)
    day.control.append(ControlRow(2, "HALTED", "", day.begin_ms))
    day.buys("A/USDC", 30, epoch=2)

    assert found(day) == set()
    before = judged(day.rows(), DAY - timedelta(days=1), WIDE, now=AFTER)
    assert Violation.CONTROL in {item.violation for item in before.found}


def test_a_week_remembers_what_was_planned_on_its_earlier_days() -> None:
    monday = WINDOW.begin_ms - 2 * 24 * 60 * MINUTE_MS
    day = HandWritten(begin_ms=monday)
    day.buys("A/USDC", 30, planned=30.0)
    day.begin_ms = WINDOW.begin_ms
    day.buys("B/USDC", 30, planned=31.0)

    assert found(day, limited(max_weekly_risk_pct=0.0611)) == set()
    assert found(day, limited(max_weekly_risk_pct=0.0609)) == {Violation.WEEKLY_RISK}


def test_a_plan_that_understates_what_its_stop_leaves_to_lose_is_not_believed() -> None:
    day = HandWritten()
    day.buys("A/USDC", 30, size=100.0, planned=0.1)

    assert found(day, limited(max_daily_risk_pct=0.00101)) == set()
    assert found(day, limited(max_daily_risk_pct=0.00099)) == {Violation.DAILY_RISK}


def test_in_live_shares_are_taken_of_the_capital_allowed_not_of_all_equity() -> None:
    settings = limited(max_exposure_pct=0.5, max_live_capital_usdt=100.0)
    day = HandWritten(mode="live")
    day.buys("A/USDC", 30, size=51.0)
    day.cycle(31, cycle=1)

    assert found(day, settings) == {Violation.EXPOSURE}
    day.mode = "paper"
    day.cycles.clear()
    assert found(day, settings) == set()


def _sent(rows: Rows, name: str, *, cycle: int) -> ToldRow:
    """What the journal tells of an order: in which turn of the loop it was sent."""
    row = next(item for item in rows.intents if item.client_id == name)
    return ToldRow(row.seq, row.created_ms, cycle, "OrderSent", Payload(client_id=name))

"""Approved entries that are not sent after all: counted once, journaled with their figures, and nothing is bought."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.events import RiskRefused
from tests.fakes.faulty_exchange import Fault
from tests.fakes.money_world import AAA, BBB, MoneyWorld, NewWorld, money_settings
from tests.fakes.venue_troubles import foreign_stop
from trader.entries import free_disk_mb
from trader.entry_plan import load_plan

D = Decimal


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path)
    made.start()
    return made


def refused(world: MoneyWorld) -> list[tuple[str, float, float]]:
    facts: list[RiskRefused] = world.recorder.of("RiskRefused")
    return [(fact.rule, fact.value, fact.limit) for fact in facts if fact.symbol == AAA]


def while_counting(world: MoneyWorld, act: Callable[[], object]) -> None:
    """Let something happen between judging and sending, once."""
    left, scans = [act], world.scanner.scans

    def hook(method: str, client_ids: tuple[str, ...]) -> None:
        if method == "open_orders" and left and world.scanner.scans > scans:
            left.pop()()

    world.faults.before_call = hook


def nothing_was_sent(world: MoneyWorld) -> bool:
    return not world.faults.sent and world.bot.store.recent_intents(5) == () and not world.recorder.of("EntryApproved")


def test_one_without_a_place_for_its_stop(world: MoneyWorld) -> None:
    foreign_stop(world, *range(5))
    report = world.buy(AAA)
    assert (report.opened, dict(report.refusals)) == (0, {"no_valid_stop": 1})
    assert refused(world) == [("no_valid_stop", 0.0, 1.0)]
    assert nothing_was_sent(world)


def test_one_the_venue_would_refuse(world: MoneyWorld) -> None:
    world.market.rule_changes = {"bid_multiplier_up": D("0.9")}
    report = world.buy(AAA)
    ((rule, price, limit),) = refused(world)
    assert (report.opened, dict(report.refusals)) == (0, {rule: 1})
    assert (rule, limit) == ("price_band", 90.0)
    assert price >= 100
    assert nothing_was_sent(world)


def test_one_that_became_forbidden_since_it_was_judged(world: MoneyWorld) -> None:
    def reduce() -> None:
        world.bot.store.set_control(ControlState.REDUCE_ONLY, "somebody else", "tests", world.clock.now())

    while_counting(world, reduce)
    report = world.buy(AAA)
    assert (report.opened, dict(report.refusals)) == (0, {"control_state": 1})
    assert refused(world) == [("control_state", 1.0, 0.0)]
    assert nothing_was_sent(world)


def test_one_whose_quote_grew_old_in_the_meantime(world: MoneyWorld) -> None:
    limit = world.settings.data.max_quote_age_entry_sec

    def passes() -> None:
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=limit + 1))

    while_counting(world, passes)
    report = world.buy(AAA)
    assert (report.opened, dict(report.refusals)) == (0, {"quote_stale": 1})
    assert refused(world) == [("quote_stale", limit + 1.0, float(limit))]
    assert nothing_was_sent(world)


def test_one_that_waited_exactly_as_long_as_it_may_is_sent(world: MoneyWorld) -> None:
    limit = world.settings.data.max_quote_age_entry_sec
    while_counting(world, lambda: world.clock.sleep_until(world.clock.now() + timedelta(seconds=limit)))
    assert world.buy(AAA).opened == 1


def test_one_that_would_be_too_much_at_the_prices_of_now(new_world: NewWorld, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    world = new_world(
        tmp_path / "full", money_settings(risk={"max_exposure_pct": 0.11, "max_symbol_exposure_pct": 0.11})
    )
    world.start()
    assert world.buy(BBB).opened == 1

    def rise() -> None:
        world.clock.sleep_until(world.clock.now() + timedelta(milliseconds=40))
        world.market.move(BBB, "101.90")

    while_counting(world, rise)
    world.buy(AAA)
    held = sum(item.remaining_quantity * D("101.89") for item in world.bot.positions.open_positions())
    assert world.held(AAA).initial_quantity > 0
    assert held <= world.bot.engine.account().equity * D("0.11")


def test_one_without_data_is_counted_under_its_reason_and_the_next_is_bought(world: MoneyWorld) -> None:
    world.market.down.add(AAA)
    report = world.buy(AAA, BBB)
    assert (report.opened, dict(report.refusals)) == (1, {"data_unavailable": 1})
    assert [item.symbol for item in world.bot.positions.open_positions()] == [BBB]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST])
def test_one_that_bought_nothing_is_not_counted_as_opened(world: MoneyWorld, fault: Fault) -> None:
    world.faults.next("create_order", fault)
    report = world.buy(AAA)
    assert (report.opened, dict(report.refusals)) == (0, {})
    (record,) = world.bot.store.recent_intents(5)
    assert load_plan(world.bot.store, record.intent.position_id).score == 8.0
    assert world.bot.positions.open_positions() == ()


def test_the_figures_of_what_was_approved_are_journaled_with_it(world: MoneyWorld) -> None:
    world.buy(AAA)
    (approved,) = world.recorder.of("EntryApproved")
    (record,) = (item for item in world.bot.store.recent_intents(20) if item.intent.purpose.value == "entry")
    assert (approved.symbol, approved.score, approved.confidence) == (AAA, 8.0, pytest.approx(0.6))
    assert approved.size_quote == pytest.approx(record.intent.quantity * record.intent.reference_price, rel=D("0.001"))
    assert approved.at == record.intent.created_at


def test_what_was_bought_today_and_may_still_be_bought_counts(world: MoneyWorld) -> None:
    world.buy(AAA)
    bought = world.held(AAA).cost_quote
    now = world.clock.now()
    assert world.bot.entries.notional_today(now) == bought
    assert (
        world.bot.entries.orders_last_minute(now),
        world.bot.entries.orders_last_minute(now + timedelta(seconds=61)),
    ) == (
        1,
        0,
    )
    world.faults.next("create_order", Fault.LOST)
    world.buy(BBB)
    (pending,) = world.live()[-1:]
    assert world.bot.entries.notional_today(world.clock.now()) == bought + pending.intent.reserved_quote
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert world.bot.entries.notional_today(midnight) == 0


def test_a_market_order_that_paid_more_than_expected_halts_nobody(new_world: NewWorld, tmp_path: Path) -> None:
    orders = {"entry_type": "market", "max_notional_per_day_usdt": 20}
    world = new_world(tmp_path, money_settings(exchange={"orders": orders}))
    world.start()
    world.faults.before_call = lambda method, _: dearer(world, method)
    world.buy(AAA)
    now, (entry,) = world.clock.now(), world.bot.store.entries_since(world.clock.now() - timedelta(minutes=1))
    cap = D(str(world.settings.exchange.orders.max_notional_per_day_usdt))
    assert entry.intent.reserved_quote <= cap < world.bot.entries.notional_today(now)
    assert world.bot.entries.allowed_today(now) <= cap
    world.cycle()
    assert world.bot.store.control().state is ControlState.NORMAL


def dearer(world: MoneyWorld, method: str) -> None:
    """Let the ask rise by a twentieth just before an order arrives."""
    if method == "create_order":
        world.market.move(AAA, "105")


def test_the_free_space_is_that_of_the_disk_of_the_book_in_millions_of_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    class Usage:
        free = 123_456_789

    def usage(path: Path) -> Usage:
        asked.append(path)
        return Usage()

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert free_disk_mb(tmp_path / "bn_ml.db") == 123.456789
    assert asked == [tmp_path]


def test_what_risk_refuses_is_journaled_with_what_was_measured_and_its_limit(world: MoneyWorld) -> None:
    world.market.frozen_at[AAA] = world.clock.now() - timedelta(seconds=20)
    report = world.buy(AAA)
    ((rule, value, limit),) = refused(world)
    assert (report.opened, dict(report.refusals)) == (0, {rule: 1})
    assert (value, limit) == (20.0, float(world.settings.data.max_quote_age_entry_sec))
    assert nothing_was_sent(world)


def test_what_a_rule_of_risk_refuses_is_journaled_with_its_figures(world: MoneyWorld) -> None:
    world.market.depth[AAA] = D(10)
    report = world.buy(AAA)
    ((rule, depth, needed),) = refused(world)
    assert (report.opened, dict(report.refusals)) == (0, {rule: 1})
    assert 0 < depth < needed


def test_a_day_begins_at_midnight_to_the_second(world: MoneyWorld) -> None:
    midnight = world.clock.now().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    world.clock.sleep_until(midnight + timedelta(seconds=2))
    world.buy(AAA)
    now = world.clock.now()
    assert world.held(AAA).opened_at < midnight + timedelta(seconds=30)
    assert world.bot.entries.notional_today(now) == world.held(AAA).cost_quote > 0

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from risk_builders import ETH, NOW, market_rules, position, quote

from bn_ml.domain.decisions import ExitPlan
from bn_ml.domain.market import Quote
from bn_ml.domain.positions import ExitReason, Position
from bn_ml.settings import RiskSettings
from trader.exit_manager import ExitManager, stop_reason, traded_price
from trader.ladder import is_sellable

EXITS = ExitManager(RiskSettings())
RULES = market_rules(ETH)


def at(price: str) -> Quote:
    return quote(ETH, bid=price, ask=price)


def plan(held: Position, price: str, *, exits: ExitManager = EXITS, hours: float = 1, sells: bool = False) -> ExitPlan:
    now = NOW + timedelta(hours=hours)
    return exits.plan(held, at(price), held.atr_frac, now, sells, RULES)


def test_levels_lie_on_ticks_with_the_stop_below_and_targets_above() -> None:
    levels = EXITS.levels(Decimal("33.337"), 0.003, market_rules(ETH))
    assert (levels.stop, levels.target_1, levels.target_2) == (Decimal("32.83"), Decimal("34.01"), Decimal("34.51"))


def test_levels_of_a_tiny_price_are_right() -> None:
    levels = EXITS.levels(Decimal("0.00001234"), 0.003, market_rules(ETH, tick=Decimal("0.00000001")))
    assert (levels.stop, levels.target_1) == (Decimal("0.00001215"), Decimal("0.00001259"))


def test_levels_stay_apart_and_positive_when_the_tick_is_coarse() -> None:
    levels = EXITS.levels(Decimal("0.00000001"), 0.003, market_rules(ETH, tick=Decimal("0.00000001")))
    assert 0 < levels.stop <= Decimal("0.00000001") < levels.target_1 < levels.target_2


def test_a_fill_without_an_atr_gets_the_closest_stop() -> None:
    exits = ExitManager(RiskSettings(exit_mode="atr"))
    assert exits.levels(Decimal(100), 0.0, RULES).stop == Decimal("99.50")
    assert exits.levels(Decimal(100), float("nan"), RULES).stop == Decimal("99.50")
    with pytest.raises(ValueError, match="positive ATR"):
        exits.raw_levels(Decimal(100), 0.0)


def test_the_price_that_triggers_is_the_last_trade_within_bid_and_ask() -> None:
    wide = quote(ETH, bid="99", ask="101")
    assert traded_price(replace(wide, last=Decimal(100))) == 100
    assert traded_price(replace(wide, last=Decimal(120))) == 101
    assert traded_price(replace(wide, last=Decimal(80))) == 99


@pytest.mark.parametrize(("price", "reason"), [("98.51", None), ("98.50", "stop_loss"), ("90", "stop_loss")])
def test_stop(price: str, reason: str | None) -> None:
    found = plan(position(), price).close_all
    assert (found.value if found else None) == reason


@pytest.mark.parametrize(("price", "reason"), [("97.01", None), ("97.00", "hard_drawdown"), ("95", "hard_drawdown")])
def test_hard_drawdown_behind_a_wide_stop(price: str, reason: str | None) -> None:
    found = plan(position(stop=Decimal(90)), price).close_all
    assert (found.value if found else None) == reason


def test_the_stop_comes_before_everything_else() -> None:
    assert plan(position(), "95", hours=48, sells=True).close_all is ExitReason.STOP_LOSS


@pytest.mark.parametrize(("hours", "closes"), [(23.99, False), (24, True), (24.01, True)])
def test_time_stop_closes_whatever_the_profit(hours: float, closes: bool) -> None:
    found = plan(position(), "101", hours=hours)
    assert found.close_all is (ExitReason.TIME_STOP if closes else None)


def test_nothing_happens_in_quiet_times() -> None:
    found = plan(position(), "100.5")
    assert found.is_empty
    assert found.max_price_seen == Decimal("100.5")


def test_a_sell_signal_closes_only_when_asked_to() -> None:
    wanted = ExitManager(RiskSettings(sell_signal_exit=True))
    assert plan(position(), "100", sells=True).close_all is None
    assert plan(position(), "100", sells=True, exits=wanted).close_all is ExitReason.SELL_SIGNAL


def test_after_the_first_target_the_stop_trails_the_highest_price() -> None:
    held = position(tp1_hit=True, max_price_seen=Decimal(103))
    found = plan(held, "102.5")
    assert found.new_stop == Decimal("101.97")
    assert found.trailing_active
    higher = plan(replace(held, stop=Decimal("101.97"), trailing_active=True), "104")
    assert higher.new_stop == Decimal("102.96")


def test_a_raised_stop_never_moves_down() -> None:
    held = position(tp1_hit=True, max_price_seen=Decimal(103), stop=Decimal("102.40"), trailing_active=True)
    assert plan(held, "102.5").new_stop is None


def test_without_trailing_the_stop_pays_back_what_was_paid_and_both_fees() -> None:
    exits = ExitManager(RiskSettings(trailing_enabled=False))
    held = position(tp1_hit=True, initial_quantity=Decimal("0.999"), remaining_quantity=Decimal("0.4995"))
    found = plan(replace(held, cost_quote=Decimal(100)), "102", exits=exits)
    assert found.new_stop == Decimal("100.21")
    assert found.new_stop * Decimal("0.999") * Decimal("0.999") >= 100


def test_break_even_is_rounded_up_to_the_tick() -> None:
    exits = ExitManager(RiskSettings(trailing_enabled=False))
    held = position(entry="0.00001234", quantity="1000000", tp1_hit=True)
    rules = market_rules(ETH, tick=Decimal("0.00000001"))
    price = quote(ETH, bid="0.00001260", ask="0.00001260")
    assert exits.plan(held, price, 0.003, NOW, False, rules).new_stop == Decimal("0.00001237")


@pytest.mark.parametrize(("price", "closes"), [("101.98", False), ("101.97", True), ("101.00", True)])
def test_a_stop_raised_to_the_price_closes_at_once(price: str, closes: bool) -> None:
    held = position(tp1_hit=True, max_price_seen=Decimal(103))
    assert plan(held, price).close_all is (ExitReason.TRAILING_STOP if closes else None)


def test_trailing_by_gain_needs_no_target() -> None:
    exits = ExitManager(RiskSettings(trailing_after="pct", trailing_activation_pct=0.01))
    assert plan(position(), "100.99", exits=exits).new_stop is None
    assert plan(position(), "101.00", exits=exits).new_stop == Decimal("99.99")


def test_trailing_by_atr_uses_the_given_atr() -> None:
    exits = ExitManager(RiskSettings(exit_mode="atr"))
    held = position(tp1_hit=True, max_price_seen=Decimal(110), atr_frac=0.01)
    assert plan(held, "109.5", exits=exits).new_stop == Decimal("108.90")


def test_the_reason_of_a_hit_stop_follows_the_trailing_flag() -> None:
    assert stop_reason(position()) is ExitReason.STOP_LOSS
    assert stop_reason(position(trailing_active=True)) is ExitReason.TRAILING_STOP


def split(held: Position, **rules: object) -> list[tuple[str, str]]:
    return [(item.label, f"{item.quantity:f}") for item in EXITS.tranches(held, market_rules(ETH, **rules))]


def test_a_position_is_split_50_30_20_with_targets_and_one_stop() -> None:
    found = EXITS.tranches(position(), RULES)
    assert [(item.label, item.quantity) for item in found] == [
        ("tp1", Decimal("0.50000")),
        ("tp2", Decimal("0.30000")),
        ("runner", Decimal("0.20000")),
    ]
    assert [item.target_price for item in found] == [Decimal(102), Decimal("103.5"), None]
    assert {item.stop_price for item in found} == {Decimal("98.5")}


@pytest.mark.parametrize(
    ("quantity", "labels"),
    [
        ("0.26", ["tp1", "tp2", "runner"]),
        ("0.25", ["tp1", "tp2"]),
        ("0.17", ["tp1", "tp2"]),
        ("0.16", ["tp1", "runner"]),
        ("0.09", ["tp2"]),
        ("0.06", ["runner"]),
        ("0.05", []),
    ],
)
def test_slices_below_the_minimum_at_the_stop_join_the_next(quantity: str, labels: list[str]) -> None:
    """Minimum 5 at a stop of 98.5: a slice needs at least 0.0508 units."""
    found = EXITS.tranches(position(quantity=quantity), RULES)
    assert [item.label for item in found] == labels
    assert sum((item.quantity for item in found), Decimal(0)) == (Decimal(quantity) if labels else 0)


def test_the_least_quantity_counts_like_the_least_notional() -> None:
    assert split(position(), min_quantity=Decimal("0.25")) == [("tp1", "0.50000"), ("tp2", "0.50000")]


def test_the_rest_below_a_step_is_left_to_dust() -> None:
    found = EXITS.tranches(position(quantity="0.999999"), RULES)
    assert sum(item.quantity for item in found) == Decimal("0.99999")


def test_targets_already_taken_get_no_tranche() -> None:
    held = position(tp1_hit=True, remaining_quantity=Decimal("0.5"))
    assert split(held) == [("tp2", "0.30000"), ("runner", "0.20000")]
    assert split(replace(held, tp2_hit=True)) == [("runner", "0.50000")]


def test_a_position_too_small_for_a_target_tranche_still_trails_after_passing_it() -> None:
    held = position(quantity="0.06")
    small = replace(held, tranches=EXITS.tranches(held, RULES))
    assert not plan(small, "102").trailing_active
    passed = plan(small, "102.5")
    assert passed.trailing_active
    assert passed.new_stop == Decimal("101.47")


def test_sellable_means_at_least_minimum_and_step() -> None:
    assert is_sellable(Decimal("0.05"), Decimal(100), RULES)
    assert not is_sellable(Decimal("0.04999"), Decimal(100), RULES)
    assert not is_sellable(Decimal("0.05"), Decimal(100), market_rules(ETH, min_quantity=Decimal("0.06")))


def test_the_trailing_distance_is_known_only_while_it_trails() -> None:
    held = position()
    assert EXITS.trailing_frac(held) is None
    assert EXITS.trailing_frac(replace(held, trailing_active=True)) == Decimal("0.01")

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from bn_ml.domain.exit_levels import (
    BarPath,
    ExitRules,
    TradeOutcome,
    break_even,
    initial_levels,
    raised_stop,
    trailing_distance,
    trailing_is_active,
    walk_trade,
    walk_trades,
)
from bn_ml.domain.market import exact
from bn_ml.domain.positions import ExitReason
from bn_ml.exit_rules import exit_rules
from bn_ml.settings import RiskSettings

RULES = exit_rules(RiskSettings(), float)
Bars = list[tuple[float, float, float, float]]
FLAT = (100.0, 100.5, 99.5, 100.0)


def path(bars: Bars) -> BarPath[float]:
    opens, highs, lows, closes = zip(*bars, strict=True)
    return BarPath(opens, highs, lows, closes)


def walked(bars: Bars, rules: ExitRules[float] = RULES, max_bars: int = 96) -> TradeOutcome[float]:
    return walk_trade(100.0, path(bars), rules, atr_frac=0.004, max_bars=max_bars)


def reasons(outcome: TradeOutcome[float]) -> list[ExitReason]:
    return [leg.reason for leg in outcome.legs]


def test_fixed_levels_are_fractions_of_the_entry() -> None:
    levels = initial_levels(Decimal(100), Decimal(0), exit_rules(RiskSettings(), exact))
    assert (levels.stop, levels.target_1, levels.target_2) == (Decimal("98.5"), Decimal(102), Decimal("103.5"))


@pytest.mark.parametrize(("atr", "stop_frac"), [(0.003, 0.005), (0.01, 0.015), (0.05, 0.05)])
def test_atr_levels_are_clamped_and_keep_their_proportions(atr: float, stop_frac: float) -> None:
    rules = replace(RULES, by_atr=True)
    levels = initial_levels(100.0, atr, rules)
    assert 1 - levels.stop / 100 == pytest.approx(stop_frac)
    assert levels.target_1 / 100 - 1 == pytest.approx(stop_frac * 2.0 / 1.5)
    assert levels.target_2 / 100 - 1 == pytest.approx(stop_frac * 3.5 / 1.5)


@pytest.mark.parametrize("atr", [0.0, -0.01, math.nan])
def test_atr_levels_refuse_an_unknown_atr(atr: float) -> None:
    with pytest.raises(ValueError, match="positive ATR"):
        initial_levels(100.0, atr, replace(RULES, by_atr=True))


def test_rules_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="out of order"):
        replace(RULES, target_1_frac=0.04)
    with pytest.raises(ValueError, match="shares"):
        replace(RULES, target_1_share=0.8)
    with pytest.raises(ValueError, match="clamp"):
        replace(RULES, stop_min_frac=0.06)
    with pytest.raises(ValueError, match="one length"):
        BarPath((1.0,), (1.0,), (1.0,), ())


def test_break_even_pays_both_fees() -> None:
    level = break_even(Decimal(100), Decimal("0.001"))
    assert level * (1 - Decimal("0.001")) == pytest.approx(Decimal(100) * (1 + Decimal("0.001")))


def test_trailing_starts_after_the_first_target_or_from_a_gain() -> None:
    by_gain = replace(RULES, trailing_after_tp1=False)
    assert trailing_is_active(100.0, 100.0, RULES, tp1_hit=True)
    assert not trailing_is_active(100.0, 110.0, RULES, tp1_hit=False)
    assert trailing_is_active(100.0, 102.0, by_gain, tp1_hit=False)
    assert not trailing_is_active(100.0, 101.99, by_gain, tp1_hit=True)
    assert not trailing_is_active(100.0, 110.0, replace(RULES, trailing_enabled=False), tp1_hit=True)


def test_trailing_distance_is_a_fraction_or_a_multiple_of_atr() -> None:
    assert trailing_distance(0.004, RULES) == 0.01
    assert trailing_distance(0.01, replace(RULES, by_atr=True)) == pytest.approx(0.01)
    assert trailing_distance(0.0, replace(RULES, by_atr=True)) == 0.01


def test_a_stop_is_only_ever_raised() -> None:
    assert raised_stop(100.0, 98.5, 105.0, RULES, tp1_hit=False, atr_frac=0.0) == 98.5
    assert raised_stop(100.0, 98.5, 103.0, RULES, tp1_hit=True, atr_frac=0.0) == pytest.approx(101.97)
    assert raised_stop(100.0, 102.5, 103.0, RULES, tp1_hit=True, atr_frac=0.0) == 102.5


def test_holding_bars_are_whole_and_at_least_one() -> None:
    assert RULES.holding_bars(timedelta(minutes=15)) == 96
    assert RULES.holding_bars(timedelta(hours=36)) == 1


@pytest.mark.parametrize(("low", "stopped"), [(98.51, False), (98.5, True), (98.49, True)])
def test_a_stop_triggers_when_touched_and_fills_at_its_level(low: float, stopped: bool) -> None:
    outcome = walked([FLAT, (100.0, 100.2, low, 99.5)])
    assert outcome.is_complete is stopped
    if stopped:
        assert reasons(outcome) == [ExitReason.STOP_LOSS]
        assert outcome.gross_return_frac == pytest.approx(-0.015)
        assert outcome.exit_index == 1


def test_a_gap_through_the_stop_fills_at_the_open() -> None:
    outcome = walked([FLAT, (97.0, 99.0, 96.0, 98.0)])
    assert outcome.gross_return_frac == pytest.approx(-0.03)


@pytest.mark.parametrize(("high", "filled"), [(101.99, False), (102.0, False), (102.01, True)])
def test_a_target_fills_only_when_traded_through(high: float, filled: bool) -> None:
    outcome = walked([(100.0, high, 99.9, 100.5)])
    assert reasons(outcome) == ([ExitReason.TP1] if filled else [])


def test_the_low_comes_before_the_high() -> None:
    assert reasons(walked([(100.0, 104.0, 98.5, 103.0)])) == [ExitReason.STOP_LOSS]


def test_a_bar_that_opens_above_a_target_sells_there_before_its_low() -> None:
    outcome = walked([FLAT, (102.5, 103.0, 98.0, 99.0)])
    assert reasons(outcome) == [ExitReason.TP1, ExitReason.TRAILING_STOP]
    assert outcome.legs[0].price == pytest.approx(102.0)


def test_a_target_filled_by_the_open_raises_the_stop_for_the_same_bar() -> None:
    outcome = walked([FLAT, (102.5, 103.0, 98.0, 99.0)])
    assert [leg.index for leg in outcome.legs] == [1, 1]
    assert outcome.legs[1].price == pytest.approx(102.5 * 0.99)
    assert outcome.gross_return_frac == pytest.approx(0.5 * 0.02 + 0.5 * (1.025 * 0.99 - 1))


def test_both_targets_then_the_trailing_stop_sell_the_runner() -> None:
    outcome = walked([(100.0, 104.0, 99.9, 103.9), (103.9, 104.2, 103.5, 104.0), (104.0, 104.1, 102.0, 102.5)])
    assert reasons(outcome) == [ExitReason.TP1, ExitReason.TP2, ExitReason.TRAILING_STOP]
    assert [leg.share for leg in outcome.legs] == pytest.approx([0.5, 0.3, 0.2])
    assert outcome.legs[2].price == pytest.approx(104.2 * 0.99)
    assert outcome.exit_index == 2


def test_a_stop_raised_by_a_bar_acts_from_the_next_one() -> None:
    """The bar reaches 103 and falls to 100.2 before its close; the trailed stop of 101.97 meets the next open."""
    outcome = walked([(100.0, 103.0, 99.0, 100.2), (100.2, 100.5, 100.0, 100.1)])
    assert reasons(outcome) == [ExitReason.TP1, ExitReason.TRAILING_STOP]
    assert outcome.legs[1].price == 100.2
    assert outcome.exit_index == 1


def test_without_trailing_the_stop_goes_to_break_even() -> None:
    rules = replace(RULES, trailing_enabled=False)
    outcome = walked([(100.0, 103.0, 99.9, 102.5), (102.5, 102.6, 100.0, 100.4)], rules)
    assert reasons(outcome) == [ExitReason.TP1, ExitReason.STOP_LOSS]
    assert outcome.legs[1].price == pytest.approx(break_even(100.0, 0.001))


def test_trailing_by_gain_begins_before_any_target() -> None:
    rules = replace(RULES, trailing_after_tp1=False, trailing_activation_frac=0.01)
    outcome = walked([(100.0, 101.5, 99.9, 101.4), (101.4, 101.45, 100.0, 100.2)], rules)
    assert reasons(outcome) == [ExitReason.TRAILING_STOP]
    assert outcome.legs[0].price == pytest.approx(101.5 * 0.99)


def test_hard_drawdown_leaves_at_the_next_open_when_the_stop_is_wider() -> None:
    rules = replace(RULES, stop_frac=0.1)
    outcome = walked([FLAT, (100.0, 100.0, 96.5, 96.9), (96.9, 98.0, 96.0, 97.0)], rules)
    assert reasons(outcome) == [ExitReason.HARD_DRAWDOWN]
    assert outcome.legs[0].price == 96.9


def test_time_stop_sells_at_the_close_of_the_last_bar() -> None:
    outcome = walked([FLAT, FLAT, (100.0, 101.0, 99.0, 100.7), FLAT], max_bars=3)
    assert reasons(outcome) == [ExitReason.TIME_STOP]
    assert outcome.exit_index == 2
    assert outcome.gross_return_frac == pytest.approx(0.007)


def test_a_trade_that_outlives_the_bars_is_incomplete() -> None:
    outcome = walked([FLAT, FLAT], max_bars=3)
    assert not outcome.is_complete
    assert outcome.exit_index == -1
    assert outcome.exit_reason is None


def test_decimals_walk_like_floats() -> None:
    bars: Bars = [(100.0, 104.0, 99.9, 103.9), (103.9, 104.2, 103.5, 104.0), (104.0, 104.1, 102.0, 102.5)]
    columns = [[exact(price) for price in column] for column in zip(*bars, strict=True)]
    exactly = walk_trade(
        Decimal(100),
        BarPath(*columns),
        exit_rules(RiskSettings(), exact),
        atr_frac=Decimal("0.004"),
        max_bars=96,
    )
    assert float(exactly.gross_return_frac) == pytest.approx(walked(bars).gross_return_frac)
    assert exactly.gross_return_frac == Decimal("0.5") * Decimal("0.02") + Decimal("0.3") * Decimal("0.035") + Decimal(
        "0.2"
    ) * (Decimal("104.2") * Decimal("0.99") / 100 - 1)


def test_many_trades_need_an_atr_each() -> None:
    with pytest.raises(ValueError, match="ATR values"):
        walk_trades(path([FLAT]), [0], RULES, atr_frac=[], max_bars=1)

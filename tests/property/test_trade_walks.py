"""Following whole histories equals following each trade bar by bar, and no bar after the exit matters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.exit_levels import (
    BarPath,
    ExitRules,
    Levels,
    TradeOutcome,
    hard_drawdown_level,
    initial_levels,
    raised_stop,
    trailing_is_active,
    walk_trade,
    walk_trades,
)
from bn_ml.domain.positions import ExitReason
from bn_ml.exit_rules import exit_rules
from bn_ml.settings import RiskSettings

BARS = 120


@st.composite
def histories(draw: st.DrawFn) -> BarPath[float]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    swing = draw(st.sampled_from((0.002, 0.006, 0.02)))
    close = 100 * np.exp(np.cumsum(generator.normal(0, swing, BARS)))
    opening = np.r_[100.0, close[:-1]] * np.exp(generator.normal(0, swing / 4, BARS))
    high = np.maximum(opening, close) * np.exp(np.abs(generator.normal(0, swing / 2, BARS)))
    low = np.minimum(opening, close) * np.exp(-np.abs(generator.normal(0, swing / 2, BARS)))
    return BarPath(opening.tolist(), high.tolist(), low.tolist(), close.tolist())


@st.composite
def rule_sets(draw: st.DrawFn) -> ExitRules[float]:
    return replace(
        exit_rules(RiskSettings(), float),
        by_atr=draw(st.booleans()),
        trailing_enabled=draw(st.booleans()),
        trailing_after_tp1=draw(st.booleans()),
        break_even_after_tp1=draw(st.booleans()),
        stop_frac=draw(st.sampled_from((0.005, 0.015, 0.05))),
        trailing_activation_frac=draw(st.sampled_from((0.005, 0.02, 0.03))),
    )


@settings(max_examples=60, deadline=None)
@given(histories(), rule_sets(), st.integers(1, 60))
def test_a_history_of_trades_equals_each_trade_bar_by_bar(
    path: BarPath[float], rules: ExitRules[float], max_bars: int
) -> None:
    atr = [0.002 + 0.0001 * (index % 50) for index in range(BARS)]
    outcomes = walk_trades(path, range(BARS), rules, atr_frac=atr, max_bars=max_bars)
    for first, outcome in enumerate(outcomes):
        assert outcome == walk_trade(path.open[first], path, rules, atr_frac=atr[first], max_bars=max_bars, first=first)
        assert _facts(outcome) == _bar_by_bar(path, first, rules, atr[first], max_bars)


@settings(max_examples=60, deadline=None)
@given(histories(), rule_sets(), st.integers(0, BARS - 1))
def test_bars_after_the_exit_change_nothing(path: BarPath[float], rules: ExitRules[float], first: int) -> None:
    outcome = walk_trade(path.open[first], path, rules, atr_frac=0.004, max_bars=40, first=first)
    if not outcome.is_complete:
        return
    end = outcome.exit_index + 1
    cut = BarPath(path.open[:end], path.high[:end], path.low[:end], path.close[:end])
    assert walk_trade(path.open[first], cut, rules, atr_frac=0.004, max_bars=40, first=first) == outcome


@settings(max_examples=60, deadline=None)
@given(histories(), rule_sets(), st.integers(0, BARS - 1))
def test_a_complete_trade_sells_everything_once(path: BarPath[float], rules: ExitRules[float], first: int) -> None:
    outcome = walk_trade(path.open[first], path, rules, atr_frac=0.004, max_bars=40, first=first)
    sold = sum(leg.share for leg in outcome.legs)
    assert 0 <= sold <= 1 + 1e-12
    assert outcome.is_complete == (abs(sold - 1) < 1e-12)
    assert [leg.index for leg in outcome.legs] == sorted(leg.index for leg in outcome.legs)
    for leg in outcome.legs:
        assert path.low[leg.index] <= leg.price <= path.high[leg.index]


@given(st.floats(1e-6, 1e6), st.floats(1e-5, 0.5), rule_sets())
def test_levels_are_ordered(entry: float, atr: float, rules: ExitRules[float]) -> None:
    levels = initial_levels(entry, atr, rules)
    assert 0 < levels.stop < entry < levels.target_1 < levels.target_2


@given(st.floats(50, 200), st.lists(st.floats(50, 400), min_size=1, max_size=20), st.booleans(), rule_sets())
def test_stops_never_move_down(entry: float, highs: list[float], hit: bool, rules: ExitRules[float]) -> None:
    stop, highest = initial_levels(entry, 0.004, rules).stop, entry
    for high in highs:
        highest = max(highest, high)
        raised = raised_stop(entry, stop, highest, rules, tp1_hit=hit, atr_frac=0.004)
        assert raised >= stop
        stop = raised


Fact = tuple[float, float, int, ExitReason]


def _facts(outcome: TradeOutcome[float]) -> list[Fact]:
    return [(round(leg.share, 9), leg.price, leg.index, leg.reason) for leg in outcome.legs]


def _bar_by_bar(path: BarPath[float], first: int, rules: ExitRules[float], atr: float, max_bars: int) -> list[Fact]:
    """The same conventions written out as plainly as possible, every bar looked at."""
    entry = path.open[first]
    levels: Levels[float] = initial_levels(entry, atr, rules)
    hard = hard_drawdown_level(entry, rules)
    stop, highest, left, trailing = levels.stop, entry, 1.0, False
    pending = [
        (levels.target_1, rules.target_1_share, ExitReason.TP1),
        (levels.target_2, rules.target_2_share, ExitReason.TP2),
    ]
    legs: list[Fact] = []
    for index in range(first, min(first + max_bars, BARS)):
        opening = path.open[index]
        label = ExitReason.TRAILING_STOP if trailing else ExitReason.STOP_LOSS
        if opening <= stop:
            return [*legs, (round(left, 9), opening, index, label)]
        if opening <= hard:
            return [*legs, (round(left, 9), opening, index, ExitReason.HARD_DRAWDOWN)]
        while pending and opening > pending[0][0]:
            target, share, reason = pending.pop(0)
            legs.append((round(share, 9), target, index, reason))
            left -= share
        hit, highest = len(pending) < 2, max(highest, opening)
        trailing = trailing or trailing_is_active(entry, highest, rules, tp1_hit=hit)
        stop = raised_stop(entry, stop, highest, rules, tp1_hit=hit, atr_frac=atr)
        label = ExitReason.TRAILING_STOP if trailing else ExitReason.STOP_LOSS
        if opening <= stop:
            return [*legs, (round(left, 9), opening, index, label)]
        for price in (path.low[index], path.high[index]):
            if price <= stop:
                return [*legs, (round(left, 9), stop, index, label)]
            while pending and price > pending[0][0]:
                target, share, reason = pending.pop(0)
                legs.append((round(share, 9), target, index, reason))
                left -= share
        highest = max(highest, path.high[index])
        if index == first + max_bars - 1:
            return [*legs, (round(left, 9), path.close[index], index, ExitReason.TIME_STOP)]
    return legs

"""Labels: what happened after a row, in its class window and to the bot's own position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bn_ml.domain.exit_levels import BarPath, walk_trade
from bn_ml.exit_rules import exit_rules
from bn_ml.settings import LabelingSettings, RiskSettings
from data_manager.bars import Bars
from ml_engine.labeling import ABSENT, BUY, HOLD, SELL, DynamicLabeler, average_uniqueness, barrier_width
from tests.fakes.bar_builders import some_bars

ROW = 200
RISK = RiskSettings()
WIDTH = 0.0081


def labeler(**changes: object) -> DynamicLabeler:
    return DynamicLabeler(LabelingSettings.model_validate(changes), RISK)


def flat_bars(count: int = 400) -> Bars:
    """Bars that do not move, so that the width is the cost floor of 81 bp."""
    flat = np.full(count, 100.0)
    return replace(some_bars(count), open=flat, high=flat, low=flat, close=flat)


def with_prices(bars: Bars, place: int, *, high: float | None = None, low: float | None = None) -> Bars:
    highs, lows = bars.high.copy(), bars.low.copy()
    if high is not None:
        highs[place] = high
    if low is not None:
        lows[place] = low
    return replace(bars, high=highs, low=lows)


def label_at(bars: Bars, row: int = ROW) -> int:
    return int(labeler().label(bars).label[row])


def test_the_width_of_a_quiet_market_is_twice_the_safe_round_trip() -> None:
    width = barrier_width(flat_bars(), LabelingSettings(), 0.003)
    assert width[ROW] == pytest.approx(WIDTH)


def test_a_row_without_touch_is_hold() -> None:
    assert label_at(flat_bars()) == HOLD


@pytest.mark.parametrize(("distance", "label"), [(WIDTH + 1e-6, BUY), (WIDTH - 1e-4, HOLD)])
def test_the_upper_barrier_is_touched_from_its_level_on(distance: float, label: int) -> None:
    assert label_at(with_prices(flat_bars(), ROW + 3, high=100 * (1 + distance))) == label


@pytest.mark.parametrize(("distance", "label"), [(WIDTH + 1e-6, SELL), (WIDTH - 1e-4, HOLD)])
def test_the_lower_barrier_is_touched_from_its_level_on(distance: float, label: int) -> None:
    assert label_at(with_prices(flat_bars(), ROW + 3, low=100 * (1 - distance))) == label


def test_both_barriers_in_one_bar_count_as_sell() -> None:
    assert label_at(with_prices(flat_bars(), ROW + 3, high=103.0, low=97.0)) == SELL


def test_the_first_touch_decides() -> None:
    bars = with_prices(with_prices(flat_bars(), ROW + 2, high=103.0), ROW + 3, low=97.0)
    assert label_at(bars) == BUY


@pytest.mark.parametrize(("bar", "label"), [(10, BUY), (11, HOLD)])
def test_the_class_window_ends_with_the_horizon(bar: int, label: int) -> None:
    assert label_at(with_prices(flat_bars(), ROW + bar, high=103.0)) == label


def test_a_touch_in_the_rows_own_bar_does_not_count() -> None:
    assert label_at(with_prices(flat_bars(), ROW, high=103.0)) == HOLD


def test_rows_without_a_whole_window_are_absent_and_never_hold() -> None:
    bars = flat_bars()
    labels = labeler().label(bars)
    window = labeler().window_bars(bars.timeframe.ms)
    assert window == 96
    assert labels.label[-window - 1] == HOLD
    assert (labels.label[-window:] == ABSENT).all()
    assert np.isnan(labels.trade_gross[-window:]).all()


@pytest.mark.parametrize(("missing", "present"), [(3, True), (4, False)])
def test_a_window_may_cross_only_a_small_hole(missing: int, present: bool) -> None:
    bars = flat_bars()
    times = bars.open_time.copy()
    times[ROW + 20 :] += missing * bars.timeframe.ms
    labels = labeler().label(replace(bars, open_time=times))
    assert bool(labels.present[ROW]) is present
    assert labels.present[ROW + 20]


def test_the_threshold_method_looks_at_the_close_of_the_horizon() -> None:
    bars = flat_bars()
    close = bars.close.copy()
    close[ROW + 10] = 101.0
    labels = labeler(method="threshold").label(replace(bars, close=close))
    assert labels.label[ROW] == BUY
    assert labels.label[ROW - 1] == HOLD


def test_the_trade_of_a_row_is_the_bots_own_position() -> None:
    bars = some_bars(900, seed=4)
    labels = labeler().label(bars)
    rules = exit_rules(RISK, float)
    path = BarPath(bars.open.tolist(), bars.high.tolist(), bars.low.tolist(), bars.close.tolist())
    for row in range(150, 780, 37):
        outcome = walk_trade(path.open[row + 1], path, rules, atr_frac=0.01, max_bars=96, first=row + 1)
        assert labels.trade_gross[row] == outcome.gross_return_frac
        assert labels.t1_trade[row] == bars.close_time[outcome.exit_index]


def test_rows_that_share_every_bar_share_their_uniqueness() -> None:
    start, end = np.array([0, 0, 10]), np.array([4, 4, 14])
    weights = average_uniqueness(start, end, np.array([True, True, True]))
    assert weights.tolist() == [0.5, 0.5, 1.0]


def test_absent_rows_take_no_part_in_uniqueness() -> None:
    weights = average_uniqueness(np.array([0, 0]), np.array([4, 4]), np.array([True, False]))
    assert weights.tolist() == [1.0, 0.0]


def test_shares_on_real_bars_are_those_expected_of_the_market(market_data: object) -> None:
    from pathlib import Path

    from bn_ml.domain.market import Symbol, Timeframe
    from data_manager.history import HistoryStore

    store = HistoryStore(Path(str(market_data)) / "spot_2022_2023")
    labels = labeler().label(store.read(Symbol("BTC/USDT"), Timeframe.M15))
    shares = np.bincount(labels.label[labels.present], minlength=3) / labels.present.sum()
    assert shares == pytest.approx([0.16, 0.69, 0.15], abs=0.01)

from __future__ import annotations

import numpy as np
import pytest

from bn_ml.domain.market import Timeframe
from data_manager.bars import empty_bars
from data_manager.resampling import floor_ms, resample
from tests.fakes.bar_builders import BTC, START_MS, same_bars, some_bars


def test_an_hour_is_made_of_its_four_quarters() -> None:
    quarters = some_bars(8)
    hours = resample(quarters, Timeframe.H1)
    assert hours.open_time.tolist() == [START_MS, START_MS + Timeframe.H1.ms]
    assert hours.open[1] == quarters.open[4]
    assert hours.high[1] == quarters.high[4:].max()
    assert hours.low[1] == quarters.low[4:].min()
    assert hours.close[1] == quarters.close[7]
    assert hours.volume[1] == pytest.approx(quarters.volume[4:].sum())
    assert hours.trades[1] == quarters.trades[4:].sum()


def test_a_hole_leaves_a_bar_of_what_exists_and_no_bar_of_nothing() -> None:
    quarters = some_bars(16).take(np.array([0, 1, 2, 3, 6, 12, 13, 14, 15]))
    hours = resample(quarters, Timeframe.H1)
    assert hours.open_time.tolist() == [START_MS + place * Timeframe.H1.ms for place in (0, 1, 3)]
    assert hours.open[1] == quarters.open[4]


def test_resampling_in_two_steps_equals_one_step() -> None:
    minutes = some_bars(3 * 1440, timeframe=Timeframe.M1)
    direct = resample(minutes, Timeframe.D1)
    stepped = resample(resample(resample(minutes, Timeframe.M15), Timeframe.H1), Timeframe.D1)
    for name in ("open_time", "open", "high", "low", "close", "trades"):
        assert np.array_equal(getattr(direct, name), getattr(stepped, name))
    assert np.allclose(direct.volume, stepped.volume)


def test_nothing_resamples_to_nothing() -> None:
    assert len(resample(empty_bars(BTC, Timeframe.M15, "test"), Timeframe.H1)) == 0


def test_the_same_timeframe_is_the_same_object() -> None:
    bars = some_bars(4)
    assert resample(bars, Timeframe.M15) is bars


def test_shorter_bars_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="cannot make 5m bars from 15m bars"):
        resample(some_bars(4), Timeframe.M5)


@pytest.mark.parametrize(("instant", "floor"), [(0, 0), (899_999, 0), (900_000, 900_000), (900_001, 900_000)])
def test_floor_gives_the_open_of_the_bar_around_an_instant(instant: int, floor: int) -> None:
    assert floor_ms(instant, Timeframe.M15) == floor


def test_the_builder_repeats_itself() -> None:
    assert same_bars(some_bars(5), some_bars(5))

"""Longer bars are whole, closed, and never changed by what comes later."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import Timeframe
from data_manager.resampling import resample
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, walk, without


@pytest.mark.parametrize(("given_bars", "hours"), [(3, 0), (4, 1), (5, 1), (7, 1), (8, 2)])
def test_an_hour_appears_when_its_last_quarter_has_closed(given_bars: int, hours: int) -> None:
    assert len(resample(walk(bars=given_bars), Timeframe.H1)) == hours


def test_a_cut_leading_hour_is_left_out() -> None:
    base = walk(bars=8)

    assert resample(base.rows(1, 8), Timeframe.H1).open_time.tolist() == [MONDAY_MS + 4 * STEP_MS]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 400),
    offset=st.integers(0, 100),
    absent=st.sets(st.integers(0, 399), max_size=60),
    timeframe=st.sampled_from([Timeframe.H1, Timeframe.H4, Timeframe.D1]),
)
def test_every_longer_bar_is_whole_closed_and_unchanged_by_later_bars(
    count: int, offset: int, absent: set[int], timeframe: Timeframe
) -> None:
    base = walk(bars=count, start_ms=MONDAY_MS + offset * STEP_MS)
    base = without(base, [place for place in absent if place < count])
    longer = resample(base, timeframe)

    assert (longer.open_time % timeframe.ms == 0).all()
    assert (np.diff(longer.open_time) > 0).all()
    assert (longer.close_time <= base.close_time[-1:]).all()
    for place in range(len(longer)):
        inside = base.between(int(longer.open_time[place]), int(longer.close_time[place]))
        assert longer.high[place] == inside.high.max()
        assert longer.close[place] == inside.close[-1]
    earlier = resample(base.rows(0, len(base) // 2), timeframe)
    assert np.array_equal(earlier.volume, longer.volume[: len(earlier)])

"""Windows end with their row, never cross a gap, and are unknown where a required value is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_manager.windows import UNKNOWN, Windows, cut_windows

STEP_MS = 900_000


def times(*steps: int) -> np.ndarray:
    return np.array(steps, dtype=np.int64) * STEP_MS


def cut(close_time: np.ndarray, length: int, values: np.ndarray | None = None) -> Windows:
    rows = np.arange(2.0 * len(close_time)).reshape(-1, 2) if values is None else values
    return cut_windows(close_time, rows, np.arange(len(close_time)), length=length, step_ms=STEP_MS)


def test_a_window_holds_the_rows_up_to_its_own() -> None:
    windows = cut(times(0, 1, 2, 3), 3)
    assert windows.ends.tolist() == [UNKNOWN, UNKNOWN, 2, 3]
    assert windows.part(np.array([3])).gather().tolist() == [[[2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]]


@pytest.mark.parametrize(("length", "known"), [(2, [4, 5, 6]), (3, [5, 6]), (4, [6]), (5, [])])
def test_no_window_reaches_over_an_absent_row(length: int, known: list[int]) -> None:
    windows = cut(times(0, 2, 4, 10, 11, 12, 13), length)
    assert np.flatnonzero(windows.known).tolist() == known


@given(st.lists(st.integers(1, 3), min_size=3, max_size=40), st.integers(1, 8))
def test_a_window_is_known_exactly_when_its_rows_follow_each_other(gaps: list[int], length: int) -> None:
    close = times(*np.cumsum(gaps).tolist())
    windows = cut(close, length)
    for end in range(len(close)):
        own = close[max(0, end - length + 1) : end + 1]
        assert windows.known[end] == (len(own) == length and bool((np.diff(own) == STEP_MS).all()))


def test_a_required_value_that_is_unknown_makes_its_windows_unknown_and_an_optional_one_does_not() -> None:
    rows = np.zeros((6, 2))
    rows[2, 0], rows[4, 1] = np.nan, np.nan
    whole = cut(times(0, 1, 2, 3, 4, 5), 2, rows).complete(np.array([True, False]))
    assert whole.ends.tolist() == [UNKNOWN, 1, UNKNOWN, UNKNOWN, 4, 5]


def test_unknown_windows_are_gathered_as_unknown_values() -> None:
    gathered = cut(times(0, 1, 2), 2).gather()
    assert np.isnan(gathered[0]).all()
    assert np.isfinite(gathered[1:]).all()


def test_each_row_inside_a_window_is_seen_once() -> None:
    windows = cut(times(0, 1, 2, 8, 9, 10, 11), 3)
    assert windows.rows_seen()[:, 0].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    assert windows.part(np.array([5])).rows_seen()[:, 0].tolist() == [6.0, 8.0, 10.0]
    assert windows.part(np.array([0, 3])).rows_seen().shape == (0, 2)


def test_columns_are_picked_by_position() -> None:
    assert cut(times(0, 1), 2).pick(np.array([1])).gather()[1].tolist() == [[1.0], [3.0]]

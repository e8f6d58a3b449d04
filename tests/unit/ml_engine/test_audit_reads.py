"""The audit's ledger sees which rows are read, however they are read."""

from __future__ import annotations

import numpy as np
import pytest

from ml_engine.audit_findings import Check, Finding, Notes
from ml_engine.audit_training import Ledger, WatchedArray, blocks_apart, folds_apart
from ml_engine.training_data import BASE
from ml_engine.validation import Purge, split_blocks
from tests.fakes.training_builders import planted_rows

PURGE = Purge(10 * BASE.ms, 5 * BASE.ms)


def watched() -> tuple[Ledger, WatchedArray]:
    ledger = Ledger(6)
    ledger.tell("fit rf 1/3")
    return ledger, WatchedArray.over(np.arange(18.0).reshape(6, 3), "values", ledger)


def read_rows(ledger: Ledger) -> list[int]:
    return np.flatnonzero(ledger.seen[("fit", "values")]).tolist()


@pytest.mark.parametrize(
    ("chosen", "rows"),
    [
        (2, [2]),
        (slice(1, 3), [1, 2]),
        (np.array([4, 0]), [0, 4]),
        (np.array([True, False, False, False, False, True]), [0, 5]),
        (np.ix_([1, 3], [0, 2]), [1, 3]),
        ((slice(None, None, 2), 1), [0, 2, 4]),
    ],
)
def test_notes_the_rows_of_every_way_to_index(chosen: object, rows: list[int]) -> None:
    ledger, array = watched()
    plain = array[chosen]
    assert read_rows(ledger) == rows
    assert not isinstance(plain, WatchedArray)
    assert np.array_equal(plain, np.arange(18.0).reshape(6, 3)[chosen])  # type: ignore[call-overload]


def test_computing_on_the_whole_array_reads_every_row() -> None:
    for compute in (np.mean, np.nanmedian, lambda array: array + 1.0, lambda array: np.concatenate([array, array])):
        ledger, array = watched()
        compute(array)
        assert read_rows(ledger) == [0, 1, 2, 3, 4, 5]


def test_blocks_that_keep_their_distance_are_clean_and_a_bar_less_is_not() -> None:
    data = planted_rows(2_000)
    blocks = split_blocks(data.t0, data.t1, train_ratio=0.7, purge=PURGE)
    assert blocks_apart(blocks, data, PURGE).clean
    assert not blocks_apart(blocks, data, Purge(PURGE.window_ms, PURGE.embargo_ms + BASE.ms)).clean
    assert folds_apart(data, blocks.train.rows, PURGE).clean


def test_one_bad_column_does_not_hide_another() -> None:
    notes = Notes("cut", most=2)
    for _ in range(9):
        notes.add("bad", column="first")
    notes.add("bad", column="second", row_ms=0)
    check = notes.close(5, 5)
    assert [finding.column for finding in check.findings] == ["first", "first", "second"]
    assert check.verdict == "FAIL"
    assert check.findings[-1].text() == "cut: second at row 1970-01-01T00:00:00.000Z: bad"
    assert Finding("cut", "whole").text() == "cut: whole"


@pytest.mark.parametrize(
    ("tested", "asked", "verdict"), [(5, 5, "ok"), (6, 5, "ok"), (4, 5, "inconclusive"), (0, 0, "inconclusive")]
)
def test_too_little_tested_is_not_clean(tested: int, asked: int, verdict: str) -> None:
    check = Check("cut", tested, asked)
    assert check.verdict == verdict
    assert check.clean == (verdict == "ok")

"""Combined test groups: nothing fitted on touches what is tested, and every row is tested equally often."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_engine.validation import Purge, cpcv, walk_forward

STEP = 900_000


@st.composite
def spans(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Purge]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(400, 900))
    gaps = 1 + (generator.random(count) < 0.02) * generator.integers(0, 60, count)
    t0 = np.cumsum(gaps).astype(np.int64) * STEP
    window = draw(st.integers(1, 25))
    t1 = t0 + generator.integers(1, window + 1, count) * STEP
    return t0, t1, Purge(window * STEP, draw(st.integers(0, 15)) * STEP)


@settings(max_examples=40, deadline=None)
@given(rows=spans(), groups=st.integers(3, 7), tested=st.integers(1, 2))
def test_no_outcome_fitted_on_reaches_a_test_group_and_the_embargo_is_kept_on_both_sides(
    rows: tuple[np.ndarray, np.ndarray, Purge], groups: int, tested: int
) -> None:
    t0, t1, purge = rows
    found = cpcv(t0, t1, np.arange(len(t0)), groups=groups, test_groups=tested, purge=purge)
    for split in found.splits:
        assert np.intersect1d(split.fit, split.test).size == 0
        for group in split.groups:
            part = found.parts[group]
            before = t1[split.fit] + purge.embargo_ms < t0[part[0]]
            after = t0[split.fit] > t1[part].max() + purge.embargo_ms
            assert (before | after).all()
            assert (t0[split.fit][before] + purge.total_ms <= t0[part[0]]).all()


@settings(max_examples=25, deadline=None)
@given(rows=spans(), groups=st.integers(3, 7))
def test_each_row_is_tested_equally_often_and_once_on_every_path(
    rows: tuple[np.ndarray, np.ndarray, Purge], groups: int
) -> None:
    t0, t1, purge = rows
    everything = np.arange(len(t0))
    found = cpcv(t0, t1, everything, groups=groups, test_groups=2, purge=purge)
    assert len(found.splits) == comb(groups, 2)
    assert len(found.paths) == groups - 1
    counts = np.bincount(np.concatenate([split.test for split in found.splits]), minlength=len(t0))
    assert (counts == groups - 1).all()
    for path in found.paths:
        assert all(group in found.splits[number].groups for group, number in enumerate(path))
    used = [(group, number) for path in found.paths for group, number in enumerate(path)]
    assert len(used) == len(set(used))


def test_six_groups_two_tested_give_fifteen_splits_and_five_paths() -> None:
    t0 = np.arange(600, dtype=np.int64) * STEP
    found = cpcv(t0, t0 + STEP, np.arange(600), purge=Purge(STEP, 0))
    assert [split.groups for split in found.splits] == list(combinations(range(6), 2))
    assert len(found.paths) == 5


def test_a_row_exactly_an_embargo_away_is_left_out_and_the_next_one_stays() -> None:
    t0 = np.arange(60, dtype=np.int64) * STEP
    found = cpcv(t0, t0 + 2 * STEP, np.arange(60), groups=6, test_groups=1, purge=Purge(2 * STEP, 3 * STEP))
    middle = found.splits[2]
    assert middle.test.tolist() == list(range(20, 30))
    assert middle.fit[middle.fit < 20].max() == 14
    assert middle.fit[middle.fit > 29].min() == 35


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_the_first_fold_is_fitted_on_the_share_asked_for(share: float) -> None:
    t0 = np.arange(1000, dtype=np.int64) * STEP
    pairs = list(walk_forward(t0, t0, np.arange(1000), folds=4, purge=Purge(0, 0), first_share=share))
    assert pairs[0][1][0] == round(share * 1000)
    assert pairs[-1][1][-1] == 999
    assert len(pairs) == 4

"""A label depends on the bars of its own window and on nothing after its end."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.errors import ModelError
from bn_ml.settings import LabelingSettings, RiskSettings
from data_manager.bars import Bars
from ml_engine.labeling import DynamicLabeler
from ml_engine.validation import Purge, split_blocks, walk_forward
from tests.fakes.bar_builders import some_bars

LABELER = DynamicLabeler(LabelingSettings(), RiskSettings(max_holding_period=8))
STEP = 900_000


def changed_after(bars: Bars, place: int, seed: int) -> Bars:
    """The same bars with everything after `place` replaced."""
    other = some_bars(len(bars), seed=seed)
    columns = {
        name: np.concatenate([getattr(bars, name)[: place + 1], 3.0 * getattr(other, name)[place + 1 :]])
        for name in ("open", "high", "low", "close")
    }
    return replace(bars, **columns)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), row=st.integers(120, 300), method=st.sampled_from(("barrier", "threshold")))
def test_bars_after_the_end_of_an_outcome_change_nothing(seed: int, row: int, method: str) -> None:
    bars = some_bars(400, seed=seed)
    labeler = DynamicLabeler(LabelingSettings.model_validate({"method": method}), RiskSettings(max_holding_period=8))
    before = labeler.label(bars)
    for ends, outcome in ((before.t1_class, "label"), (before.t1_trade, "trade_gross")):
        last = int(np.searchsorted(bars.close_time, ends[row]))
        after = labeler.label(changed_after(bars, last, seed + 1))
        assert getattr(after, outcome)[row] == getattr(before, outcome)[row]
        assert after.width[row] == before.width[row]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(150, 390))
def test_labels_of_a_shorter_history_are_those_of_the_longer_one(seed: int, cut: int) -> None:
    bars = some_bars(400, seed=seed)
    full, short = LABELER.label(bars), LABELER.label(bars.rows(0, cut))
    known = short.present
    assert (short.label[known] == full.label[:cut][known]).all()
    assert not known[-LABELER.window_bars(STEP) :].any()


@st.composite
def row_spans(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Purge]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(2000, 2600))
    gaps = 1 + (generator.random(count) < 0.01) * generator.integers(0, 40, count)
    t0 = np.cumsum(gaps).astype(np.int64) * STEP
    window = draw(st.integers(2, 20))
    t1 = t0 + generator.integers(1, window + 1, count) * STEP
    return t0, t1, Purge(window * STEP, draw(st.integers(0, 20)) * STEP)


@settings(max_examples=40, deadline=None)
@given(rows=row_spans(), ratio=st.floats(0.5, 0.8))
def test_no_outcome_of_a_block_reaches_the_next_one(rows: tuple[np.ndarray, np.ndarray, Purge], ratio: float) -> None:
    t0, t1, purge = rows
    blocks = list(split_blocks(t0, t1, train_ratio=ratio, purge=purge))
    seen: set[int] = set()
    for earlier, later in pairwise(blocks):
        assert t1[earlier.rows].max() + purge.embargo_ms < later.first_t0
        assert earlier.last_t0 + purge.total_ms <= later.first_t0
    for block in blocks:
        assert seen.isdisjoint(block.rows.tolist())
        seen.update(block.rows.tolist())


@settings(max_examples=25, deadline=None)
@given(rows=row_spans(), folds=st.integers(2, 6))
def test_folds_are_fitted_on_the_purged_past_alone(rows: tuple[np.ndarray, np.ndarray, Purge], folds: int) -> None:
    t0, t1, purge = rows
    tested: list[int] = []
    for fit, test in walk_forward(t0, t1, np.arange(len(t0)), folds=folds, purge=purge):
        assert t1[fit].max() + purge.embargo_ms < t0[test[0]]
        tested += test.tolist()
    assert len(tested) == len(set(tested))
    assert tested == sorted(tested)


def test_rows_too_few_for_a_block_are_refused_by_name() -> None:
    t0 = np.arange(60, dtype=np.int64) * STEP
    with pytest.raises(ModelError, match="no rows left in the"):
        split_blocks(t0, t0 + STEP, train_ratio=0.7, purge=Purge(40 * STEP, 0))

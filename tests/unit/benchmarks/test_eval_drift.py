"""The measuring of drift charts on one small planted world, through the real trainer."""

from __future__ import annotations

import numpy as np

from benchmarks.eval_drift import CALM_BARS, TRAIN_BARS, Change, measure, planted_world


def test_what_changes_leaves_everything_before_it_as_it_was() -> None:
    turn = TRAIN_BARS + CALM_BARS
    quiet, flipped = planted_world(5, 0.1), planted_world(5, 0.1, Change(turn, flips=True))
    assert np.array_equal(quiet.bars.close[: turn + 1], flipped.bars.close[: turn + 1])
    assert not np.array_equal(quiet.bars.close[turn + 1 :], flipped.bars.close[turn + 1 :])
    assert np.array_equal(quiet.features[: turn + 1], flipped.features[: turn + 1], equal_nan=True)


def test_a_flip_is_noticed_within_days_and_quiet_is_mostly_quiet() -> None:
    figures = measure([5], quick=True)
    assert figures["drift_r2_10_delay_mean_days"] <= 6.0
    assert figures["drift_r2_3_delay_mean_days"] <= 12.0
    assert figures["drift_false_per_30d"] <= 2.0

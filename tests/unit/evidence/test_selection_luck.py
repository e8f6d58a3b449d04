from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evidence.selection_luck import selection_luck

DAILY = np.random.default_rng(4).normal(0.001, 0.01, 250)


def test_one_trial_gives_the_probabilistic_sharpe_ratio() -> None:
    found = selection_luck(DAILY)
    sharpe = DAILY.mean() / DAILY.std(ddof=1)
    spread = 1 - stats.skew(DAILY) * sharpe + (stats.kurtosis(DAILY, fisher=False) - 1) / 4 * sharpe**2
    assert found.deflated_sharpe == pytest.approx(stats.norm.cdf(sharpe * np.sqrt(249) / np.sqrt(spread)), abs=1e-9)


def test_more_trials_make_the_same_ratio_less_believable() -> None:
    found = [selection_luck(DAILY, trials=trials).deflated_sharpe for trials in (1, 2, 10, 1000)]
    assert all(value is not None for value in found)
    assert found == sorted(found, reverse=True, key=lambda value: value or 0.0)


def test_too_few_days_or_no_movement_say_so() -> None:
    assert selection_luck(DAILY[:9]).why == "9 days are too few, 10 are needed"
    assert selection_luck([0.0] * 30).why == "equity never moved"
    assert selection_luck([0.0] * 30).deflated_sharpe is None


def test_overfitting_needs_the_returns_of_all_trials() -> None:
    noise = np.random.default_rng(5).normal(0, 0.01, (160, 12))
    found = selection_luck(DAILY, trials=12, trial_returns=noise)
    assert found.overfitting is not None
    assert 0 < found.overfitting < 1
    assert found.why_no_overfitting is None
    skilled = noise + np.linspace(0, 0.01, 12)
    assert selection_luck(DAILY, trials=12, trial_returns=skilled).overfitting == pytest.approx(0, abs=0.02)


def test_without_several_trials_there_is_no_overfitting() -> None:
    assert selection_luck(DAILY).overfitting is None
    assert selection_luck(DAILY).why_no_overfitting == "returns of several trials are needed"
    for shape in ((160, 1), (15, 4)):
        found = selection_luck(DAILY, trial_returns=np.zeros(shape))
        assert found.overfitting is None
        assert found.why_no_overfitting is not None


def test_no_trial_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        selection_luck(DAILY, trials=0)

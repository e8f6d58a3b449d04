"""A training on a made market: a poisoned future moves no forecast, and longer bars tell no direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.eval_ml import pipeline, truth, worlds
from benchmarks.eval_ml.settings import model_settings, risk_settings
from data_manager.bars import Bars, FloatArray
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.trainer import Trained
from ml_engine.training_data import BASE

LEARNT, COUNT = 7_000, 8_000


@pytest.fixture(scope="module")
def bars() -> Bars:
    return worlds.planted(5, r2=0.1, count=COUNT).bars


@pytest.fixture(scope="module")
def setup(bars: Bars) -> pipeline.Setup:
    return pipeline.Setup({worlds.COIN: bars}, model_settings("bed"), risk_settings("horizon"), quick=True)


@pytest.fixture(scope="module")
def trained(setup: pipeline.Setup, bars: Bars) -> Trained:
    return pipeline.trained_at(setup, worlds.COIN, int(bars.close_time[LEARNT - 1]))


def forecasts_on(trained: Trained, setup: pipeline.Setup, bars: Bars) -> FloatArray:
    frame = FeatureEngineer(setup.model).build({BASE: bars}, None, since_ms=int(bars.open_time[LEARNT]))
    return trained.ensemble.probabilities(frame.values[:, [frame.columns.index(name) for name in trained.columns]])


@pytest.mark.parametrize("poison", [np.nan, 1000.0])
def test_a_poisoned_future_changes_no_bit_of_an_earlier_forecast(
    trained: Trained, setup: pipeline.Setup, bars: Bars, poison: float
) -> None:
    at = LEARNT + 487
    factor = np.where(np.arange(COUNT) > at, poison, 1.0)
    names = ("open", "high", "low", "close", "volume", "quote_volume")
    hurt = replace(bars, **{name: getattr(bars, name) * factor for name in names})
    known = at - LEARNT + 1
    before, after = forecasts_on(trained, setup, bars)[:known], forecasts_on(trained, setup, hurt)[:known]
    assert before.tobytes() == after.tobytes()


def test_the_future_learnt_from_is_the_only_thing_that_could_change_them(
    trained: Trained, setup: pipeline.Setup, bars: Bars
) -> None:
    at = LEARNT + 487
    raised = replace(bars, close=np.where(np.arange(COUNT) == at, bars.high, bars.close))
    assert not np.array_equal(
        forecasts_on(trained, setup, bars)[at - LEARNT], forecasts_on(trained, setup, raised)[at - LEARNT]
    )


def test_the_predictor_repeats_the_trainers_own_forecast_of_later_bars(
    trained: Trained, setup: pipeline.Setup, bars: Bars
) -> None:
    twin = pipeline.as_twin(trained)
    end = int(bars.close_time[LEARNT - 1])
    ahead = pipeline.rows_ahead(setup, worlds.COIN, end, int(bars.close_time[-1]))
    theirs = pipeline.twin_forecasts(twin, ahead.data)
    answers = {int(signal.at.timestamp() * 1000): signal for signal in pipeline.signals(twin, setup, ahead)}
    ours = [answers[int(t0)].probabilities for t0 in ahead.data.t0]
    own = np.array([[said.sell, said.hold, said.buy] for said in ours])
    assert np.abs(own - theirs).max() < 1e-6
    rule = pipeline.rule_buys(theirs, setup.model)
    assert rule.tolist() == [pipeline.passes_rule(answers[int(t0)]) for t0 in ahead.data.t0]


def test_longer_bars_tell_no_direction_on_a_random_walk_unless_joined_early() -> None:
    found = truth.longer_bars(5).values
    assert float(str(found["auc"])) < 0.54
    assert float(str(found["control"])) > 0.8

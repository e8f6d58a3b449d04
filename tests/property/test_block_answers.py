"""A replay asks the models about a week at once; no answer may differ by a bit from that about the row alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import Symbol
from bn_ml.domain.signals import Signal
from data_manager.bars import FloatArray
from ml_engine.bundle import ModelBundle
from ml_engine.predictor import MLEnsemblePredictor
from tests.fakes.bundle_builders import NOW, a_bundle, a_row, training_rows

NO_GATES = {"ensemble": {"outlier_gate": False, "ev_gate": False, "skill_gate": False}}


class TwoBundles:
    """A provider whose bundle may be exchanged between two questions."""

    def __init__(self) -> None:
        self.bundle = a_bundle()

    def load(self, symbol: Symbol) -> ModelBundle:
        return self.bundle

    def as_of(self, symbol: Symbol, when: datetime) -> ModelBundle:
        return self.bundle

    def poll_changes(self) -> Sequence[Symbol]:
        return ()


def asked_alone(block: FloatArray, place: int, provider: TwoBundles) -> Signal:
    """A fresh predictor that has seen nothing but this row."""
    return MLEnsemblePredictor(NO_GATES, provider, as_of=True).signal(a_row(block[place]), NOW)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 150), st.sampled_from([0.0, 1e30, np.inf]))
def test_a_row_of_a_block_is_answered_as_if_alone(seed: int, count: int, extreme: float) -> None:
    block = training_rows(count, seed=seed, holes=0.1)[0]
    block[count // 2, 0] = extreme
    provider = TwoBundles()
    predictor = MLEnsemblePredictor(NO_GATES, provider, as_of=True)
    for place in range(0, count, 7):
        row = replace(a_row(block[place]), block=block, place=place)
        assert predictor.signal(row, NOW) == asked_alone(block, place, provider)


def test_another_block_or_bundle_is_asked_anew() -> None:
    first, second = (training_rows(20, seed=seed, holes=0.0)[0] for seed in (1, 2))
    provider = TwoBundles()
    predictor = MLEnsemblePredictor(NO_GATES, provider, as_of=True)
    for bundle in (provider.bundle, a_bundle(version=2)):
        provider.bundle = bundle
        for block in (first, second, first):
            signal = predictor.signal(replace(a_row(block[3]), block=block, place=3), NOW)
            assert signal == asked_alone(block, 3, provider)
            assert signal.bundle_version == bundle.version


def test_a_row_that_gives_no_distribution_does_not_hurt_the_others_of_its_block() -> None:
    block = training_rows(5, seed=3, holes=0.0)[0]
    provider = TwoBundles()
    weights = {name: float("nan") for name in provider.bundle.ensemble.weights}
    spoilt = replace(provider.bundle.ensemble, temperatures={**provider.bundle.ensemble.temperatures, **weights})
    predictor = MLEnsemblePredictor(NO_GATES, provider, as_of=True)
    good = predictor.signal(replace(a_row(block[1]), block=block, place=1), NOW)
    provider.bundle = replace(provider.bundle, ensemble=spoilt)
    assert good.reason != "model_error"
    assert predictor.signal(replace(a_row(block[1]), block=block, place=1), NOW).reason == "model_error"

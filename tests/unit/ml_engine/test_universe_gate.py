"""Bundles in service are judged together: many tests at once need stronger proof."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.domain.signals import Action, GateVerdict
from bn_ml.errors import ModelError
from bn_ml.settings import ModelSettings
from ml_engine.bundle import ModelBundle
from ml_engine.decision import skill_verdict
from ml_engine.predictor import MLEnsemblePredictor
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, NOW, TRAINED_AT, a_bundle, a_row, training_rows

INF = float("inf")
BEST_ROW = training_rows(600, seed=21, holes=0.0)[0]


def judged(p_value: float | None, *, symbol: str = "BTC/USDC", proven: bool = True, **changes: object) -> ModelBundle:
    """A bundle with the given p-value, proven on its own unless told otherwise."""
    skill = {
        "report": {"value": 0.05, "lower": 0.02, "upper": 0.08, "rows": 900},
        "slope": {"value": 0.4, "lower": 0.1 if proven else -0.1, "upper": 0.7, "rows": 900},
        "passed": proven,
        "slope_p_value": p_value,
    }
    return a_bundle(
        symbol=symbol, model_key=symbol.replace("/", "_"), skill=skill, tradable={"verdict": proven}, **changes
    )


class Shelf:
    """A provider with one bundle per symbol; in replay each has its own first instant."""

    def __init__(self, bundles: Mapping[str, ModelBundle]) -> None:
        self.bundles = {Symbol(name): bundle for name, bundle in bundles.items()}
        self.changed = tuple(self.bundles)

    def load(self, symbol: Symbol) -> ModelBundle:
        if symbol not in self.bundles:
            raise ModelError(f"{symbol}: nothing", reason="no_bundle")
        return self.bundles[symbol]

    def as_of(self, symbol: Symbol, when: datetime) -> ModelBundle:
        bundle = self.load(symbol)
        if bundle.metadata.valid_from > when:
            raise ModelError(f"{symbol}: nothing yet", reason="no_bundle")
        return bundle

    def poll_changes(self) -> tuple[Symbol, ...]:
        changed, self.changed = self.changed, ()
        return changed


def others(count: int, p_value: float = 0.9) -> dict[str, ModelBundle]:
    names = [f"C{place}/USDC" for place in range(count)]
    return {name: judged(p_value, symbol=name, proven=False) for name in names}


def skill_gate(predictor: MLEnsemblePredictor, now: datetime = NOW) -> GateVerdict:
    best = BEST_ROW[int(a_bundle().ensemble.probabilities(BEST_ROW)[:, 2].argmax())]
    signal = predictor.signal(a_row(best, at=now), now)
    return next(gate for gate in signal.gates if gate.reason == "no_skill")


def a_predictor(shelf: Shelf, *, as_of: bool = False, **ensemble: object) -> MLEnsemblePredictor:
    settings = ModelSettings.model_validate({"ensemble": ensemble})
    return MLEnsemblePredictor(settings, shelf, feature_hash=FEATURE_HASH, as_of=as_of)


@pytest.mark.parametrize(("p_value", "passed"), [(0.0099, True), (0.01, True), (0.0101, False)])
def test_among_ten_bundles_one_needs_a_tenth_of_the_rate(p_value: float, passed: bool) -> None:
    predictor = a_predictor(Shelf({BTC: judged(p_value), **others(9)}))
    predictor.adopt(NOW)
    gate = skill_gate(predictor)
    assert gate.passed is passed
    if not passed:
        assert (gate.value, gate.limit) == (p_value, pytest.approx(0.01))


def test_a_bundle_closed_only_beside_others_holds_and_says_by_how_much() -> None:
    predictor = a_predictor(Shelf({BTC: judged(0.02), **others(9)}))
    predictor.adopt(NOW)
    best = BEST_ROW[int(a_bundle().ensemble.probabilities(BEST_ROW)[:, 2].argmax())]
    signal = predictor.signal(a_row(best), NOW)
    assert (signal.action, signal.reason) == (Action.HOLD, "no_skill")


def test_before_the_first_adoption_each_bundle_stands_on_its_own_verdict() -> None:
    predictor = a_predictor(Shelf({BTC: judged(0.02), **others(9)}))
    assert skill_gate(predictor).passed


def test_bundles_without_a_p_value_count_for_nobody() -> None:
    unknown = {f"U{place}/USDC": judged(None, symbol=f"U{place}/USDC") for place in range(30)}
    predictor = a_predictor(Shelf({BTC: judged(0.02), **unknown}))
    predictor.adopt(NOW)
    assert skill_gate(predictor).passed
    blind = a_predictor(Shelf({BTC: judged(None), **others(30)}))
    blind.adopt(NOW)
    assert skill_gate(blind).passed


def test_a_bundle_closed_by_its_own_verdict_shows_its_own_bound() -> None:
    predictor = a_predictor(Shelf({BTC: judged(0.2, proven=False), **others(9)}))
    predictor.adopt(NOW)
    gate = skill_gate(predictor)
    assert (gate.value, gate.limit, gate.passed) == (-0.1, 0.0, False)


def test_a_change_of_the_universe_is_judged_at_the_next_adoption() -> None:
    shelf = Shelf({BTC: judged(0.02), **others(3)})
    predictor = a_predictor(shelf)
    predictor.adopt(NOW)
    assert skill_gate(predictor).passed
    for name, bundle in others(9).items():
        shelf.bundles[Symbol(name)] = bundle
    shelf.changed = tuple(shelf.bundles)
    assert skill_gate(predictor).passed
    predictor.adopt(NOW)
    assert not skill_gate(predictor).passed
    for name in [name for name in shelf.bundles if name != BTC]:
        del shelf.bundles[name]
    shelf.changed = tuple(map(Symbol, others(9)))
    predictor.adopt(NOW)
    assert skill_gate(predictor).passed


def test_in_replay_only_bundles_valid_by_then_are_judged_together() -> None:
    later = TRAINED_AT + timedelta(days=2)
    young = {name: judged(0.9, symbol=name, proven=False, valid_from=later) for name in others(9)}
    predictor = a_predictor(Shelf({BTC: judged(0.02), **young}), as_of=True)
    passed = []
    for hours in (24, 47, 48, 60):
        now = TRAINED_AT + timedelta(hours=hours)
        predictor.adopt(now)
        passed.append(skill_gate(predictor, now).passed)
    assert passed == [True, True, False, False]


def test_a_skill_gate_that_is_off_lets_pass_with_its_true_value() -> None:
    predictor = a_predictor(Shelf({BTC: judged(0.02), **others(9)}), skill_gate=False)
    predictor.adopt(NOW)
    gate = skill_gate(predictor)
    assert (gate.value, gate.passed) == (0.02, True)


@pytest.mark.parametrize(("limit", "passed"), [(0.0201, True), (0.02, True), (0.0199, False), (INF, True)])
def test_the_limit_itself_is_accepted(limit: float, passed: bool) -> None:
    assert skill_verdict(judged(0.02).metadata, binding=True, largest_p_value=limit).passed is passed

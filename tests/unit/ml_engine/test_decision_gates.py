"""Each gate of a decision at its limit, just inside and just outside."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.market import Symbol
from bn_ml.domain.signals import Action, Probabilities, Signal
from bn_ml.errors import ModelError
from bn_ml.settings import ModelSettings
from ml_engine.bundle import ModelBundle
from ml_engine.bundle_metadata import ExpectedValuePart, WidthPart
from ml_engine.bundle_store import BundleStore
from ml_engine.decision import (
    ReturnLines,
    Thresholds,
    first_refusal,
    leaning,
    probability_gates,
)
from ml_engine.inference import CompactEnsemble
from ml_engine.predictor import MLEnsemblePredictor
from tests.fakes.bundle_builders import (
    BTC,
    COLUMNS,
    FEATURE_HASH,
    NOW,
    TRAINED_AT,
    a_bundle,
    a_row,
    training_rows,
)

LIMITS = Thresholds(min_buy_proba=0.42, min_sell_proba=0.42, min_margin=0.07, hold_bias=0.02)
DAY = timedelta(days=1)


class OneBundle:
    """A provider that serves one bundle, or raises."""

    def __init__(self, bundle: ModelBundle | None, reason: str = "no_bundle") -> None:
        self.bundle = bundle
        self.reason = reason
        self.changed: tuple[Symbol, ...] = ()

    def load(self, symbol: Symbol) -> ModelBundle:
        if self.bundle is None:
            raise ModelError(f"{symbol}: nothing", reason=self.reason)
        return self.bundle

    def as_of(self, symbol: Symbol, when: datetime) -> ModelBundle:
        return self.load(symbol)

    def poll_changes(self) -> tuple[Symbol, ...]:
        return self.changed


def buyers_row() -> np.ndarray:
    """The row of the sample with the highest probability of BUY among rows without holes."""
    rows = training_rows(600, seed=21, holes=0.0)[0]
    final = a_bundle().ensemble.probabilities(rows)
    return np.asarray(rows[int(np.argmax(final[:, 2]))])


def sellers_row() -> np.ndarray:
    rows = training_rows(600, seed=21, holes=0.0)[0]
    final = a_bundle().ensemble.probabilities(rows)
    return np.asarray(rows[int(np.argmax(final[:, 0]))])


def a_signal(bundle: ModelBundle | None = None, *, now: datetime = NOW, **ensemble: object) -> Signal:
    settings = ModelSettings.model_validate({"ensemble": ensemble})
    predictor = MLEnsemblePredictor(settings, OneBundle(bundle or a_bundle()), feature_hash=FEATURE_HASH)
    return predictor.signal(a_row(buyers_row()), now)


def refusals(sell: float, hold: float, buy: float) -> list[str]:
    judged = Probabilities(sell, hold, buy)
    return [gate.reason for gate in probability_gates(judged, leaning(judged), LIMITS) if not gate.passed]


def test_a_clear_buy_passes_every_gate() -> None:
    signal = a_signal()
    assert signal.action is Action.BUY
    assert signal.reason is None
    assert signal.confidence == signal.probabilities.buy
    assert abs(sum(signal.probabilities.as_dict().values()) - 1.0) <= 1e-9
    assert set(signal.members) == {"rf", "xgb", "lgb"}
    assert (signal.bundle_version, signal.base_rate, signal.buy_threshold) == (0, 0.25, 0.42)
    assert [gate.reason for gate in signal.gates] == [
        "no_bundle",
        "bundle_stale",
        "data_stale",
        "nan_feature",
        "outlier",
        "no_skill",
        "proba_below_min",
        "not_top_class",
        "margin_too_small",
        "hold_bias",
        "ev_not_positive",
    ]


def test_a_clear_sell_is_a_sell() -> None:
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle()))
    signal = predictor.signal(a_row(sellers_row()), NOW)
    assert signal.action is Action.SELL
    assert signal.confidence == signal.probabilities.sell


@pytest.mark.parametrize(("buy", "passes"), [(0.4201, True), (0.42, True), (0.4199, False)])
def test_the_least_probability(buy: float, passes: bool) -> None:
    rest = 1.0 - buy
    assert ("proba_below_min" not in refusals(rest / 2, rest / 2, buy)) is passes


@pytest.mark.parametrize(("hold", "passes"), [(0.4299, True), (0.43, False), (0.4301, False)])
def test_the_top_class_after_hold_is_raised(hold: float, passes: bool) -> None:
    assert ("not_top_class" not in refusals(0.55 - hold, hold, 0.45)) is passes


@pytest.mark.parametrize(("margin", "passes"), [(0.0701, True), (0.0699, False)])
def test_the_least_margin_over_the_second_class(margin: float, passes: bool) -> None:
    hold = 0.48 - 0.02 - margin
    assert ("margin_too_small" not in refusals(0.52 - hold, hold, 0.48)) is passes


def test_the_least_margin_is_met_exactly() -> None:
    gates = probability_gates(
        Probabilities(0.25, 0.25, 0.5), Action.BUY, replace(LIMITS, min_margin=0.25, hold_bias=0.0)
    )
    assert first_refusal(gates) is None


@pytest.mark.parametrize(("sell", "passes"), [(0.4374, True), (0.4375, True), (0.4376, False)])
def test_buy_must_lead_sell_by_the_bias(sell: float, passes: bool) -> None:
    limits = replace(LIMITS, hold_bias=0.0625)
    gates = probability_gates(Probabilities(sell, 0.5 - sell, 0.5), Action.BUY, limits)
    assert gates[3].passed is passes


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_buy_and_sell_are_judged_alike(one: float, two: float, three: float) -> None:
    total = one + two + three
    if not total > 0.0:
        return
    mirrored = Probabilities(three / total, two / total, one / total)
    judged = Probabilities(one / total, two / total, three / total)
    buy = probability_gates(judged, Action.BUY, LIMITS)
    sell = probability_gates(mirrored, Action.SELL, LIMITS)
    assert buy == sell


@pytest.mark.parametrize(("hours", "reason"), [(335.9, None), (336.0, None), (336.1, "bundle_stale")])
def test_a_bundle_grows_stale(hours: float, reason: str | None) -> None:
    now = TRAINED_AT + timedelta(hours=hours)
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle()))
    assert predictor.signal(a_row(buyers_row(), at=now), now).reason == reason


@pytest.mark.parametrize(("early", "reason"), [(0, None), (1, "no_bundle")])
def test_a_bundle_does_not_answer_before_it_is_valid(early: int, reason: str | None) -> None:
    now = TRAINED_AT - timedelta(milliseconds=early)
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle()))
    assert predictor.signal(a_row(buyers_row(), at=now), now).reason == reason


@pytest.mark.parametrize(("age_s", "reason"), [(0, None), (1800, None), (1801, "data_stale"), (-1, "data_stale")])
def test_a_row_from_the_past_or_the_future_is_stale(age_s: int, reason: str | None) -> None:
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle()))
    signal = predictor.signal(a_row(buyers_row(), at=NOW - timedelta(seconds=age_s)), NOW)
    assert signal.reason == reason


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [(0, np.nan, "nan_feature"), (0, np.inf, "nan_feature"), (5, np.nan, None), (5, np.inf, "nan_feature")],
)
def test_only_an_optional_column_may_be_unknown(place: int, value: float, reason: str | None) -> None:
    row = buyers_row()
    row[place] = value
    predictor = MLEnsemblePredictor(
        ModelSettings.model_validate({"ensemble": {"min_margin": 0.0, "min_buy_proba": 0.34, "hold_bias": 0.0}}),
        OneBundle(a_bundle()),
    )
    signal = predictor.signal(a_row(row), NOW)
    assert (signal.reason == "nan_feature") is (reason == "nan_feature")


def test_a_hold_before_the_models_were_asked_knows_no_probabilities() -> None:
    row = buyers_row()
    row[0] = np.nan
    signal = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle())).signal(a_row(row), NOW)
    assert signal.probabilities.hold == 1.0
    assert signal.members == {}


def test_a_row_without_a_column_of_the_bundle_does_not_match() -> None:
    row = a_row(np.zeros(5), columns=COLUMNS[:5])
    signal = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle())).signal(row, NOW)
    assert signal.reason == "feature_mismatch"


def test_a_bundle_of_other_features_does_not_match() -> None:
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle()), feature_hash="0" * 64)
    assert predictor.signal(a_row(), NOW).reason == "feature_mismatch"


def test_columns_are_found_by_name_whatever_their_order() -> None:
    row = buyers_row()
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle()))
    straight = predictor.signal(a_row(row), NOW)
    turned = predictor.signal(a_row(row[::-1].copy(), columns=COLUMNS[::-1]), NOW)
    assert straight.probabilities == turned.probabilities


@pytest.mark.parametrize("reason", ["no_bundle", "bundle_refused", "feature_mismatch"])
def test_a_missing_or_refused_bundle_is_named(reason: str) -> None:
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(None, reason))
    signal = predictor.signal(a_row(), NOW)
    assert (signal.action, signal.reason) == (Action.HOLD, reason)


def test_an_odd_bundle_is_a_hold_and_never_an_exception() -> None:
    bundle = a_bundle()
    broken = replace(bundle, ensemble=replace(bundle.ensemble, weights={}))
    signal = MLEnsemblePredictor(ModelSettings(), OneBundle(broken)).signal(a_row(buyers_row()), NOW)
    assert (signal.action, signal.reason) == (Action.HOLD, "model_error")


def test_probabilities_that_are_not_finite_are_a_model_error() -> None:
    bundle = a_bundle()

    class Broken(CompactEnsemble):
        def combine(self, raw: object) -> np.ndarray:
            return np.full((1, 3), np.nan)

    fields = {name: getattr(bundle.ensemble, name) for name in CompactEnsemble.__slots__}
    signal = MLEnsemblePredictor(ModelSettings(), OneBundle(replace(bundle, ensemble=Broken(**fields)))).signal(
        a_row(buyers_row()), NOW
    )
    assert signal.reason == "model_error"


@pytest.mark.parametrize(("factor", "reason"), [(1.001, None), (1.0, None), (0.999, "outlier")])
def test_a_row_outside_the_training_region_is_an_outlier(factor: float, reason: str | None) -> None:
    distance = float(np.sqrt(np.sum(buyers_row() ** 2)))
    exact = a_signal(a_bundle(outlier={"limit": distance * factor if factor != 1.0 else 99.0}))
    measured = next(gate.value for gate in exact.gates if gate.reason == "outlier")
    limit = measured * factor
    assert a_signal(a_bundle(outlier={"limit": limit})).reason == reason


def test_a_gate_that_is_off_shows_its_value_and_lets_pass() -> None:
    far = a_bundle(outlier={"limit": 1e-6})
    signal = a_signal(far, outlier_gate=False)
    gate = next(gate for gate in signal.gates if gate.reason == "outlier")
    assert signal.action is Action.BUY
    assert gate.passed
    assert gate.value > gate.limit


@pytest.mark.parametrize("half", ["report", "slope"])
def test_skill_needs_both_halves(half: str) -> None:
    proven = {
        "report": {"value": 0.05, "lower": 0.02, "upper": 0.08, "rows": 900},
        "slope": {"value": 0.4, "lower": 0.1, "upper": 0.7, "rows": 900},
    }
    skill = {**proven, half: {"value": 0.05, "lower": -0.001, "upper": 0.1, "rows": 900}, "passed": False}
    signal = a_signal(a_bundle(skill=skill))
    gate = next(gate for gate in signal.gates if gate.reason == "no_skill")
    assert signal.reason == "no_skill"
    assert (gate.value, gate.limit) == (-0.001, 0.0)
    assert signal.probabilities.buy > 0.42


def test_a_bundle_judged_untradable_does_not_trade() -> None:
    assert a_signal(a_bundle(tradable={"verdict": False, "reasons": ("few rows",)})).reason == "no_skill"
    assert a_signal(a_bundle(tradable={"verdict": False}, skill=None)).reason == "no_skill"
    assert a_signal(a_bundle(tradable={"verdict": False}), skill_gate=False).action is Action.BUY


def test_expected_return_is_the_lower_line_less_two_fees() -> None:
    signal = a_signal()
    width = max(0.0081, 0.6 * 0.003 * np.sqrt(10) + 0.35 * 0.004)
    score = (signal.probabilities.buy - signal.probabilities.sell) * width
    expected = np.quantile([1.4 * score, 0.001 + 1.6 * score], 0.1) - 0.002
    assert signal.expected_net_frac == pytest.approx(expected, abs=1e-12)


def test_a_line_that_pays_nothing_holds() -> None:
    signal = a_signal(a_bundle(expected_value={"intercept": 0.0, "slope": 0.0}))
    assert signal.reason == "ev_not_positive"
    assert signal.expected_net_frac == pytest.approx(-0.002)
    assert a_signal(a_bundle(expected_value={"intercept": 0.0, "slope": 0.0}), ev_gate=False).action is Action.BUY


@pytest.mark.parametrize(("share", "action"), [(0.99, Action.BUY), (1.0, Action.HOLD), (1.01, Action.HOLD)])
def test_the_live_spread_must_leave_something(share: float, action: Action) -> None:
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle()))
    signal = predictor.signal(a_row(buyers_row()), NOW)
    assert signal.expected_net_frac is not None
    priced = predictor.priced(signal, signal.expected_net_frac * share)
    assert priced.action is action
    assert priced.reason == (None if action is Action.BUY else "ev_not_positive")


def test_a_bundle_without_line_is_not_judged_by_it() -> None:
    signal = a_signal(a_bundle(expected_value=None))
    assert signal.action is Action.BUY
    assert signal.expected_net_frac is None


def test_thresholds_are_the_bundles_unless_the_configuration_says_otherwise() -> None:
    strict = a_bundle(
        decision_params={"min_buy_proba": 0.95, "min_sell_proba": 0.42, "min_margin": 0.07, "hold_bias": 0.02}
    )
    assert a_signal(strict).reason == "proba_below_min"
    assert a_signal(strict, min_buy_proba=0.42).action is Action.BUY
    predictor = MLEnsemblePredictor(
        ModelSettings.model_validate({"ensemble": {"min_buy_proba": 0.42}}), OneBundle(strict)
    )
    assert predictor.overrides(BTC, NOW) == {"min_buy_proba": (0.95, 0.42)}


def test_the_same_question_gives_the_same_answer() -> None:
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(a_bundle()))
    row = a_row(buyers_row())
    assert predictor.signal(row, NOW) == predictor.signal(row, NOW) == a_signal()


@given(st.lists(st.tuples(st.floats(-0.01, 0.01), st.floats(0, 3)), min_size=1, max_size=40), st.floats(-0.02, 0.02))
def test_the_lower_line_is_numpys_quantile(lines: list[tuple[float, float]], score: float) -> None:
    part = ExpectedValuePart(
        intercept=0.0, slope=1.0, intercepts=tuple(a for a, _ in lines), slopes=tuple(b for _, b in lines), quantile=0.1
    )
    values = [a + b * score for a, b in lines]
    assert ReturnLines.of(part).lower(score) == pytest.approx(float(np.quantile(values, 0.1)), abs=1e-12)


@pytest.mark.parametrize(
    ("sigma", "atr", "width"), [(0.0, 0.0, 0.0081), (0.004, 0.01, 0.6 * 0.004 * 10**0.5 + 0.0035), (1.0, 1.0, 0.02)]
)
def test_the_width_stays_between_floor_and_ceiling(sigma: float, atr: float, width: float) -> None:
    part = WidthPart(
        floor=0.0081, volatility_multiplier=0.6, atr_multiplier=0.35, horizon_bars=10, least=0.003, most=0.02
    )
    assert part.at(volatility_frac=sigma, atr_frac=atr) == pytest.approx(width)


def test_a_new_version_serves_from_the_next_adoption_on(tmp_path: Path) -> None:
    store = BundleStore(tmp_path, feature_hash=FEATURE_HASH)
    predictor = MLEnsemblePredictor(ModelSettings(), BundleStore(tmp_path, feature_hash=FEATURE_HASH))
    row = a_row(buyers_row())
    assert predictor.signal(row, NOW).reason == "no_bundle"
    store.save(a_bundle())
    assert predictor.signal(row, NOW).reason == "no_bundle"
    assert predictor.adopt(NOW) == ((BTC, 1),)
    assert predictor.signal(row, NOW).bundle_version == 1
    store.save(a_bundle())
    assert predictor.signal(row, NOW).bundle_version == 1
    assert predictor.adopt(NOW) == ((BTC, 2),)
    assert predictor.adopt(NOW) == ()
    assert predictor.bundle_at(BTC, NOW).version == 2


def test_a_refused_change_leaves_the_old_bundle_in_service(tmp_path: Path) -> None:
    store = BundleStore(tmp_path, feature_hash=FEATURE_HASH)
    store.save(a_bundle())
    predictor = MLEnsemblePredictor(ModelSettings(), BundleStore(tmp_path, feature_hash=FEATURE_HASH))
    predictor.adopt(NOW)
    store.save(a_bundle())
    (tmp_path / BTC.key / "reference.npz").write_bytes(b"x")
    assert predictor.adopt(NOW) == ((BTC, "bundle_refused"),)
    assert predictor.signal(a_row(buyers_row()), NOW).bundle_version == 1


def test_a_bundle_that_is_gone_serves_no_longer(tmp_path: Path) -> None:
    store = BundleStore(tmp_path, feature_hash=FEATURE_HASH)
    store.save(a_bundle())
    predictor = MLEnsemblePredictor(ModelSettings(), BundleStore(tmp_path, feature_hash=FEATURE_HASH))
    predictor.adopt(NOW)
    shutil.rmtree(tmp_path / BTC.key)
    assert predictor.adopt(NOW) == ((BTC, "no_bundle"),)
    assert predictor.signal(a_row(buyers_row()), NOW).reason == "no_bundle"


def test_in_replay_time_alone_makes_versions_valid(tmp_path: Path) -> None:
    store = BundleStore(tmp_path, feature_hash=FEATURE_HASH, keep_versions=None)
    for days in (1, 2):
        store.save(a_bundle(valid_from=TRAINED_AT + days * DAY))
    predictor = MLEnsemblePredictor(ModelSettings(), store, as_of=True)
    news = [predictor.adopt(TRAINED_AT + timedelta(hours=hours)) for hours in (0, 12, 24, 36, 48, 60)]
    assert news == [((BTC, "no_bundle"),), (), ((BTC, 1),), (), ((BTC, 2),), ()]


def test_in_replay_each_instant_has_its_own_bundle(tmp_path: Path) -> None:
    store = BundleStore(tmp_path, feature_hash=FEATURE_HASH, keep_versions=None)
    for days in range(3):
        store.save(a_bundle(valid_from=TRAINED_AT + days * DAY))
    predictor = MLEnsemblePredictor(ModelSettings(), store, as_of=True)
    versions = []
    for hours in (0, 23, 24, 47, 48, 24):
        now = TRAINED_AT + timedelta(hours=hours)
        versions.append(predictor.signal(a_row(buyers_row(), at=now), now).bundle_version)
    assert versions == [1, 1, 2, 2, 3, 2]
    early = TRAINED_AT - timedelta(hours=1)
    assert predictor.signal(a_row(buyers_row(), at=early), early).reason == "no_bundle"

"""Whatever is wrong with bars, rows or bundles, the answer is HOLD with its reason and never an exception."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.domain.signals import Action, Signal, hold
from bn_ml.errors import MarketDataError, ModelError
from bn_ml.settings import ModelSettings
from data_manager.bars import Bars, FloatArray
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import BatchFeatureFeed, LiveFeatureFeed
from data_manager.feed_checks import FeatureRow
from ml_engine.bundle import OUTLIER_SCALE, ModelBundle, core_files, read_core
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from tests.fakes.bundle_builders import BTC, COLUMNS, FEATURE_HASH, NOW, a_bundle, a_row, training_rows
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, MemoryProvider, flat, walk, without

AAA = Symbol("AAA/USDC")
ENGINEER = FeatureEngineer()
COUNT = 3_000
CLOSE_MS = MONDAY_MS + COUNT * STEP_MS


class OneBundle:
    """Serves one bundle for every symbol."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle

    def load(self, symbol: Symbol) -> ModelBundle:
        return self.bundle

    def as_of(self, symbol: Symbol, when: datetime) -> ModelBundle:
        return self.bundle

    def poll_changes(self) -> tuple[Symbol, ...]:
        return (BTC,)


def answer(bundle: ModelBundle, row: FeatureRow | None = None) -> Signal:
    """What the predictor says before and after it adopts a bundle; both must agree."""
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(bundle), feature_hash=FEATURE_HASH)
    asked = row or a_row(buyers_row())
    first = predictor.signal(asked, NOW)
    predictor.adopt(NOW)
    assert predictor.signal(asked, NOW) == first
    return first


def buyers_row() -> FloatArray:
    rows = training_rows(600, seed=21, holes=0.0)[0]
    best: FloatArray = rows[int(np.argmax(a_bundle().ensemble.probabilities(rows)[:, 2]))]
    return best


def serves_all(valid_columns: tuple[str, ...]) -> ModelBundle:
    """A bundle whose six columns are real features, so that real rows can be asked about."""
    start = CLOSE_MS - 86_400_000
    return a_bundle(
        feature_columns=valid_columns[:6],
        optional_columns=(),
        trained_at=from_ms(start),
        valid_from=from_ms(start),
        label_end=from_ms(start - 1),
    )


def scanned(bars: Bars, kind: type[LiveFeatureFeed | BatchFeatureFeed], higher: Older | None = None) -> Signal:
    """What a scan makes of the newest bar: the feed's refusal or the predictor's signal."""
    provider = higher or MemoryProvider({AAA: bars})
    now = from_ms(CLOSE_MS)
    columns = ("rsi_14", "atr_ratio", "volume_ratio", "macd_hist", "ema_9", "bb_position")
    known = [name for name in columns if name in ENGINEER.columns]
    names = tuple(dict.fromkeys([*known, *ENGINEER.columns]))
    predictor = MLEnsemblePredictor(ModelSettings(), OneBundle(serves_all(names)), feature_hash=FEATURE_HASH)
    try:
        row = kind(ENGINEER, provider).row(AAA, now)
    except MarketDataError as error:
        return hold(AAA, now, error.reason)
    return predictor.signal(row, now)


class Older(MemoryProvider):
    """A provider whose longer bars of one timeframe ended too long ago, though the base bars are all there."""

    def __init__(self, bars: Bars, timeframe: Timeframe, *, ended: int) -> None:
        super().__init__({bars.symbol: bars})
        self._stale, self._until_ms = timeframe, CLOSE_MS - ended * timeframe.ms

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        given = super().bars(symbol, timeframe, start_ms, end_ms)
        return given.closed_by(self._until_ms) if timeframe is self._stale else given


def test_a_missing_admitted_member_refuses_the_bundle() -> None:
    bundle = a_bundle(ensemble_weights={"rf": 0.5, "xgb": 0.2, "lgb": 0.1, "lstm": 0.2})
    with pytest.raises(ModelError, match="members with a vote are missing: lstm") as refusal:
        read_core(core_files(bundle))
    assert refusal.value.reason == "bundle_refused"


@pytest.mark.parametrize("part", ["rows", "final", "members"])
def test_test_vectors_that_are_not_reproduced_refuse_the_bundle(part: str, tmp_path: Path) -> None:
    bundle = a_bundle()
    vectors = bundle.vectors
    wrong = {
        "rows": lambda: replace(vectors, rows=vectors.rows + 1.0),
        "final": lambda: replace(vectors, final=vectors.final[:, ::-1].copy()),
        "members": lambda: replace(vectors, members={**vectors.members, "rf": vectors.members["rf"] + 1e-4}),
    }[part]()
    files = core_files(replace(bundle, vectors=wrong))
    with pytest.raises(ModelError, match="not reproduced") as refusal:
        read_core(files)
    assert refusal.value.reason == "bundle_refused"


def test_a_bundle_altered_on_disk_is_a_hold(tmp_path: Path) -> None:
    store = BundleStore(tmp_path, feature_hash=FEATURE_HASH)
    store.save(a_bundle())
    vectors = tmp_path / BTC.key / "vectors.npz"
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"x")
    predictor = MLEnsemblePredictor(ModelSettings(), BundleStore(tmp_path, feature_hash=FEATURE_HASH))
    signal = predictor.signal(a_row(buyers_row()), NOW)
    assert (signal.action, signal.reason) == (Action.HOLD, "bundle_refused")


def test_a_bundle_without_its_training_region_is_refused() -> None:
    bundle = a_bundle()
    lame = replace(bundle, reference={name: part for name, part in bundle.reference.items() if name != OUTLIER_SCALE})
    assert (answer(lame).action, answer(lame).reason) == (Action.HOLD, "bundle_refused")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(len(COLUMNS), np.nan), "nan_feature"),
        (np.full(len(COLUMNS), np.inf), "nan_feature"),
        (np.full(len(COLUMNS), 1e300), "outlier"),
        (np.zeros(len(COLUMNS) - 1), "feature_mismatch"),
    ],
)
def test_rows_that_cannot_be_answered(values: FloatArray, reason: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        signal = answer(a_bundle(), a_row(values, columns=COLUMNS))
    assert (signal.action, signal.reason) == (Action.HOLD, reason)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bundle: replace(bundle, ensemble=replace(bundle.ensemble, weights={})),
        lambda bundle: replace(bundle, ensemble=replace(bundle.ensemble, tables={})),
        lambda bundle: replace(bundle, ensemble=replace(bundle.ensemble, temperatures={})),
        lambda bundle: replace(bundle, reference={**bundle.reference, OUTLIER_SCALE: np.ones(3)}),
    ],
)
def test_an_inner_fault_of_a_bundle_is_a_model_error(spoil: Callable[[ModelBundle], ModelBundle]) -> None:
    signal = answer(spoil(a_bundle()))
    assert (signal.action, signal.reason) == (Action.HOLD, "model_error")


@pytest.mark.parametrize("kind", [LiveFeatureFeed, BatchFeatureFeed])
@pytest.mark.parametrize("volume", [1.0, 0.0])
def test_a_constant_price_is_a_hold(kind: type[LiveFeatureFeed | BatchFeatureFeed], volume: float) -> None:
    signal = scanned(flat(bars=COUNT, volume=volume), kind)
    assert (signal.action, signal.reason) == (Action.HOLD, "nan_feature")


@pytest.mark.parametrize("kind", [LiveFeatureFeed, BatchFeatureFeed])
def test_thirty_bars_are_too_few(kind: type[LiveFeatureFeed | BatchFeatureFeed]) -> None:
    young = walk(bars=30, start_ms=CLOSE_MS - 30 * STEP_MS)
    assert scanned(young, kind).reason == "too_few_bars"


@pytest.mark.parametrize("kind", [LiveFeatureFeed, BatchFeatureFeed])
def test_zero_volume_is_a_hold(kind: type[LiveFeatureFeed | BatchFeatureFeed]) -> None:
    bars = walk(bars=COUNT)
    silent = replace(bars, volume=np.zeros(COUNT))
    signal = scanned(silent, kind)
    assert signal.action is Action.HOLD
    assert signal.reason is not None


@pytest.mark.parametrize("kind", [LiveFeatureFeed, BatchFeatureFeed])
def test_a_gap_is_named(kind: type[LiveFeatureFeed | BatchFeatureFeed]) -> None:
    assert scanned(without(walk(bars=COUNT), range(COUNT - 10, COUNT - 5)), kind).reason == "data_gap"


@pytest.mark.parametrize("timeframe", [Timeframe.H1, Timeframe.H4, Timeframe.D1])
@pytest.mark.parametrize("kind", [LiveFeatureFeed, BatchFeatureFeed])
def test_a_longer_bar_two_lengths_old_is_stale(
    kind: type[LiveFeatureFeed | BatchFeatureFeed], timeframe: Timeframe
) -> None:
    if timeframe not in ENGINEER.higher_timeframes:
        pytest.skip(f"{timeframe.value} is not used")
    bars = walk(bars=COUNT)
    stale = Older(bars, timeframe, ended=3)
    assert scanned(bars, kind, stale).reason == "data_stale"

"""A training whose vote looks at windows: from rows to a bundle that answers live as it was judged, or says HOLD."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import joblib
import numpy as np
import pytest

from bn_ml.domain.market import from_ms
from bn_ml.errors import ConfigError, ModelError
from bn_ml.settings import RiskSettings, Settings
from data_manager.feed_checks import FeatureRow
from data_manager.windows import Windows
from ml_engine import sequence_model
from ml_engine.bundle import ENSEMBLE_FILE, VECTORS_FILE, core_files, read_core
from ml_engine.bundle_store import BundleStore
from ml_engine.inference import CompactEnsemble
from ml_engine.models import recipe
from ml_engine.predictor import MLEnsemblePredictor
from ml_engine.trainer import EnsembleTrainer, Trained
from ml_engine.training_bundle import publish_trained
from ml_engine.training_data import TrainingMarket
from ml_engine.training_session import TrainingJob, run_session
from tests.fakes.bundle_builders import a_row
from tests.fakes.sequence_builders import BACKENDS, LENGTH, a_looking_model, remembering_rows
from tests.fakes.training_builders import COIN, a_sample

GAP_AT = 4_300
NAMES = {"torch": "torch-lstm", "mlp": "mlp"}


@lru_cache(maxsize=2)
def trained_with(backend: str) -> Trained:
    trainer = EnsembleTrainer(a_looking_model(backend), RiskSettings(), hpo=False)
    return trainer.train_on(a_sample(remembering_rows(5_200, gap_at=GAP_AT)))


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def trained(backend: str) -> Trained:
    return trained_with(backend)


@pytest.fixture(scope="module")
def store(trained: Trained, backend: str, tmp_path_factory: pytest.TempPathFactory) -> BundleStore:
    store = BundleStore(tmp_path_factory.mktemp(backend) / "models", keep_versions=None)
    moment = from_ms(trained.sample.data_end)
    publish_trained(store, trained, a_looking_model(backend), RiskSettings(), trained_at=moment, trained_by="test")
    return store


def windows_of(trained: Trained) -> Windows:
    assert trained.sample.data.windows is not None
    return trained.sample.data.windows


def asked_about(trained: Trained, place: int, at: datetime) -> FeatureRow:
    data = trained.sample.data
    row = a_row(data.values[place], at=at, symbol=COIN, columns=data.columns)
    return replace(row, window=windows_of(trained).part(slice(place, place + 1)))


def test_a_member_that_sees_what_others_cannot_is_admitted(trained: Trained) -> None:
    weights = trained.vote.weights
    assert weights["lstm"] == max(weights.values())
    assert trained.figures["lstm"].skill.lower > 0.1
    assert trained.figures["logistic"].log_loss > trained.figures["lstm"].log_loss


def test_held_out_rows_without_a_whole_window_are_left_out(trained: Trained) -> None:
    known = windows_of(trained).known
    assert not known[GAP_AT : GAP_AT + LENGTH - 1].any()
    for block in (trained.blocks.calibrate, trained.blocks.select, trained.blocks.report):
        assert known[block.rows].all()
    assert not known[trained.blocks.train.rows[0]]


def test_the_bundle_says_what_looks_at_windows(trained: Trained, store: BundleStore, backend: str) -> None:
    metadata = BundleStore(store.models_dir).load(COIN).metadata
    assert metadata.sequence.enabled
    assert (metadata.sequence.backend, metadata.sequence.sequence_length) == (NAMES[backend], LENGTH)
    assert set(metadata.sequence.columns) <= set(metadata.feature_columns)
    assert metadata.model_types["lstm"] == NAMES[backend]
    assert metadata.ensemble_weights.lstm == trained.vote.weights["lstm"]
    assert metadata.admission["lstm"].admitted
    assert metadata.best_params["lstm"]["backend"] == NAMES[backend]  # type: ignore[index,call-overload]
    assert joblib.load(store.models_dir / COIN.key / "lstm.joblib").backend == NAMES[backend]


def test_the_anchors_numbers_stand_in_the_metadata_and_answer_as_the_vote_does(
    trained: Trained, store: BundleStore
) -> None:
    assert not (store.models_dir / COIN.key / "logistic.joblib").exists()
    told = store.load(COIN).metadata.logistic
    assert told is not None
    rows = trained.sample.data.values[:50][:, trained.shipped.columns]
    assert told.inputs == trained.columns
    standard = np.clip((rows - told.centre) / told.scale, -5, 5)
    logits = np.stack([standard @ np.array(told.coefficients[name]) + told.intercept[name] for name in told.intercept])
    shares = np.exp(logits) / np.exp(logits).sum(axis=0)
    assert tuple(told.intercept) == ("SELL", "HOLD", "BUY")
    assert (
        np.abs(
            trained.shipped.raw(trained.sample.data.values[:50], windows_of(trained).part(slice(0, 50)))["logistic"]
            - shares.T
        ).max()
        <= 1e-6
    )


def test_the_loaded_bundle_answers_as_the_vote_did(trained: Trained, store: BundleStore, backend: str) -> None:
    predictor = MLEnsemblePredictor(a_looking_model(backend), BundleStore(store.models_dir))
    now = from_ms(trained.sample.data_end)
    places = trained.blocks.report.rows[:40]
    expected = trained.vote.combine(trained.shipped.on(trained.sample.data, places))
    assert predictor.window_bars(COIN, now) == LENGTH
    for place, told in zip(places, expected, strict=True):
        signal = predictor.signal(asked_about(trained, int(place), now), now)
        said = signal.probabilities
        assert np.abs(np.array([said.sell, said.hold, said.buy]) - told).max() <= 1e-6
        assert set(signal.members) == {"rf", "xgb", "lgb", "logistic", "lstm"}


def test_a_block_of_rows_is_judged_like_its_rows_alone(trained: Trained, store: BundleStore, backend: str) -> None:
    predictor = MLEnsemblePredictor(a_looking_model(backend), BundleStore(store.models_dir))
    now = from_ms(trained.sample.data_end)
    rows = np.arange(GAP_AT - 20, GAP_AT + 20)
    block, windows = trained.sample.data.values[rows], windows_of(trained).part(rows)
    for place, row in enumerate(rows):
        alone = asked_about(trained, int(row), now)
        together = replace(alone, block=block, place=place, window=windows)
        one, other = predictor.signal(alone, now), predictor.signal(together, now)
        assert one == other
        assert (one.reason == "nan_feature") == (GAP_AT <= row < GAP_AT + LENGTH - 1)


@pytest.mark.parametrize("fault", ["none", "short", "gap", "hole"])
def test_without_the_whole_window_the_answer_is_hold(
    trained: Trained, store: BundleStore, backend: str, fault: str
) -> None:
    predictor = MLEnsemblePredictor(a_looking_model(backend), BundleStore(store.models_dir))
    now, place = from_ms(trained.sample.data_end), int(trained.blocks.report.rows[0])
    row = asked_about(trained, place, now)
    assert predictor.signal(row, now).reason != "nan_feature"
    assert row.window is not None
    holed = row.window.values.copy()
    holed[place - 3, trained.shipped.columns[0]] = np.nan
    faulty = {
        "none": None,
        "short": replace(row.window, length=LENGTH - 1),
        "gap": replace(row.window, ends=np.array([-1])),
        "hole": replace(row.window, values=holed),
    }
    signal = predictor.signal(replace(row, window=faulty[fault]), now)
    assert (signal.action.value, signal.reason) == ("HOLD", "nan_feature")


def test_a_training_repeated_gives_the_same_bytes() -> None:
    assert trained_with("mlp").ensemble.to_bytes() == trained_with.__wrapped__("mlp").ensemble.to_bytes()


@pytest.mark.parametrize("member", ["sequence", "linear"])
def test_changed_numbers_are_not_served(trained: Trained, store: BundleStore, member: str) -> None:
    bundle = store.load(COIN)
    files, sound = core_files(bundle), bundle.ensemble
    own = getattr(sound, member).arrays()
    name = max(own, key=lambda key: own[key].size)
    touched = {**own, name: own[name] * 1.01}
    forged = (
        replace(sound, sequence=type(sound.sequence).of(sound.sequence.backend, LENGTH, touched))  # type: ignore[union-attr]
        if member == "sequence"
        else replace(sound, linear=type(sound.linear).of(touched))  # type: ignore[union-attr]
    )
    assert read_core(files).version == bundle.version
    with pytest.raises(ModelError, match="the test vectors are not reproduced"):
        read_core({**files, ENSEMBLE_FILE: forged.to_bytes()})


def test_a_bundle_without_the_windows_of_its_vectors_is_refused(store: BundleStore) -> None:
    bundle = store.load(COIN)
    bare = replace(bundle, vectors=replace(bundle.vectors, windows=None))
    with pytest.raises(ModelError, match="cannot be read"):
        read_core({**core_files(bundle), VECTORS_FILE: core_files(bare)[VECTORS_FILE]})


def test_a_bundle_of_another_window_than_it_says_is_refused(store: BundleStore) -> None:
    bundle = store.load(COIN)
    other = bundle.metadata.model_copy(
        update={"sequence": bundle.metadata.sequence.model_copy(update={"sequence_length": LENGTH + 1})}
    )
    with pytest.raises(ModelError, match="windows of 12 rows in the ensemble, 13 in the metadata"):
        read_core(core_files(replace(bundle, metadata=other)))


def test_files_altered_on_disk_are_refused(trained: Trained, backend: str, tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "models")
    moment = from_ms(trained.sample.data_end)
    publish_trained(store, trained, a_looking_model(backend), RiskSettings(), trained_at=moment, trained_by="test")
    path = store.models_dir / COIN.key / "lstm.joblib"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(ModelError, match=r"lstm\.joblib"):
        BundleStore(store.models_dir).load(COIN)


def test_the_trading_process_reads_such_a_bundle_without_a_training_library(
    trained: Trained, store: BundleStore
) -> None:
    now_ms, place = trained.sample.data_end, int(trained.blocks.report.rows[0])
    np.savez(store.models_dir / "row.npz", values=trained.sample.data.values[place - LENGTH + 1 : place + 1])
    code = f"""
import sys
import numpy as np
from bn_ml.domain.market import Symbol, from_ms
from bn_ml.settings import ModelSettings
from data_manager.feed_checks import FeatureRow
from data_manager.windows import Windows
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
rows = np.load(r"{store.models_dir}/row.npz")["values"]
predictor = MLEnsemblePredictor(ModelSettings(), BundleStore(r"{store.models_dir}"))
row = FeatureRow(Symbol("{COIN}"), {now_ms}, rows[-1], tuple(f"column_{{n}}" for n in range(8)), np.ones(193), 0.004,
                 0.003, "test", window=Windows(rows, np.array([{LENGTH - 1}]), {LENGTH}))
signal = predictor.signal(row, from_ms({now_ms}))
assert set(signal.members) == {{"rf", "xgb", "lgb", "logistic", "lstm"}}, (signal.reason, signal.members)
heavy = {{"sklearn", "xgboost", "lightgbm", "optuna", "joblib", "pandas", "scipy", "torch"}} & set(sys.modules)
sys.exit(",".join(sorted(heavy)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_read_back_gives_the_same_bits(trained: Trained) -> None:
    again = CompactEnsemble.from_bytes(trained.ensemble.to_bytes())
    places = trained.blocks.report.rows[:30]
    rows = trained.sample.data.values[np.ix_(places, np.array(trained.shipped.columns))]
    windows = windows_of(trained).part(places).pick(np.array(trained.shipped.columns))
    assert again.probabilities(rows, windows).tobytes() == trained.ensemble.probabilities(rows, windows).tobytes()
    assert again.to_bytes() == trained.ensemble.to_bytes()
    with pytest.raises(ValueError, match="needs a window of 12 rows for each of 30 rows"):
        again.probabilities(rows)


def test_a_quick_training_grows_the_anchor_and_no_member_that_looks_back(tmp_path: Path) -> None:
    model = a_looking_model("mlp")
    trained = EnsembleTrainer(model, RiskSettings(), quick=True).train_on(a_sample(remembering_rows(4_500)))
    assert set(trained.twin.members) == {"rf", "xgb", "lgb", "logistic"}
    assert trained.ensemble.window_bars == 0
    assert not recipe(model, quick=True).sequence
    store, moment = BundleStore(tmp_path / "models"), from_ms(trained.sample.data_end)
    publish_trained(store, trained, model, RiskSettings(), trained_at=moment, trained_by="test")
    assert store.load(COIN).metadata.sequence.reason == "the quick recipe grows none"


def test_rows_without_windows_train_without_the_member_and_the_bundle_says_why(tmp_path: Path) -> None:
    found = replace(a_sample(replace(remembering_rows(4_500), windows=None)), windows_note="only 3% of the rows")
    model = a_looking_model("mlp")
    trained = EnsembleTrainer(model, RiskSettings(), hpo=False).train_on(found)
    store = BundleStore(tmp_path / "models")
    publish_trained(store, trained, model, RiskSettings(), trained_at=from_ms(found.data_end), trained_by="test")
    metadata = store.load(COIN).metadata
    assert (metadata.sequence.enabled, metadata.sequence.reason) == (False, "only 3% of the rows")
    assert metadata.ensemble_weights.lstm == 0.0
    assert not (store.models_dir / COIN.key / "lstm.joblib").exists()


def test_a_trainer_asked_for_torch_without_it_refuses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_model, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"model\.lstm\.backend: torch is not installed"):
        EnsembleTrainer(a_looking_model("torch"), RiskSettings())
    EnsembleTrainer(a_looking_model("torch"), RiskSettings(), quick=True)
    EnsembleTrainer(a_looking_model("auto"), RiskSettings())


def test_a_run_asked_for_torch_without_it_is_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sequence_model, "find_spec", lambda name: None)
    wanted = {"models_dir": str(tmp_path / "models"), "lstm": {"enabled": True, "backend": "torch"}}
    nothing = TrainingMarket({}, {}, (), COIN, 0)
    job = TrainingJob(
        Settings.from_mapping({"model": wanted}), nothing, quick=False, trained_at=from_ms(0), trained_by="x"
    )
    told: list[object] = []
    with pytest.raises(ConfigError, match="pip install"):
        run_session(job, [COIN], told.append, jobs=1)
    assert told == []
    assert [outcome.result for outcome in run_session(replace(job, quick=True), [COIN], told.append, jobs=1)] == [
        "failed"
    ]

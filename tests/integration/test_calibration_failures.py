"""A calibration that fails in any way fails the training of that symbol, and the bundle before it goes on serving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from bn_ml.domain.market import Symbol, from_ms
from bn_ml.settings import Settings
from data_manager.bars import FloatArray
from ml_engine import calibration, fitting
from ml_engine.final_maps import LinearMap
from ml_engine.training_data import TrainingMarket
from ml_engine.training_progress import FAILED, TRAINED, SymbolOutcome
from ml_engine.training_session import TrainingJob, train_one
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, walk

COIN = Symbol("BTC/USDC")
COUNT = 6_000


def a_job(folder: Path, **ensemble: object) -> TrainingJob:
    """Seven weeks of a random walk, trained quickly."""
    model = {"models_dir": str(folder / "models"), "train_ohlcv_limit": 5_000, "min_train_rows": 500}
    settings = Settings.from_mapping({"model": {**model, "ensemble": ensemble}})
    end_ms = MONDAY_MS + COUNT * STEP_MS
    market = TrainingMarket({COIN: walk(COIN, bars=COUNT, seed=2)}, {}, (COIN,), COIN, end_ms)
    return TrainingJob(settings, market, True, from_ms(end_ms), "test", challenges=False)


def reasons(outcome: SymbolOutcome) -> str:
    assert outcome.result == FAILED
    return " ".join(outcome.reasons)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a bundle in service."""
    place = tmp_path_factory.mktemp("served")
    outcome = train_one(a_job(place), COIN)
    assert (outcome.result, outcome.version) == (TRAINED, 1), outcome.reasons
    return place


def spoilt_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = fitting.mixture

    def with_a_hole(*arguments: object) -> FloatArray:
        mixed: FloatArray = honest(*arguments)  # type: ignore[arg-type]
        mixed[3, 1] = np.nan
        return mixed

    monkeypatch.setattr(fitting, "mixture", with_a_hole)


def an_optimiser_that_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gave_up = OptimizeResult(success=False, message="no", x=np.zeros(12), fun=np.nan)
    monkeypatch.setattr(calibration, "minimize", lambda *_, **__: gave_up)


def a_temperature_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    gave_up = OptimizeResult(success=False, message="no", x=1.0, fun=np.nan)
    monkeypatch.setattr(calibration, "minimize_scalar", lambda *_, **__: gave_up)


def a_map_worse_than_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_map_of", lambda *_: LinearMap.of(-np.eye(3), np.zeros(3)))


def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method itself is impossible on these rows."""


@pytest.mark.parametrize(
    ("method", "fault", "text"),
    [
        ("dirichlet", spoilt_probabilities, "not finite"),
        ("dirichlet", an_optimiser_that_gives_up, "the final map could not be fitted"),
        ("auto", a_temperature_without_end, "temperature could not be fitted"),
        ("vector", a_map_worse_than_none, "worsens its own rows"),
        ("isotonic", nothing, "isotonic needs at least 20000 calibrate rows"),
    ],
)
def test_the_training_fails_with_the_reason_and_the_old_bundle_serves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, method: str, fault: Callable[[pytest.MonkeyPatch], None], text: str
) -> None:
    job = a_job(folder, calibration=method)
    before = {path.name: path.read_bytes() for path in (folder / "models" / COIN.key).iterdir()}
    fault(monkeypatch)
    told = reasons(train_one(job, COIN))
    assert told.startswith("calibration_failed: ")
    assert text in told
    assert {path.name: path.read_bytes() for path in (folder / "models" / COIN.key).iterdir()} == before
    assert job.store().load(COIN).version == 1


def test_no_map_by_configuration_is_published_and_said(folder: Path) -> None:
    job = a_job(folder, calibration="none")
    assert train_one(job, COIN).result == TRAINED
    part = job.store().load(COIN).metadata.calibration
    assert (part.method, part.kind, part.reason) == ("none", "linear", "configured")
    assert part.matrix == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def test_a_sigmoid_is_published_with_its_numbers(folder: Path) -> None:
    job = a_job(folder, calibration="sigmoid")
    assert train_one(job, COIN).result == TRAINED
    bundle = job.store().load(COIN)
    part = bundle.metadata.calibration
    assert (part.method, part.kind) == ("sigmoid", "sigmoid")
    assert bundle.ensemble.final_map.header() == {
        "kind": "sigmoid",
        "slopes": list(part.slopes),
        "intercepts": list(part.intercepts),
    }

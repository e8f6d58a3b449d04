"""Maps that repair probabilities, and refuse to be fitted on nonsense."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from bn_ml.errors import ModelError
from ml_engine import calibration
from ml_engine.calibration import fit_map, fit_temperature
from ml_engine.final_maps import LinearMap, SigmoidMap
from ml_engine.inference import tempered
from ml_engine.metrics import calibration_error, log_loss


def overconfident(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts twice too sure, and leaning to the first class."""
    generator = np.random.default_rng(seed)
    true = generator.dirichlet((2.0, 4.0, 2.0), rows)
    labels = (generator.random((rows, 1)) > np.cumsum(true, axis=1)[:, :2]).sum(axis=1)
    wrong = true**2 * np.array([1.5, 1.0, 0.8])
    return wrong / wrong.sum(axis=1, keepdims=True), labels


def test_the_temperature_of_forecasts_twice_too_sure_is_two() -> None:
    generator = np.random.default_rng(1)
    true = generator.dirichlet((2.0, 4.0, 2.0), 20_000)
    labels = (generator.random((20_000, 1)) > np.cumsum(true, axis=1)[:, :2]).sum(axis=1)
    assert fit_temperature(tempered(true, 0.5), labels) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("method", ["dirichlet", "vector", "temperature"])
def test_a_map_improves_forecasts_it_was_not_fitted_on(method: str) -> None:
    forecast, labels = overconfident(6_000)
    fitted = fit_map(forecast[:3_000], labels[:3_000], method=method)
    mapped = fitted.map.apply(forecast[3_000:])
    assert log_loss(mapped, labels[3_000:]) < log_loss(forecast[3_000:], labels[3_000:])
    assert calibration_error(mapped, labels[3_000:]) < calibration_error(forecast[3_000:], labels[3_000:])


@pytest.mark.parametrize("method", ["dirichlet", "vector", "temperature", "none", "auto"])
def test_mapped_rows_are_distributions(method: str) -> None:
    forecast, labels = overconfident(1_000)
    extreme = np.vstack([forecast, [[1.0, 0.0, 0.0], [0.0, 1e-300, 1.0]]])
    mapped = fit_map(forecast, labels, method=method).map.apply(extreme)
    assert np.abs(mapped.sum(axis=1) - 1.0).max() < 1e-9
    assert (mapped > 0.0).all()


@pytest.mark.parametrize(
    ("rows", "method"), [(499, "none"), (500, "temperature"), (1_499, "temperature"), (3_000, "dirichlet")]
)
def test_auto_chooses_by_the_number_of_rows(rows: int, method: str) -> None:
    forecast, labels = overconfident(rows)
    assert fit_map(forecast, labels, method="auto").method == method


def test_between_the_sizes_the_richer_map_has_to_win_on_the_other_half() -> None:
    forecast, labels = overconfident(2_400)
    assert fit_map(forecast, labels, method="auto").method == "dirichlet"
    generator = np.random.default_rng(2)
    said = generator.dirichlet((2.0, 4.0, 2.0), 1_600)
    odds = said * np.repeat([[2.0, 1.0, 1.0], [1.0, 1.0, 2.0]], 800, axis=0)
    true = odds / odds.sum(axis=1, keepdims=True)
    drifted = (generator.random((1_600, 1)) > np.cumsum(true, axis=1)[:, :2]).sum(axis=1)
    assert fit_map(said, drifted, method="auto").method == "temperature"


def test_probabilities_that_are_not_finite_refuse_the_map() -> None:
    forecast, labels = overconfident(1_000)
    forecast[7, 1] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        fit_map(forecast, labels, method="auto")


def test_a_sigmoid_repairs_forecasts_it_was_not_fitted_on() -> None:
    generator = np.random.default_rng(4)
    true = generator.dirichlet((4.0, 9.0, 4.0), 6_000)
    labels = (generator.random((6_000, 1)) > np.cumsum(true, axis=1)[:, :2]).sum(axis=1)
    wrong = true**3 * np.array([2.0, 1.0, 0.6])
    wrong = wrong / wrong.sum(axis=1, keepdims=True)
    fitted = fit_map(wrong[:3_000], labels[:3_000], method="sigmoid")
    assert log_loss(fitted.map.apply(wrong[3_000:]), labels[3_000:]) < log_loss(wrong[3_000:], labels[3_000:])
    assert fitted.reason == "configured"


def test_what_a_sigmoid_costs_against_no_map_is_said() -> None:
    generator = np.random.default_rng(5)
    true = generator.dirichlet((1.8, 4.4, 1.8), 4_000)
    labels = (generator.random((4_000, 1)) > np.cumsum(true, axis=1)[:, :2]).sum(axis=1)
    assert "of log-loss against no map on its own rows" in fit_map(true, labels, method="sigmoid").reason


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_a_class_that_never_occurs_refuses_maps_against_the_rest(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ISOTONIC_ROWS", 100)
    forecast, _ = overconfident(1_000)
    with pytest.raises(ModelError, match=r"no row is BUY among 1000") as refusal:
        fit_map(forecast, np.arange(1_000) % 2, method=method)
    assert refusal.value.reason == "calibration_failed"


def test_a_class_that_grows_rarer_as_its_forecast_rises_gets_its_share() -> None:
    forecast, labels = overconfident(3_000)
    turned = forecast.copy()
    turned[:, 2] = forecast[::-1, 2].max() - forecast[:, 2]
    turned = turned / turned.sum(axis=1, keepdims=True)
    fitted = fit_map(turned, labels, method="sigmoid").map
    assert isinstance(fitted, SigmoidMap)
    assert fitted.slopes[2] == 0.0
    assert 1.0 / (1.0 + np.exp(fitted.intercepts[2])) == pytest.approx((labels == 2).mean(), abs=1e-3)


def test_a_constant_forecast_becomes_the_class_shares() -> None:
    _, labels = overconfident(1_000)
    mapped = fit_map(np.full((1_000, 3), 1.0 / 3.0), labels, method="sigmoid").map.apply(np.full((1, 3), 1.0 / 3.0))
    assert mapped[0] == pytest.approx(np.bincount(labels, minlength=3) / 1_000, abs=2e-3)


@pytest.mark.parametrize("method", ["sigmoid", "dirichlet", "vector"])
def test_an_optimiser_that_gives_up_refuses_the_map(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gave_up = OptimizeResult(success=False, message="no", x=np.array([-9.0, 9.0]))
    monkeypatch.setattr(calibration, "minimize", lambda *_, **__: gave_up)
    forecast, labels = overconfident(1_000)
    with pytest.raises(ModelError, match="could not be fitted") as refusal:
        fit_map(forecast, labels, method=method)
    assert refusal.value.reason == "calibration_failed"


def test_a_map_that_is_worse_than_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_map_of", lambda *_: LinearMap.of(-np.eye(3), np.zeros(3)))
    forecast, labels = overconfident(1_000)
    for method in ("dirichlet", "sigmoid"):
        with pytest.raises(ModelError, match="worsens its own rows"):
            fit_map(forecast, labels, method=method)


def test_no_map_by_configuration_says_so() -> None:
    forecast, labels = overconfident(5_000)
    fitted = fit_map(forecast, labels, method="none")
    assert (fitted.method, fitted.map, fitted.reason) == ("none", LinearMap(), "configured")
    assert np.abs(fitted.map.apply(forecast) - forecast).max() < 1e-9

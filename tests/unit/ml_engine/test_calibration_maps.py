"""Maps that repair probabilities, and refuse to be fitted on nonsense."""

from __future__ import annotations

import numpy as np
import pytest

from bn_ml.errors import ConfigError, ModelError
from ml_engine.calibration import fit_map, fit_temperature
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
    true = generator.dirichlet((2.0, 4.0, 2.0), 1_600)
    honest = (generator.random((1_600, 1)) > np.cumsum(true, axis=1)[:, :2]).sum(axis=1)
    assert fit_map(true, honest, method="auto").method == "temperature"


def test_probabilities_that_are_not_finite_refuse_the_map() -> None:
    forecast, labels = overconfident(1_000)
    forecast[7, 1] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        fit_map(forecast, labels, method="auto")


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_methods_the_inference_file_cannot_carry_are_refused_with_what_to_use(method: str) -> None:
    forecast, labels = overconfident(1_000)
    with pytest.raises(ConfigError, match=r"use auto, dirichlet"):
        fit_map(forecast, labels, method=method)

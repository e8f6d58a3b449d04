"""Small worlds whose answer lies in the rows before the newest one, for members that look at windows."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from bn_ml.settings import ModelSettings
from bn_ml.settings_model import LstmSettings
from data_manager.windows import cut_windows
from ml_engine.dataset import Dataset
from ml_engine.sequence_model import Lesson, sequence_parameters
from ml_engine.training_data import BASE
from tests.fakes.training_builders import a_model, planted_rows

LENGTH = 12
TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed (pip install .[lstm])")
BACKENDS = (pytest.param("torch", marks=TORCH), "mlp")


def a_memory(count: int = 3_000, *, columns: int = 5, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows (count, columns) and classes that follow the sum of the second column over the last eight rows."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, columns))
    recent = np.convolve(rows[:, 1], np.ones(8) / np.sqrt(8))[:count]
    rows[generator.random(rows.shape) < 0.01] = np.nan
    return rows, np.digitize(recent + 0.3 * generator.normal(size=count), [-0.5, 0.5]).astype(np.int64)


def a_lesson(rows: np.ndarray, classes: np.ndarray, part: slice) -> Lesson:
    """The rows of a part with the windows that end with them."""
    ends = np.arange(len(rows))
    windows = cut_windows(ends * BASE.ms, rows, ends, length=LENGTH, step_ms=BASE.ms).part(part)
    return Lesson(windows, classes[part], np.ones(len(windows)))


def values_of(backend: str, **changes: int | float | str) -> dict[str, int | float | str]:
    """What a small network is fitted with."""
    chosen = {"hidden_size": 12, "hidden_size_2": 0, "sequence_length": LENGTH, "dropout": 0.0, "batch_size": 32}
    settings = LstmSettings.model_validate({**chosen, "backend": backend})
    return {**sequence_parameters(settings, 7), "nets": 2, "epochs": 10, **changes}


def rows_with_windows(count: int = 6_000, *, length: int = LENGTH, gap_at: int | None = None) -> Dataset:
    """The planted rows with windows, consecutive but for one absent row where asked; later rows move on."""
    data = planted_rows(count)
    if gap_at is not None:
        late = np.where(np.arange(count) >= gap_at, BASE.ms, 0)
        data = replace(data, t0=data.t0 + late, t1=data.t1 + late, t1_trade=data.t1_trade + late)
    windows = cut_windows(data.t0, data.values, np.arange(count), length=length, step_ms=BASE.ms)
    return replace(data, windows=windows)


def remembering_rows(count: int = 7_000, *, gap_at: int | None = None, seed: int = 5) -> Dataset:
    """Rows with windows whose class, and with it the trade's return, follows the second column of the last eight."""
    data = rows_with_windows(count, gap_at=gap_at)
    generator = np.random.default_rng(seed)
    recent = np.convolve(data.values[:, 1], np.ones(8) / np.sqrt(8))[:count]
    labels = np.digitize(recent + 0.4 * generator.normal(size=count), [-0.5, 0.5]).astype(np.int64)
    gross = 0.01 * (labels - 1) + generator.normal(0, 0.01, count)
    return replace(data, labels=labels, trade_gross=gross)


def a_looking_model(backend: str, **changes: object) -> ModelSettings:
    """Settings of few trees and a small network."""
    lstm = {
        "enabled": True,
        "backend": backend,
        "sequence_length": LENGTH,
        "hidden_size": 12,
        "hidden_size_2": 0,
        "epochs": 8,
        "batch_size": 64,
        "dropout": 0.0,
    }
    trees = {"rf": {"n_estimators": 10}, "xgb": {"n_estimators": 10}, "lgb": {"n_estimators": 10}}
    return a_model(lstm=lstm, **trees, **changes)

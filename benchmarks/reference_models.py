"""The ensemble as it is usually served: fitted library objects, asked one after the other, calibrated in numpy."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import joblib
import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import RandomForestClassifier

from data_manager.bars import FloatArray, IntArray

ROWS, COLUMNS = 5_000, 50
TEMPERATURES = {"rf": 0.9, "xgb": 1.3, "lgb": 1.1}
WEIGHTS = {"rf": 0.5, "xgb": 0.2, "lgb": 0.3}
MATRIX = np.array([[1.1, 0.05, 0.0], [0.0, 0.95, 0.02], [0.03, 0.0, 1.05]])
BIAS = np.array([0.02, -0.01, 0.0])
FLOOR = 1e-9


class Member(Protocol):
    """A fitted classifier of three classes."""

    def predict_proba(self, rows: FloatArray, /) -> FloatArray:
        """Give probabilities (n, 3)."""


def labels_for(rows: FloatArray, *, seed: int) -> IntArray:
    """Give classes 0, 1, 2 that lean on a few columns, in shares of about 30, 40 and 30 %."""
    dice = np.random.default_rng(seed)
    centred = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + FLOOR)
    lean = centred[:, 0] + 0.5 * centred[:, 1] - 0.5 * centred[:, 2] * centred[:, 3] + dice.normal(0, 1.5, len(rows))
    classes: IntArray = np.digitize(lean, np.quantile(lean, [0.3, 0.7])).astype(np.int64)
    return classes


def fitted_members(rows: FloatArray, classes: IntArray, *, seed: int = 7) -> dict[str, Member]:
    """Fit a forest of 300 trees, 500 rounds of XGBoost and 400 of LightGBM on one thread."""
    return {
        "rf": RandomForestClassifier(300, max_depth=8, random_state=seed, n_jobs=1).fit(rows, classes),
        "xgb": xgboost.XGBClassifier(
            n_estimators=500, max_depth=3, learning_rate=0.05, objective="multi:softprob", n_jobs=1, random_state=seed,
            max_bin=64,
        ).fit(rows, classes),
        "lgb": lightgbm.LGBMClassifier(
            n_estimators=400, num_leaves=8, learning_rate=0.05, n_jobs=1, random_state=seed, verbose=-1, max_bin=63
        ).fit(rows, classes),
    }  # fmt: skip


def member_files(members: Mapping[str, Member]) -> dict[str, bytes]:
    """Give what `joblib.dump` writes for each member."""
    files = {}
    for name, member in members.items():
        stream = io.BytesIO()
        joblib.dump(member, stream)
        files[f"{name}.joblib"] = stream.getvalue()
    return files


@dataclass(frozen=True)
class LibraryEnsemble:
    """The members, a temperature each, their weights, and softmax(W log p + b) over the mixture."""

    members: Mapping[str, Member]

    def probabilities(self, rows: FloatArray) -> FloatArray:
        """Give calibrated probabilities (n, 3)."""
        mixed = np.zeros((len(rows), 3))
        for name, member in self.members.items():
            raw = np.asarray(member.predict_proba(rows), dtype=np.float64)
            mixed += WEIGHTS[name] * _softmax(np.log(np.maximum(raw, FLOOR)) / TEMPERATURES[name])
        mixed /= mixed.sum(axis=1, keepdims=True)
        return _softmax(np.log(np.maximum(mixed, FLOOR)) @ MATRIX.T + BIAS)


def _softmax(logits: FloatArray) -> FloatArray:
    powers: FloatArray = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers

"""Small real bundles: members fitted on noise, an ensemble of them, metadata and rows with sensible defaults."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import RandomForestClassifier

from bn_ml.domain.market import Symbol, to_ms
from data_manager.bars import FloatArray
from data_manager.feed_checks import FeatureRow
from ml_engine.bundle import (
    OUTLIER_CENTRE,
    OUTLIER_MEDIAN,
    OUTLIER_PRECISION,
    OUTLIER_SCALE,
    ModelBundle,
    TestVectors,
)
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.inference import CompactEnsemble, LinearMap

COLUMNS = tuple(f"column_{place}" for place in range(6))
TRAINED_AT = datetime(2023, 6, 1, tzinfo=timezone.utc)
NOW = TRAINED_AT + timedelta(hours=24)
BTC = Symbol("BTC/USDC")
FEATURE_HASH = "f" * 64


def training_rows(count: int = 600, *, seed: int = 7, holes: float = 0.05) -> tuple[FloatArray, np.ndarray]:
    """Rows (count, 6) with NaN holes, and classes that lean on the first two columns."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, len(COLUMNS)))
    classes = np.digitize(rows[:, 0] + 0.5 * rows[:, 1] + generator.normal(size=count), [-0.8, 0.8])
    rows[generator.random(rows.shape) < holes] = np.nan
    return rows, classes.astype(np.int64)


@lru_cache(maxsize=4)
def members(seed: int = 7, holes: float = 0.05) -> dict[str, Any]:
    """The three fitted members, small, single-threaded and seeded."""
    rows, classes = training_rows(seed=seed, holes=holes)
    return {
        "rf": RandomForestClassifier(20, max_depth=5, min_samples_leaf=5, random_state=seed, n_jobs=1).fit(
            rows, classes
        ),
        "xgb": xgboost.XGBClassifier(
            n_estimators=15, max_depth=3, objective="multi:softprob", n_jobs=1, random_state=seed, learning_rate=0.2
        ).fit(rows, classes),
        "lgb": lightgbm.LGBMClassifier(
            n_estimators=15, num_leaves=8, n_jobs=1, random_state=seed, verbose=-1, learning_rate=0.2
        ).fit(rows, classes),
    }


@lru_cache(maxsize=2)
def an_ensemble(seed: int = 7) -> CompactEnsemble:
    """The members as flat arrays, with temperatures, weights and a map that is not the identity."""
    return CompactEnsemble.from_members(
        members(seed),
        temperatures={"rf": 0.9, "xgb": 1.3, "lgb": 1.1},
        weights={"rf": 0.5, "xgb": 0.2, "lgb": 0.3},
        final_map=LinearMap.of([[1.1, 0.05, 0.0], [0.0, 0.95, 0.02], [0.03, 0.0, 1.05]], [0.02, -0.01, 0.0]),
    )


def metadata_fields(**changes: object) -> dict[str, object]:
    """The fields of a tradable bundle's metadata with the given ones replaced."""
    fields: dict[str, object] = {
        "symbol": "BTC/USDC",
        "model_key": "BTC_USDC",
        "trained_at": TRAINED_AT,
        "trained_by": "tests",
        "valid_from": TRAINED_AT,
        "label_end": TRAINED_AT - timedelta(hours=1),
        "data_span": {
            "start": TRAINED_AT - timedelta(days=300),
            "end": TRAINED_AT - timedelta(minutes=15),
            "rows": 600,
            "source": "history",
        },
        "feature_columns": COLUMNS,
        "optional_columns": COLUMNS[4:],
        "feature_hash": FEATURE_HASH,
        "model_types": {"rf": "RandomForestClassifier", "xgb": "XGBClassifier", "lgb": "LGBMClassifier"},
        "dataset_rows": 600,
        "label_counts": {"SELL": 150, "HOLD": 300, "BUY": 150},
        "base_rates": {"SELL": 0.25, "HOLD": 0.5, "BUY": 0.25},
        "ensemble_weights": {"rf": 0.5, "xgb": 0.2, "lgb": 0.3},
        "calibration": {"method": "dirichlet", "rows": 3200},
        "decision_params": {"min_buy_proba": 0.42, "min_sell_proba": 0.42, "min_margin": 0.07, "hold_bias": 0.02},
        "tradable": {"verdict": True},
        "skill": {
            "report": {"value": 0.05, "lower": 0.02, "upper": 0.08, "rows": 900},
            "slope": {"value": 0.4, "lower": 0.1, "upper": 0.7, "rows": 900},
            "passed": True,
        },
        "width": {
            "floor": 0.0081,
            "volatility_multiplier": 0.6,
            "atr_multiplier": 0.35,
            "horizon_bars": 10,
            "least": 0.003,
            "most": 0.02,
        },
        "expected_value": {"intercept": 0.0, "slope": 1.5, "intercepts": (0.0, 0.001), "slopes": (1.4, 1.6)},
        "outlier": {"limit": 6.0},
    }
    return fields | changes


def a_bundle(ensemble: CompactEnsemble | None = None, **changes: object) -> ModelBundle:
    """A consistent bundle, not yet saved."""
    used = ensemble or an_ensemble()
    rows = training_rows(64, seed=3)[0]
    raw = used.member_probabilities(rows)
    size = len(COLUMNS)
    reference = {
        OUTLIER_MEDIAN: np.zeros(size),
        OUTLIER_CENTRE: np.zeros(size),
        OUTLIER_SCALE: np.ones(size),
        OUTLIER_PRECISION: np.eye(size),
    }
    metadata = BundleMetadata.model_validate(metadata_fields(**changes))
    return ModelBundle(metadata, used, TestVectors(rows, raw, used.combine(raw)), reference)


def a_row(
    values: FloatArray | None = None, *, at: datetime = NOW, symbol: Symbol = BTC, columns: tuple[str, ...] = COLUMNS
) -> FeatureRow:
    """A feature row closing at `at`."""
    steps = np.random.default_rng(abs(hash(str(symbol))) % 1000).normal(0, 0.002, 193)
    return FeatureRow(
        symbol=symbol,
        close_time_ms=to_ms(at),
        values=np.zeros(len(columns)) if values is None else values,
        columns=columns,
        closes=100.0 * np.exp(np.cumsum(steps)),
        atr_frac=0.004,
        volatility_frac=0.003,
        source="history",
    )

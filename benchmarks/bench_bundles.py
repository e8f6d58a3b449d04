"""One fitted ensemble of the full size, saved as bundles of many symbols through the product's own store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks.bench_market import BEGIN_MS, BENCHMARK, walk
from benchmarks.reference_models import (
    BIAS,
    COLUMNS,
    MATRIX,
    ROWS,
    TEMPERATURES,
    WEIGHTS,
    LibraryEnsemble,
    fitted_members,
    labels_for,
    member_files,
)
from bn_ml.domain.market import Symbol, from_ms
from data_manager.bars import FloatArray
from data_manager.feature_columns import BASE_TIMEFRAME
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.bundle import OUTLIER_CENTRE, OUTLIER_MEDIAN, OUTLIER_PRECISION, OUTLIER_SCALE, ModelBundle, TestVectors
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.bundle_publishing import choose_vector_rows
from ml_engine.bundle_store import BundleStore
from ml_engine.inference import CompactEnsemble, LinearMap

TRAINED_AT = from_ms(BEGIN_MS) + timedelta(days=30)


class Ensemble:
    """The libraries' objects and ours, made from the same 5,000 rows of 50 of the product's own columns."""

    def __init__(self) -> None:
        """Fit everything; some ten seconds."""
        engineer = FeatureEngineer()
        self.feature_hash = engineer.feature_hash
        frame = engineer.build({BASE_TIMEFRAME: walk(BENCHMARK, ROWS + 2500, seed=0)})
        known = np.isfinite(frame.values[-ROWS:]).all(axis=0)
        moving = frame.values[-ROWS:].std(axis=0) > 0
        places = np.flatnonzero(known & moving)[:COLUMNS]
        self.columns = tuple(frame.columns[place] for place in places)
        self.rows: FloatArray = np.ascontiguousarray(frame.values[-ROWS:, places])
        self.members = fitted_members(self.rows, labels_for(self.rows, seed=1))
        self.library = LibraryEnsemble(self.members)
        self.compact = CompactEnsemble.from_members(
            self.members, temperatures=TEMPERATURES, weights=WEIGHTS, final_map=LinearMap.of(MATRIX, BIAS)
        )
        self.files = member_files(self.members)

    def save(self, models: Path, names: Sequence[Symbol], *, attach: bool = True) -> None:
        """Save a signed bundle for each symbol, with the members' files unless told not to attach them."""
        store = BundleStore(models, feature_hash=self.feature_hash)
        vectors = choose_vector_rows(self.rows, optional=np.zeros(len(self.columns), dtype=bool), seed=3)
        raw = self.compact.member_probabilities(vectors)
        checked = TestVectors(vectors, raw, self.compact.combine(raw))
        centre, scale = self.rows.mean(axis=0), self.rows.std(axis=0)
        reference = {
            OUTLIER_MEDIAN: np.median(self.rows, axis=0),
            OUTLIER_CENTRE: centre,
            OUTLIER_SCALE: scale,
            OUTLIER_PRECISION: np.eye(len(self.columns)),
        }
        for name in names:
            store.save(
                ModelBundle(self._metadata(name), self.compact, checked, reference), self.files if attach else {}
            )

    def _metadata(self, symbol: Symbol) -> BundleMetadata:
        figure = {"value": 0.1, "lower": 0.05, "upper": 0.2, "rows": 900}
        return BundleMetadata.model_validate(
            {
                "symbol": str(symbol),
                "model_key": symbol.key,
                "trained_at": TRAINED_AT,
                "trained_by": "benchmark",
                "valid_from": TRAINED_AT,
                "label_end": TRAINED_AT - timedelta(hours=1),
                "data_span": {
                    "start": from_ms(BEGIN_MS),
                    "end": TRAINED_AT - timedelta(minutes=15),
                    "rows": ROWS,
                    "source": "walks",
                },
                "feature_columns": self.columns,
                "feature_hash": self.feature_hash,
                "model_types": {name: type(member).__name__ for name, member in self.members.items()},
                "dataset_rows": ROWS,
                "label_counts": {"SELL": 1500, "HOLD": 2000, "BUY": 1500},
                "base_rates": {"SELL": 0.3, "HOLD": 0.4, "BUY": 0.3},
                "ensemble_weights": WEIGHTS,
                "calibration": {"method": "dirichlet", "rows": 3200},
                "decision_params": {
                    "min_buy_proba": 0.42, "min_sell_proba": 0.42, "min_margin": 0.07, "hold_bias": 0.02,
                },
                "tradable": {"verdict": True},
                "skill": {"report": figure, "slope": figure, "passed": True},
                "width": {
                    "floor": 0.0081, "volatility_multiplier": 0.6, "atr_multiplier": 0.35, "horizon_bars": 10,
                    "least": 0.003, "most": 0.02,
                },
                "expected_value": {"intercept": 0.0, "slope": 1.5, "intercepts": (0.0, 0.001), "slopes": (1.4, 1.6)},
                "outlier": {"limit": 60.0},
            }
        )  # fmt: skip

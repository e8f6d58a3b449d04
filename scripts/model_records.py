"""The figures of the models in service, kept in the book for whoever reads it."""

from __future__ import annotations

import json
from datetime import datetime

from bn_ml.domain.market import iso
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.training_progress import KEPT, SymbolOutcome

SHOWN = {
    "symbol",
    "version",
    "trained_at",
    "trained_by",
    "tradable",
    "dataset_rows",
    "label_counts",
    "ensemble_weights",
    "calibration",
    "validation_metrics",
    "challenge",
    "pinned",
}
REMEMBERED = 10_000


class ModelRecords:
    """Writes the held-out figures of a bundle once, when it is taken into service, whoever trained it."""

    def __init__(self, store: StateStore) -> None:
        """Take up what the book already holds."""
        self._store = store
        rows = StateReader(store.path).latest_metrics(limit=REMEMBERED)
        adopted = [row.metrics for row in rows if "event" not in row.metrics]
        self._known = {(str(metrics.get("symbol")), metrics.get("version")) for metrics in adopted}
        trained = (str(row.metrics.get("trained_at", "")) for row in rows)
        self._newest = max(trained, default="")

    def keep(self, metadata: BundleMetadata, now: datetime) -> None:
        """Write one row of `model_metrics` and, for a newer training than any before, `last_retrain_at`."""
        if (metadata.symbol, metadata.version) in self._known:
            return
        figures = json.loads(metadata.model_dump_json(include=SHOWN))
        figures["trained_at"] = iso(metadata.trained_at)
        with self._store.transaction():
            self._store.add_model_metrics(now, figures)
            if figures["trained_at"] > self._newest:
                self._store.put("last_retrain_at", figures["trained_at"], now)
        self._known.add((metadata.symbol, metadata.version))
        self._newest = max(self._newest, figures["trained_at"])


def keep_challenge(store: StateStore, outcome: SymbolOutcome, now: datetime) -> None:
    """Write a row of `model_metrics` for a challenger that did not take the champion's place, with both losses."""
    figures = {
        "event": KEPT,
        "symbol": outcome.symbol,
        "version": outcome.version,
        "reason": "; ".join(outcome.reasons),
    }
    store.add_model_metrics(now, {**figures, "challenge": dict(outcome.challenge)})

"""From fitted members to a signed bundle: parity with the libraries, test vectors, members' files, save.

Runs where training runs: it serialises the members with joblib and calls their own `predict_proba`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Protocol

import joblib
import numpy as np
from numpy.random import default_rng

from bn_ml.errors import ModelError
from ml_engine.bundle import VECTOR_ROWS, VECTOR_TOLERANCE, ModelBundle, TestVectors
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.bundle_store import BundleStore
from ml_engine.inference import CompactEnsemble
from ml_engine.tree_arrays import BoolArray, FloatArray

_EXTREMES = (0.0, -0.0, 1e-35, -1e-35, 1e6, -1e6, 1e-6, -1e-6)


class FittedMember(Protocol):
    """A fitted classifier of three classes."""

    def predict_proba(self, rows: FloatArray, /) -> FloatArray:
        """Give probabilities (n, 3)."""


def publish(
    store: BundleStore,
    metadata: BundleMetadata,
    *,
    members: Mapping[str, FittedMember],
    ensemble: CompactEnsemble,
    vector_rows: FloatArray,
    reference: Mapping[str, FloatArray],
) -> ModelBundle:
    """Save a bundle under the store's next version and give it back as saved.

    `metadata.version` is set by the store. `vector_rows` (n, k) become the test vectors; `choose_vector_rows` makes
    them. Raises `ModelError` (`bundle_refused`) when the arrays differ from the libraries by more than 1e-6.
    """
    bundle = ModelBundle(metadata, ensemble, _vectors(ensemble, members, vector_rows), dict(reference))
    return store.save(bundle, {f"{name}.joblib": member_file(member) for name, member in members.items()})


def choose_vector_rows(
    rows: FloatArray, *, optional: BoolArray, seed: int, borders: FloatArray | None = None
) -> FloatArray:
    """Choose 256 rows (k columns) for the test vectors: drawn rows, rows at the gates, NaN optional columns, extremes.

    `rows` (n, k) are training rows, `optional` (k,) marks columns that may be NaN, `borders` (m, k) are rows whose
    probabilities lie near a threshold.
    """
    generator = default_rng(seed)
    near = np.empty((0, rows.shape[1])) if borders is None else borders[: VECTOR_ROWS // 4]
    drawn = rows[generator.integers(0, len(rows), VECTOR_ROWS - len(near))].astype(np.float64)
    drawn[VECTOR_ROWS // 4 : VECTOR_ROWS // 2, optional] = np.nan
    extreme = drawn[VECTOR_ROWS // 2 : VECTOR_ROWS // 2 + VECTOR_ROWS // 8]
    hit = generator.random(extreme.shape) < 0.3
    extreme[hit] = generator.choice(_EXTREMES, size=int(hit.sum()))
    return np.concatenate([near, drawn])


def member_file(member: FittedMember) -> bytes:
    """Serialise a fitted member the way users' tools load it."""
    stream = io.BytesIO()
    joblib.dump(member, stream, compress=3)
    return stream.getvalue()


def _vectors(ensemble: CompactEnsemble, members: Mapping[str, FittedMember], rows: FloatArray) -> TestVectors:
    if set(members) != set(ensemble.names):
        raise ModelError(f"members {sorted(members)} differ from the ensemble's", reason="bundle_refused")
    ours = ensemble.member_probabilities(rows)
    for name, member in members.items():
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", UserWarning)
            theirs = np.asarray(member.predict_proba(rows), dtype=np.float64)
        gap = float(np.abs(ours[name] - theirs).max())
        if not gap <= VECTOR_TOLERANCE:
            raise ModelError(f"{name} differs from its library by {gap:.3g}", reason="bundle_refused")
    return TestVectors(rows, ours, ensemble.combine(ours))

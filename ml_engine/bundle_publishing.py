"""From fitted members to a signed bundle: parity with the libraries, test vectors, members' files, save.

Runs where training runs: it serialises the members with joblib and calls their own `predict_proba`. The logistic anchor
has no file, its numbers stand in the metadata; the sequence member's file holds plain arrays.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import joblib
import numpy as np
from numpy.random import default_rng

from bn_ml.errors import ModelError
from data_manager.windows import Windows
from ml_engine.bundle import VECTOR_ROWS, VECTOR_TOLERANCE, ModelBundle, TestVectors
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.bundle_store import BundleStore
from ml_engine.inference import LOGISTIC, SEQUENCE, CompactEnsemble, Exportable
from ml_engine.tree_arrays import BoolArray, FloatArray

_STRETCHES = 8
_HIT_SHARE = 0.3
_EXTREMES = (0.0, -0.0, 1e-35, -1e-35, 1e6, -1e6, 1e-6, -1e-6)


class FittedMember(Protocol):
    """A fitted classifier of three classes."""

    def predict_proba(self, rows: FloatArray, /) -> FloatArray:
        """Give probabilities (n, 3)."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What the test vectors ask: rows (n, k) and, where there is a sequence member, n windows over its columns."""

    rows: FloatArray
    windows: Windows | None = None


def publish(
    store: BundleStore,
    metadata: BundleMetadata,
    *,
    members: Mapping[str, FittedMember],
    ensemble: CompactEnsemble,
    asked: Asked,
    reference: Mapping[str, FloatArray],
) -> ModelBundle:
    """Save a bundle under the store's next version and give it back as saved.

    `metadata.version` is set by the store. `asked` becomes the test vectors; `choose_vector_rows` and
    `choose_vector_windows` make it. Raises `ModelError` (`bundle_refused`) when the arrays differ from the libraries by
    more than 1e-6.
    """
    vectors = _vectors(ensemble, members, asked)
    bundle = ModelBundle(metadata, ensemble, vectors, dict(reference))
    files = {f"{name}.joblib": member_file(member) for name, member in members.items() if name != LOGISTIC}
    return store.save(bundle, files)


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
    hit = generator.random(extreme.shape) < _HIT_SHARE
    extreme[hit] = generator.choice(_EXTREMES, size=int(hit.sum()))
    return np.concatenate([near, drawn])


def choose_vector_windows(windows: Windows, *, optional: BoolArray, seed: int) -> Windows:
    """Choose 256 windows for the test vectors, cut from a few stretches of rows so that they share most of them.

    `windows` are known training windows over the sequence member's columns, of which `optional` (c,) may be NaN; a
    fourth of the stretches has such holes, another fourth extremes.
    """
    generator = default_rng(seed)
    each = VECTOR_ROWS // _STRETCHES
    long = windows.length + each - 1
    ends = windows.ends[windows.known]
    parts: list[FloatArray] = []
    for stretch in range(_STRETCHES):
        last = ends[generator.integers(0, len(ends))]
        rows = windows.values[last - windows.length + 1 : last + 1].copy()
        if stretch % 4 == 1:
            rows[:, optional & (generator.random(len(optional)) < _HIT_SHARE * 2)] = np.nan
        if stretch % 4 == 2:
            hit = generator.random(rows.shape) < _HIT_SHARE
            rows[hit] = generator.choice(_EXTREMES, size=int(hit.sum()))
        parts.append(np.resize(rows, (long, rows.shape[1])))
    places = np.arange(_STRETCHES)[:, None] * long + windows.length - 1 + np.arange(each)
    return Windows(np.concatenate(parts), places.reshape(-1).astype(np.int64), windows.length)


def member_file(member: FittedMember) -> bytes:
    """Serialise a fitted member the way users' tools load it, one that has plain numbers as those."""
    stream = io.BytesIO()
    joblib.dump(member.exported() if isinstance(member, Exportable) else member, stream, compress=3)
    return stream.getvalue()


def _vectors(ensemble: CompactEnsemble, members: Mapping[str, FittedMember], asked: Asked) -> TestVectors:
    rows, windows = asked.rows, asked.windows
    if set(members) != set(ensemble.names):
        raise ModelError(f"members {sorted(members)} differ from the ensemble's", reason="bundle_refused")
    if (windows is None) == (SEQUENCE in members):
        raise ModelError("test vectors have windows exactly where there is a sequence member", reason="bundle_refused")
    ours = ensemble.member_probabilities(rows, windows)
    for name, member in members.items():
        given = windows.gather() if windows is not None and name == SEQUENCE else rows
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", UserWarning)
            theirs = np.asarray(member.predict_proba(given), dtype=np.float64)
        gap = float(np.abs(ours[name] - theirs).max())
        if not gap <= VECTOR_TOLERANCE:
            raise ModelError(f"{name} differs from its library by {gap:.3g}", reason="bundle_refused")
    return TestVectors(rows, ours, ensemble.combine(ours), windows)

"""One symbol's ensemble as a value, and its files as bytes.

A bundle is read from verified bytes only: the compact ensemble, the metadata, the test vectors and the reference
arrays. The `*.joblib` files beside them are for users and tools and are never deserialised here.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from bn_ml.errors import ModelError
from data_manager.windows import Windows
from ml_engine.bundle_metadata import SCHEMA_VERSION, BundleMetadata
from ml_engine.inference import CompactEnsemble
from ml_engine.tree_arrays import FloatArray

METADATA_FILE = "metadata.json"
ENSEMBLE_FILE = "ensemble.bin"
VECTORS_FILE = "vectors.npz"
REFERENCE_FILE = "reference.npz"
MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.sig"
CORE_FILES = (METADATA_FILE, ENSEMBLE_FILE, VECTORS_FILE, REFERENCE_FILE)
VECTOR_TOLERANCE = 1e-6
VECTOR_ROWS = 256
LOAD_VECTOR_STEP = 32
_WINDOW_ROWS, _WINDOW_ENDS = "window_rows", "window_ends"

OUTLIER_MEDIAN = "outlier_median"
OUTLIER_CENTRE = "outlier_centre"
OUTLIER_SCALE = "outlier_scale"
OUTLIER_PRECISION = "outlier_precision"


@dataclass(frozen=True, slots=True, eq=False)
class TestVectors:
    """Rows in, probabilities out: `rows` (n, k), `members` (n, 3) each before calibration, `final` (n, 3).

    `windows` (n of them, over the sequence member's columns) go with the rows where there is such a member.
    """

    __test__ = False

    rows: FloatArray
    members: Mapping[str, FloatArray]
    final: FloatArray
    windows: Windows | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ModelBundle:
    """A verified bundle. `reference` holds named float arrays (drift reference, outlier centre and precision)."""

    metadata: BundleMetadata
    ensemble: CompactEnsemble
    vectors: TestVectors
    reference: Mapping[str, FloatArray]

    @property
    def version(self) -> int:
        """The version served; it only grows."""
        return self.metadata.version


@dataclass(frozen=True, slots=True)
class FileFact:
    """Size and sha256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle consists of: its identity and every file but the manifest and its signature."""

    schema_version: int
    symbol: str
    version: int
    feature_hash: str
    library_versions: Mapping[str, str]
    files: Mapping[str, FileFact]

    def to_bytes(self) -> bytes:
        """Write the canonical form: sorted keys, no blanks, one line."""
        content = {
            "schema_version": self.schema_version,
            "symbol": self.symbol,
            "version": self.version,
            "feature_hash": self.feature_hash,
            "library_versions": dict(self.library_versions),
            "files": {name: {"size": fact.size, "sha256": fact.sha256} for name, fact in self.files.items()},
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read the canonical form; raises `ModelError` on anything else."""
        try:
            content = json.loads(data)
            files = {name: FileFact(fact["size"], fact["sha256"]) for name, fact in content["files"].items()}
            manifest = cls(
                schema_version=content["schema_version"],
                symbol=content["symbol"],
                version=content["version"],
                feature_hash=content["feature_hash"],
                library_versions=content["library_versions"],
                files=files,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _refused(f"{MANIFEST_FILE} cannot be read: {error!r}") from error
        if manifest.to_bytes() != data:
            raise _refused(f"{MANIFEST_FILE} is not in canonical form")
        return manifest


def fact_of(data: bytes) -> FileFact:
    """Measure a file's content."""
    return FileFact(len(data), hashlib.sha256(data).hexdigest())


def manifest_of(metadata: BundleMetadata, files: Mapping[str, bytes]) -> Manifest:
    """Describe the files of a bundle."""
    return Manifest(
        schema_version=metadata.schema_version,
        symbol=metadata.symbol,
        version=metadata.version,
        feature_hash=metadata.feature_hash,
        library_versions=metadata.library_versions,
        files={name: fact_of(data) for name, data in files.items()},
    )


def core_files(bundle: ModelBundle) -> dict[str, bytes]:
    """Write the files the trading process reads."""
    stored = bundle.vectors
    vectors = {"rows": stored.rows, "final": stored.final}
    vectors |= {f"member_{name}": part for name, part in stored.members.items()}
    if stored.windows is not None:
        vectors |= {_WINDOW_ROWS: stored.windows.values, _WINDOW_ENDS: stored.windows.ends.astype(np.float64)}
    return {
        METADATA_FILE: bundle.metadata.to_bytes(),
        ENSEMBLE_FILE: bundle.ensemble.to_bytes(),
        VECTORS_FILE: _write_arrays(vectors),
        REFERENCE_FILE: _write_arrays(bundle.reference),
    }


def read_core(files: Mapping[str, bytes]) -> ModelBundle:
    """Build a bundle from verified bytes; raises `ModelError` unless it is whole and reproduces its vectors."""
    try:
        metadata = BundleMetadata.model_validate_json(files[METADATA_FILE])
        ensemble = CompactEnsemble.from_bytes(files[ENSEMBLE_FILE])
        arrays = _read_arrays(files[VECTORS_FILE])
        reference = _read_arrays(files[REFERENCE_FILE])
        members = {name: arrays[f"member_{name}"] for name in ensemble.names}
        vectors = TestVectors(arrays["rows"], members, arrays["final"], _windows(arrays, ensemble))
    except (ValidationError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile) as error:
        raise _refused(f"cannot be read: {str(error).splitlines()[0]}") from error
    bundle = ModelBundle(metadata, ensemble, vectors, reference)
    check_consistency(bundle)
    check_vectors(bundle, step=LOAD_VECTOR_STEP)
    return bundle


def check_consistency(bundle: ModelBundle) -> None:
    """Raise `ModelError` when the parts of a bundle contradict each other."""
    metadata, ensemble = bundle.metadata, bundle.ensemble
    if metadata.schema_version != SCHEMA_VERSION:
        raise _refused(f"schema version {metadata.schema_version}, this program reads {SCHEMA_VERSION}")
    if ensemble.n_features != len(metadata.feature_columns):
        raise _refused(
            f"{ensemble.n_features} columns in the ensemble, {len(metadata.feature_columns)} in the metadata"
        )
    absent = [name for name, weight in metadata.ensemble_weights if weight > 0.0 and name not in ensemble.names]
    if absent:
        raise _refused(f"members with a vote are missing: {', '.join(absent)}")
    if bundle.vectors.rows.shape[1:] != (ensemble.n_features,) or not len(bundle.vectors.rows):
        raise _refused("the test vectors have another shape than the ensemble")
    length = 0 if ensemble.sequence is None else ensemble.sequence.length
    if length != metadata.sequence.sequence_length:
        raise _refused(f"windows of {length} rows in the ensemble, {metadata.sequence.sequence_length} in the metadata")
    if length and bundle.vectors.windows is None:
        raise _refused("the test vectors lack the windows of the sequence member")


def check_vectors(bundle: ModelBundle, *, step: int = 1) -> None:
    """Raise `ModelError` unless every `step`-th test vector is reproduced within 1e-6.

    A bundle comes to a machine by a save or an install, and both check all vectors there; loading the same signed bytes
    again checks a part of them.
    """
    stored = bundle.vectors
    windows = None if stored.windows is None else stored.windows.part(slice(None, None, step))
    raw = bundle.ensemble.member_probabilities(stored.rows[::step], windows)
    final = bundle.ensemble.combine(raw)
    gaps = [np.abs(final - stored.final[::step]), *(np.abs(raw[name] - stored.members[name][::step]) for name in raw)]
    worst = float(max(gap.max() for gap in gaps))
    if not worst <= VECTOR_TOLERANCE:
        raise _refused(f"the test vectors are not reproduced: off by {worst:.3g}")


def _windows(arrays: Mapping[str, FloatArray], ensemble: CompactEnsemble) -> Windows | None:
    if ensemble.sequence is None:
        return None
    ends = arrays[_WINDOW_ENDS].astype(np.int64)
    rows, length = arrays[_WINDOW_ROWS], ensemble.sequence.length
    if len(ends) != len(arrays["rows"]) or ends.min() < length - 1 or ends.max() >= len(rows):
        raise ValueError(f"each of {len(arrays['rows'])} test vectors needs a window of {length} rows")
    return Windows(rows, ends, length)


def _write_arrays(arrays: Mapping[str, FloatArray]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            part = io.BytesIO()
            np.lib.format.write_array(part, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue())
    return stream.getvalue()


def _read_arrays(data: bytes) -> dict[str, FloatArray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _refused(message: str) -> ModelError:
    return ModelError(message, reason="bundle_refused")

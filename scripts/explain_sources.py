"""Where an explanation is found: the prediction log, the bundles, the journal. Everything is only read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from bn_ml.database import reading
from bn_ml.domain.market import Symbol, from_ms, to_ms
from bn_ml.errors import StateError
from bn_ml.prediction_log import BAR_MS, PredictionLog, PredictionRecord, log_beside
from bn_ml.settings import EnsembleSettings, Settings
from ml_engine.bundle import ModelBundle
from ml_engine.bundle_metadata import BundleMetadata, EstimatePart
from ml_engine.bundle_signing import key_file
from ml_engine.bundle_store import BundleStore
from scripts.explain_text import Attempt, BundleFacts, Gate, Interval, Member, ScanVerdict

_DAYS_BACK = (1, 7, 36_500)
_DAY_MS = 86_400_000
_LAST_ATTEMPT = (
    "SELECT kind, at_ms, payload FROM journal WHERE kind IN ('RiskRefused', 'EntryApproved') AND at_ms <= ? "
    "AND payload LIKE ? ORDER BY id DESC LIMIT 1"
)


def logged(state: Path, symbol: Symbol, *, at: datetime | None, reached: datetime) -> PredictionRecord | None:
    """Give the prediction of the bar closed at or last before `at`, else the newest at or before `reached`."""
    log = PredictionLog(log_beside(state))
    if at is not None:
        close_ms = to_ms(at) // BAR_MS * BAR_MS
        found = log.read(symbol, close_ms, close_ms + 1)
        return found[-1] if found else None
    end_ms = to_ms(reached) + _DAY_MS
    for days in _DAYS_BACK:
        found = log.read(symbol, max(0, end_ms - days * _DAY_MS), end_ms)
        if found:
            return found[-1]
    return None


def gates_of(record: PredictionRecord) -> tuple[Gate, ...]:
    """Give the gates a prediction was judged by; raises `StateError` when they are not what the log writes."""
    try:
        return tuple(Gate(str(row[0]), row[1], row[2], bool(row[3])) for row in json.loads(record.gates_json))
    except (ValueError, TypeError, IndexError) as error:
        raise StateError(f"the prediction log holds no gates for {record.symbol}: {error}") from error


def open_store(settings: Settings, *, feature_hash: str | None = None) -> BundleStore:
    """Open the models folder for reading."""
    model = settings.model
    return BundleStore(
        model.models_dir,
        feature_hash=feature_hash,
        trusted_keys=model.trusted_keys,
        keep_versions=model.keep_versions,
        signing_key=key_file(Path(model.models_dir), os.environ),
    )


def facts_of(bundle: ModelBundle, at: datetime, ensemble: EnsembleSettings) -> BundleFacts:
    """Give what is told of a bundle, its age at an instant."""
    metadata = bundle.metadata
    skill = metadata.skill
    return BundleFacts(
        version=bundle.version,
        trained_at=metadata.trained_at,
        age_h=metadata.age(at).total_seconds() / 3600.0,
        tradable=metadata.tradable.verdict,
        reasons=metadata.tradable.reasons,
        calibration=f"{metadata.calibration.method} ({metadata.calibration.rows} rows)",
        base_rates=dict(metadata.base_rates),
        members=_members(metadata),
        skill=None if skill is None else _interval(skill.report),
        slope=None if skill is None else _interval(skill.slope),
        slope_p_value=None if skill is None else skill.slope_p_value,
        thresholds={
            name: (own, getattr(ensemble, name) if name in ensemble.model_fields_set else own)
            for name, own in metadata.decision_params
        },
    )


def last_attempt(state: Path, symbol: Symbol, until: datetime) -> Attempt | None:
    """Give what risk said of the last entry tried in a symbol by an instant; raises `StateError`."""
    with reading(state) as connection:
        row = connection.execute(_LAST_ATTEMPT, (to_ms(until), f'%"{symbol}"%')).fetchone()
    return None if row is None else _attempt(row["kind"], from_ms(row["at_ms"]), json.loads(row["payload"]))


def last_scan(state: Path, record: PredictionRecord, until: datetime) -> ScanVerdict | None:
    """Give what the last scan by an instant made of a symbol within its bar, None where its prediction says it."""
    log = PredictionLog(log_beside(state))
    found = log.refusals(record.symbol, record.close_ms, record.close_ms + 1)
    told = [item for item in found if item.at_ms <= to_ms(until)]
    if not told:
        return None
    return ScanVerdict(from_ms(told[-1].at_ms), told[-1].reason, told[-1].value, told[-1].limit)


def _attempt(kind: str, at: datetime, said: Mapping[str, object]) -> Attempt:
    if kind == "RiskRefused":
        return Attempt(at, "refused", f"rule {said['rule']}: {said['value']} against {said['limit']}")
    return Attempt(at, "approved", f"size {said['size_quote']}, limited by {said['binding']}")


def _members(metadata: BundleMetadata) -> tuple[Member, ...]:
    weights = dict(metadata.ensemble_weights)
    names = [name for name in weights if weights[name] > 0.0 or name in metadata.admission]
    told = {name: part.reason for name, part in metadata.admission.items()}
    return tuple(Member(name, float(weights[name]), told.get(name, "")) for name in names)


def _interval(part: EstimatePart) -> Interval:
    return part.value, part.lower, part.upper

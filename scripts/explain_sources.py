"""Where an explanation is found: the prediction log, the bundles, the journal. Everything is only read."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

from bn_ml.domain.market import Symbol, to_ms
from bn_ml.errors import StateError
from bn_ml.prediction_log import BAR_MS, PredictionLog, PredictionRecord, log_beside
from bn_ml.settings import EnsembleSettings, Settings
from bn_ml.state_reader import EventRow, StateReader
from ml_engine.bundle import ModelBundle
from ml_engine.bundle_metadata import BundleMetadata, EstimatePart
from ml_engine.bundle_signing import key_file
from ml_engine.bundle_store import BundleStore
from scripts.explain_text import Attempt, BundleFacts, Gate, Interval, Member

_DAYS_BACK = (1, 7, 36_500)
_DAY_MS = 86_400_000
_JOURNAL_ROWS = 50_000


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


def last_attempt(reader: StateReader, symbol: Symbol, until: datetime) -> Attempt | None:
    """Give what risk said of the last entry tried in a symbol by an instant; raises `StateError`."""
    kinds = ("RiskRefused", "EntryApproved")
    events = [event for kind in kinds for event in reader.events(limit=_JOURNAL_ROWS, kind=kind)]
    own = [event for event in events if event.payload.get("symbol") == str(symbol) and event.at <= until]
    return _attempt(max(own, key=lambda event: event.id)) if own else None


def _attempt(event: EventRow) -> Attempt:
    said = event.payload
    if event.kind == "RiskRefused":
        return Attempt(event.at, "refused", f"rule {said['rule']}: {said['value']} against {said['limit']}")
    return Attempt(event.at, "approved", f"size {said['size_quote']}, limited by {said['binding']}")


def _members(metadata: BundleMetadata) -> tuple[Member, ...]:
    weights = dict(metadata.ensemble_weights)
    names = [name for name in weights if weights[name] > 0.0 or name in metadata.admission]
    told = {name: part.reason for name, part in metadata.admission.items()}
    return tuple(Member(name, float(weights[name]), told.get(name, "")) for name in names)


def _interval(part: EstimatePart) -> Interval:
    return part.value, part.lower, part.upper

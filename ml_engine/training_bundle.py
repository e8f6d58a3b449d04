"""From a finished training to a published bundle: every figure and decision written into the metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from pydantic import JsonValue

from bn_ml.domain.market import from_ms
from bn_ml.settings import ModelSettings, RiskSettings
from data_manager.bars import FloatArray
from data_manager.feature_engineer import FeatureEngineer
from data_manager.history import content_hash
from ml_engine.bundle import (
    OUTLIER_CENTRE,
    OUTLIER_MEDIAN,
    OUTLIER_PRECISION,
    OUTLIER_SCALE,
    ModelBundle,
)
from ml_engine.bundle_metadata import (
    AdmissionPart,
    BlockSpan,
    BundleMetadata,
    CalibrationPart,
    DataSpan,
    DecisionParams,
    EnsembleWeights,
    EstimatePart,
    ExpectedValuePart,
    OutlierPart,
    SkillPart,
    Tradable,
    WidthPart,
)
from ml_engine.bundle_publishing import publish
from ml_engine.bundle_store import BundleStore
from ml_engine.ensemble import Admission
from ml_engine.evidence import EV_QUANTILE
from ml_engine.member_records import kinds, logistic_part, questions, sequence_part
from ml_engine.metrics import CLASS_NAMES, Estimate
from ml_engine.outlier import QUANTILE as OUTLIER_QUANTILE
from ml_engine.trainer import Trained, train_shares
from ml_engine.training_data import BASE, assumed_round_trip
from ml_engine.training_figures import validation_metrics
from ml_engine.training_report import ENSEMBLE
from ml_engine.tuning_memory import hpo_part, trials_part
from ml_engine.validation import Block, row_hash

_LIBRARIES = ("numpy", "scikit-learn", "xgboost-cpu", "xgboost", "lightgbm", "torch", "TA-Lib")


def publish_trained(
    store: BundleStore,
    trained: Trained,
    model: ModelSettings,
    risk: RiskSettings,
    *,
    trained_at: datetime,
    trained_by: str,
) -> ModelBundle:
    """Write the bundle under the store's next version; raises `ModelError` when it does not verify."""
    metadata = metadata_of(trained, model, risk, trained_at=trained_at, trained_by=trained_by)
    return publish(
        store,
        metadata,
        members=trained.shipped.members,
        ensemble=trained.ensemble,
        asked=questions(trained, metadata, seed=model.random_state),
        reference=reference_arrays(trained),
    )


def metadata_of(
    trained: Trained, model: ModelSettings, risk: RiskSettings, *, trained_at: datetime, trained_by: str
) -> BundleMetadata:
    """Give the metadata of a finished training; the store sets the version."""
    data, found, vote = trained.sample.data, trained.sample, trained.vote
    optional = _optional_names(model)
    return BundleMetadata(
        version=0,
        symbol=str(trained.symbol),
        model_key=trained.symbol.key,
        trained_at=trained_at,
        trained_by=trained_by,
        valid_from=from_ms(found.data_end),
        label_end=from_ms(trained.label_end),
        data_span=_data_span(trained),
        feature_columns=trained.columns,
        optional_columns=tuple(name for name in trained.columns if name in optional),
        feature_hash=found.feature_hash,
        model_types=kinds(trained.shipped.members),
        best_params={name: dict(values) for name, values in trained.twin.parameters.values.items()},
        dataset_rows=len(data),
        label_counts=dict(zip(CLASS_NAMES, np.bincount(data.labels, minlength=3).tolist(), strict=True)),
        base_rates=dict(zip(CLASS_NAMES, train_shares(trained), strict=True)),
        labeling=model.labeling.model_dump(mode="json"),
        width=_width(model, risk),
        ensemble_weights=EnsembleWeights(**vote.weights),
        calibration=_calibration(trained),
        validation_metrics=validation_metrics(trained),
        decision_params=_decision(model),
        tradable=Tradable(verdict=trained.verdict.tradable, reasons=trained.verdict.reasons),
        skill=_skill(trained),
        expected_value=_expected_value(trained),
        outlier=OutlierPart(limit=trained.gates.distance_limit, quantile=OUTLIER_QUANTILE),
        admission={item.member: _admission(item) for item in vote.admissions},
        blocks={block.name: _span(trained, block) for block in trained.blocks},
        data_hashes={str(trained.symbol): content_hash(found.bars)},
        gaps={"holes": [list(hole) for hole in found.holes], "bars": found.bars_count},
        costs=_costs(model, risk),
        trials=trials_part(trained.tuned),
        hpo=hpo_part(trained.tuned, trained.search_note),
        drift_reference={"file": "reference.npz", "sha256": _arrays_hash(reference_arrays(trained))},
        market_basket=tuple(map(str, trained.basket)),
        pooled=_pooled(trained),
        sequence=sequence_part(trained, wanted=model.lstm.enabled),
        logistic=logistic_part(trained.ensemble, trained.columns),
        seeds={"random_state": model.random_state},
        challenge=trained.challenge,
        recipe=trained.recipe,
        refit=_refit_text(trained),
        device=str(trained.shipped.parameters.values["xgb"].get("device", "cpu")),
        config_hash=_config_hash(model, risk),
        code_version=_installed("bn-ml-trading-bot"),
        library_versions={name: _installed(name) for name in _LIBRARIES if _installed(name) != "absent"},
    )


def reference_arrays(trained: Trained) -> dict[str, FloatArray]:
    """Give the arrays kept beside the metadata: the training region and what the watch on drift compares with."""
    region = trained.gates.region
    return {
        OUTLIER_MEDIAN: region.median,
        OUTLIER_CENTRE: region.center,
        OUTLIER_SCALE: region.scale,
        OUTLIER_PRECISION: region.precision,
        **trained.drift,
    }


def _optional_names(model: ModelSettings) -> frozenset[str]:
    engineer = FeatureEngineer(model)
    return frozenset(name for name, required in zip(engineer.columns, engineer.required, strict=True) if not required)


def _pooled(trained: Trained) -> dict[str, JsonValue]:
    """Give whose rows a young symbol learned from; empty when from its own alone."""
    lessons = trained.lessons
    if lessons is None or not lessons.donors:
        return {}
    return {
        "symbols": [str(symbol) for symbol in lessons.donors],
        "train_rows": len(lessons.train),
        "own_train_rows": len(trained.blocks.train),
        "calibrated_on": "all" if lessons.pooled_vote else "own",
    }


def _width(model: ModelSettings, risk: RiskSettings) -> WidthPart:
    labeling = model.labeling
    multiple = labeling.round_trip_cost_multiplier * labeling.cost_safety_multiplier
    return WidthPart(
        floor=multiple * assumed_round_trip(model, risk),
        volatility_multiplier=labeling.volatility_multiplier,
        atr_multiplier=labeling.atr_multiplier,
        horizon_bars=labeling.horizon_bars,
        least=labeling.min_move_pct,
        most=labeling.max_move_pct,
    )


def _data_span(trained: Trained) -> DataSpan:
    found = trained.sample
    start, end = from_ms(found.data_start), from_ms(found.data_end - BASE.ms)
    return DataSpan(start=start, end=end, rows=len(found.data), source=found.source)


def _costs(model: ModelSettings, risk: RiskSettings) -> dict[str, JsonValue]:
    return {
        "fees_pct": risk.fees_pct,
        "slippage_pct": risk.slippage_pct,
        "cost_multiplier": model.execution.cost_multiplier,
        "round_trip": assumed_round_trip(model, risk),
    }


def _admission(item: Admission) -> AdmissionPart:
    return AdmissionPart(admitted=item.admitted, log_loss=item.log_loss, reason=item.reason)


def _calibration(trained: Trained) -> CalibrationPart:
    fitted = trained.vote.final_map
    return CalibrationPart.model_validate(
        {
            "method": fitted.method,
            "rows": fitted.rows,
            "temperatures": dict(trained.vote.temperatures),
            "reason": fitted.reason,
            **fitted.map.header(),
        }
    )


def _decision(model: ModelSettings) -> DecisionParams:
    ensemble = model.ensemble
    return DecisionParams(
        min_buy_proba=ensemble.min_buy_proba,
        min_sell_proba=ensemble.min_sell_proba,
        min_margin=ensemble.min_margin,
        hold_bias=ensemble.hold_bias,
    )


def _skill(trained: Trained) -> SkillPart:
    report_rows = len(trained.blocks.report)
    return SkillPart(
        report=_estimate(trained.figures[ENSEMBLE].skill, report_rows),
        slope=_estimate(trained.gates.slope, len(trained.blocks.calibrate) + len(trained.blocks.select)),
        passed=trained.verdict.tradable,
        members={
            name: _estimate(figures.skill, report_rows) for name, figures in trained.figures.items() if name != ENSEMBLE
        },
        slope_p_value=trained.gates.slope_p_value,
    )


def _expected_value(trained: Trained) -> ExpectedValuePart:
    line = trained.gates.line
    return ExpectedValuePart(
        intercept=line.intercept,
        slope=line.slope,
        intercepts=line.intercepts,
        slopes=line.slopes,
        quantile=EV_QUANTILE,
    )


def _estimate(estimate: Estimate, rows: int) -> EstimatePart:
    lower, upper = (bound if np.isfinite(bound) else None for bound in (estimate.lower, estimate.upper))
    return EstimatePart(value=estimate.value, lower=lower, upper=upper, rows=rows)


def _span(trained: Trained, block: Block) -> BlockSpan:
    return BlockSpan(
        first_t0=from_ms(block.first_t0),
        last_t0=from_ms(block.last_t0),
        last_t1=from_ms(block.last_t1),
        rows=len(block),
        row_hash=row_hash(str(trained.symbol), trained.sample.data.t0[block.rows]),
    )


def _refit_text(trained: Trained) -> str:
    refit = trained.refit
    if refit.shipped:
        return (
            f"refitted on all {refit.rows} rows; figures belong to the twin (mean change of p {refit.mean_change:.4f})"
        )
    return f"not refitted: it would move p by {refit.mean_change:.4f} on average"


def _arrays_hash(arrays: Mapping[str, FloatArray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name], dtype="<f8").tobytes())
    return digest.hexdigest()


def _config_hash(model: ModelSettings, risk: RiskSettings) -> str:
    tree: dict[str, JsonValue] = {"model": model.model_dump(mode="json"), "risk": risk.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"

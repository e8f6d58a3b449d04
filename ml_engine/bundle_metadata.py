"""`metadata.json` of a bundle: what was trained, on what, how it was judged, and by which thresholds it decides.

Unknown fields are refused. Instants are aware UTC; fractions are fractions; probabilities come in the order SELL, HOLD,
BUY. Fields with a default may be left out by a trainer that does not produce them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, model_validator

from bn_ml.domain.market import Symbol, iso, require_utc

SCHEMA_VERSION = 1


def _utc(instant: datetime) -> datetime:
    require_utc(instant)
    return instant


Instant = Annotated[datetime, AfterValidator(_utc), PlainSerializer(iso, return_type=str, when_used="json")]
Json = Mapping[str, JsonValue]


class Part(BaseModel):
    """A frozen part of the metadata that refuses unknown fields, NaN and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class DataSpan(Part):
    """First and last bar used (open times), labelled rows and where the bars came from."""

    start: Instant
    end: Instant
    rows: int
    source: str


class BlockSpan(Part):
    """One block of the time split: first and last row time, last label end, rows and a hash of the row times."""

    first_t0: Instant
    last_t0: Instant
    last_t1: Instant
    rows: int
    row_hash: str


class EnsembleWeights(Part):
    """Votes of the members; they sum to 1, 0 for a member that was not admitted or does not exist."""

    rf: float = 0.0
    xgb: float = 0.0
    lgb: float = 0.0
    logistic: float = 0.0
    lstm: float = 0.0


class CalibrationPart(Part):
    """The method's name, its rows, the members' temperatures and the final map itself, by `kind`.

    linear: `softmax(W log p + b)` with `matrix` W and `bias` b; sigmoid: per class `slopes` and `intercepts`;
    piecewise: per class `knots` and `levels`. `none` is the linear map that changes nothing.
    """

    method: str
    rows: int
    temperatures: Mapping[str, float] = Field(default_factory=dict)
    kind: str = "linear"
    matrix: tuple[tuple[float, float, float], ...] = ()
    bias: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    intercepts: tuple[float, ...] = ()
    knots: tuple[tuple[float, ...], ...] = ()
    levels: tuple[tuple[float, ...], ...] = ()
    reason: str = ""


class DecisionParams(Part):
    """The thresholds the bundle was judged with."""

    min_buy_proba: float
    min_sell_proba: float
    min_margin: float
    hold_bias: float


class Tradable(Part):
    """Whether the bundle may trade and, if not, why."""

    verdict: bool
    reasons: tuple[str, ...] = ()


class EstimatePart(Part):
    """A figure with its interval and the rows behind it; a missing bound is unbounded."""

    value: float
    lower: float | None = None
    upper: float | None = None
    rows: int = 0


class SkillPart(Part):
    """Both halves of the skill gate: skill over the class shares (report block) and slope of return on score.

    `slope_p_value` is the one-sided p-value of the slope test, by which bundles in service are judged together.
    """

    report: EstimatePart
    slope: EstimatePart
    passed: bool
    members: Mapping[str, EstimatePart] = Field(default_factory=dict)
    slope_p_value: float | None = Field(default=None, ge=0.0, le=1.0)


class ExpectedValuePart(Part):
    """The line from score to gross trade return, and its day-block resamples for the lower bound at `quantile`."""

    intercept: float
    slope: float = Field(ge=0.0)
    intercepts: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    quantile: float = Field(0.1, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _same_length(self) -> ExpectedValuePart:
        if len(self.intercepts) != len(self.slopes):
            raise ValueError("each resample needs an intercept and a slope")
        return self


class OutlierPart(Part):
    """Largest Mahalanobis distance of an ordinary row; centre and precision are in the reference arrays."""

    limit: float = Field(gt=0.0)
    quantile: float = 0.995


class AdmissionPart(Part):
    """Whether a member votes and what the select block said."""

    admitted: bool
    log_loss: float
    reason: str = ""


class WidthPart(Part):
    """How wide the label barrier is at a row, so that a live score has the unit of the training scores.

    `clip(max(floor, volatility_multiplier * sigma * sqrt(horizon) + atr_multiplier * atr), least, most)`, fractions.
    """

    floor: float
    volatility_multiplier: float
    atr_multiplier: float
    horizon_bars: int
    least: float
    most: float

    def at(self, *, volatility_frac: float, atr_frac: float) -> float:
        """Give the width for the deviation of one bar's log return and ATR over close."""
        wide = (
            self.volatility_multiplier * volatility_frac * math.sqrt(self.horizon_bars) + self.atr_multiplier * atr_frac
        )
        return min(max(self.floor, wide, self.least), self.most)


class SequencePart(Part):
    """The sequence member, if any: rows of a window, `torch-lstm` or `mlp`, its columns; else why it is missing."""

    enabled: bool = False
    sequence_length: int = 0
    backend: str = ""
    columns: tuple[str, ...] = ()
    reason: str = ""


class LogisticPart(Part):
    """The logistic anchor: `softmax(coefficients . x + intercept)`, classes by name.

    `inputs` are column names, then `<column> is unknown` for each column some fitted row did not know (1 or 0). An
    unknown value is `median`; x is `(value - centre) / scale` within +-5.
    """

    inputs: tuple[str, ...]
    median: tuple[float, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: Mapping[str, tuple[float, ...]]
    intercept: Mapping[str, float]


class ChallengePart(Part):
    """How a bundle stood against the one it replaced, on rows after that one's `label_end`.

    `compared` says whether there was enough to compare. Losses are mean log-losses of the same rows, `prior_loss` that
    of the class shares; `difference` is (challenger - champion) / prior with its 10 % and 90 % quantiles over day-block
    resamples. `recorded_rows` are the rows whose champion probabilities were recorded when they were said, the others
    were asked of the champion's bundle again; `recorded_gap` is the largest difference between the two.
    """

    champion_version: int = 0
    replaces: bool = True
    compared: bool = False
    reason: str = ""
    rows: int = 0
    recorded_rows: int = 0
    recorded_gap: float | None = None
    champion_loss: float | None = None
    challenger_loss: float | None = None
    prior_loss: float | None = None
    difference: float | None = None
    difference_lower: float | None = None
    difference_upper: float | None = None


class PinPart(Part):
    """A version put back: whose content it is, which version it pushed aside, when and why."""

    content_of: int
    instead_of: int
    at: Instant
    reason: str = ""


class BundleMetadata(Part):
    """Everything known about a bundle but its numbers."""

    schema_version: int = SCHEMA_VERSION
    symbol: str
    model_key: str
    version: int = Field(0, ge=0)
    trained_at: Instant
    trained_by: str
    valid_from: Instant
    label_end: Instant
    data_span: DataSpan
    feature_columns: tuple[str, ...] = Field(min_length=1)
    optional_columns: tuple[str, ...] = ()
    feature_hash: str
    model_types: Mapping[str, str]
    best_params: Json = Field(default_factory=dict)
    dataset_rows: int
    label_counts: Mapping[str, int]
    base_rates: Mapping[str, float]
    labeling: Json = Field(default_factory=dict)
    width: WidthPart | None = None
    ensemble_weights: EnsembleWeights
    calibration: CalibrationPart
    validation_metrics: Json = Field(default_factory=dict)
    decision_params: DecisionParams
    tradable: Tradable
    skill: SkillPart | None = None
    expected_value: ExpectedValuePart | None = None
    outlier: OutlierPart | None = None
    admission: Mapping[str, AdmissionPart] = Field(default_factory=dict)
    blocks: Mapping[str, BlockSpan] = Field(default_factory=dict)
    data_hashes: Mapping[str, str] = Field(default_factory=dict)
    gaps: Json = Field(default_factory=dict)
    costs: Json = Field(default_factory=dict)
    trials: Json = Field(default_factory=dict)
    hpo: Json = Field(default_factory=dict)
    drift_reference: Json = Field(default_factory=dict)
    market_basket: tuple[str, ...] = ()
    pooled: Json = Field(default_factory=dict)
    sequence: SequencePart = SequencePart()
    logistic: LogisticPart | None = None
    seeds: Json = Field(default_factory=dict)
    challenge: ChallengePart | None = None
    pinned: PinPart | None = None
    recipe: str = ""
    refit: str = ""
    device: str = "cpu"
    config_hash: str = ""
    code_version: str = ""
    library_versions: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> BundleMetadata:
        """Refuse a bundle that could have seen what it is asked to judge, or whose names disagree."""
        if Symbol(self.symbol).key != self.model_key:
            raise ValueError(f"model_key {self.model_key} is not the key of {self.symbol}")
        if not self.label_end < self.valid_from:
            raise ValueError(f"label_end {iso(self.label_end)} is not before valid_from {iso(self.valid_from)}")
        if set(self.optional_columns) - set(self.feature_columns):
            raise ValueError("optional columns must be among the feature columns")
        return self

    def to_bytes(self) -> bytes:
        """Write the metadata as indented JSON."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    @property
    def buy_base_rate(self) -> float:
        """The BUY share of the training labels."""
        return self.base_rates.get("BUY", 0.0)

    def age(self, now: datetime) -> timedelta:
        """Time since training."""
        return now - self.trained_at

"""What is known of each symbol's bundle: may it trade, why not, how good was it on rows it never saw, has it aged.

Shares, skill and losses are as the trainer wrote them (fractions, nats), ages are seconds, instants aware UTC. A number
nobody knows is NaN.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bn_ml.state_reader import MetricsRow
from monitoring.bundle_figures import BundleFigures
from monitoring.plain_values import age_s, instant, mapping, number, sequence

KEPT_CHAMPION = "kept_champion"
RUNNING = "running"
SILENT_TRAINING_S = 1_800.0
"""A training that says nothing for longer has died or was cut off."""

MODEL_ROUTE = "/api/v1/models/download"


@dataclass(frozen=True, slots=True)
class Drift:
    """What the drift watch says of one symbol; `score` and `limit` are those of the alarm, NaN without one."""

    status: str
    kind: str = ""
    since: datetime | None = None
    score: float = math.nan
    limit: float = math.nan
    beyond: tuple[str, ...] = ()
    worst_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One bundle: the verdict, figures of the held-out rows, and the class shares they must be read against."""

    symbol: str
    model_key: str
    version: int
    is_tradable: bool
    reasons: tuple[str, ...]
    trained_at: datetime | None
    age_s: float
    skill: float
    skill_low: float
    skill_high: float
    accuracy: float
    largest_class_share: float
    buy_precision: float
    buy_base_rate: float
    log_loss: float
    prior_log_loss: float
    ece: float
    ece_floor: float
    rows: int
    held_out_rows: int
    source: str
    span: tuple[datetime | None, datetime | None]
    weights: tuple[tuple[str, float], ...]
    calibration: str
    drift: Drift
    files: int = 0
    size_bytes: int = 0
    problem: str = ""

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.problem:
            return "UNREADABLE"
        return "TRADABLE" if self.is_tradable else "NOT TRADABLE"


@dataclass(frozen=True, slots=True)
class Weight:
    """How much one input counts; `share` is that of all, and `basis` says what was measured."""

    name: str
    share: float
    basis: str


@dataclass(frozen=True, slots=True)
class Training:
    """How the running or last training stands; `progress` runs from 0 to 1, NaN when there never was one."""

    status: str = "never"
    phase: str = ""
    symbol: str = ""
    trigger: str = ""
    progress: float = math.nan
    completed: int = 0
    requested: int = 0
    trained: int = 0
    errors: int = 0
    up_to_date: int = 0
    kept_champion: int = 0
    queued: int = 0
    eta_s: float = math.nan
    started_at: datetime | None = None
    silent_s: float = math.nan
    last_error: str = ""
    waiting: tuple[tuple[str, str], ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether a training goes on and has been heard of lately."""
        return self.status == RUNNING and not self.silent_s > SILENT_TRAINING_S

    @property
    def is_cut_off(self) -> bool:
        """Whether a training that should be running has fallen silent."""
        return self.status == RUNNING and self.silent_s > SILENT_TRAINING_S


@dataclass(frozen=True, slots=True)
class Challenge:
    """How a new ensemble stood against the bundle in service: losses in nats on the same rows, lower is better."""

    at: datetime
    symbol: str
    version: int
    outcome: str
    champion_loss: float
    challenger_loss: float
    prior_loss: float
    rows: int
    reason: str


def model_lines(
    bundles: Sequence[BundleFigures], records: Iterable[MetricsRow], drift: object, now: datetime
) -> tuple[ModelLine, ...]:
    """Give one line per symbol, by symbol: from the bundle on disk, else from the newest record of the book."""
    known = {bundle.model_key: bundle for bundle in bundles}
    recorded = {_key(symbol): metrics for symbol, metrics in _newest(records).items()}
    status = mapping(mapping(drift).get("symbols"))
    is_watched = bool(mapping(drift).get("enabled"))
    lines = []
    for key in sorted({*known, *recorded}):
        bundle = known.get(key, BundleFigures(key))
        metadata = bundle.metadata or recorded.get(key, {})
        told = str(metadata.get("symbol") or key.replace("_", "/"))
        lines.append(_line(told, bundle, metadata, drift_of(status.get(told), is_watched=is_watched), now))
    return tuple(lines)


def drift_of(status: object, *, is_watched: bool = True) -> Drift:
    """Give what the watch says of one symbol: `off`, `not watched yet`, `DRIFT` or `quiet`."""
    told = mapping(status)
    if not told:
        return Drift("not watched yet" if is_watched else "off")
    scores = {name: mapping(score) for name, score in mapping(told.get("scores")).items()}
    worst = [str(mapping(item).get("name")) for item in sequence(told.get("worst_features"))]
    return Drift(
        status="DRIFT" if told.get("detected") else "quiet",
        kind=str(told.get("kind") or ""),
        since=instant(told.get("since")),
        score=number(told.get("score")),
        limit=number(told.get("limit")),
        beyond=tuple(sorted(name for name, score in scores.items() if score.get("beyond"))),
        worst_features=tuple(worst[:5]),
    )


def verdict_sentence(lines: Sequence[ModelLine], expected: int) -> str:
    """Say how many symbols may trade and what stops the others, of `expected` symbols configured."""
    tradable = sum(line.is_tradable for line in lines)
    stops = Counter(line.reasons[0] if line.reasons else "unreadable" for line in lines if not line.is_tradable)
    missing = max(expected - len(lines), 0)
    words = [f"{count} {reason}" for reason, count in stops.most_common()]
    words += [f"{missing} no_bundle"] if missing else []
    total = max(expected, len(lines))
    return f"{tradable}/{total} tradable" + (f": {', '.join(words)}" if words else "")


def importances_of(metadata: Mapping[str, object], most: int = 20) -> tuple[Weight, ...]:
    """Give the inputs that count most: measured when the trainer recorded it, else by the linear member.

    The linear member's weights are the mean size of its coefficients over the classes, on standardised inputs. Empty
    when the metadata holds neither.
    """
    measured = mapping(metadata.get("feature_importances"))
    sizes = {name: number(value) for name, value in measured.items()}
    basis = "rise of log-loss when shuffled"
    if not sizes:
        sizes, basis = _linear_sizes(mapping(metadata.get("logistic"))), "size of the linear member's coefficients"
    known = {name: size for name, size in sizes.items() if size > 0 and math.isfinite(size)}
    total = math.fsum(known.values())
    ranked = sorted(known.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Weight(name, size / total, basis) for name, size in ranked[: max(most, 0)])


def columns_of(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Give the inputs a bundle was trained on."""
    return tuple(str(name) for name in sequence(metadata.get("feature_columns")))


def training_of(content: object, waiting: object, now: datetime) -> Training:
    """Read the keyed values `training_status` and `retraining_waiting`."""
    told = mapping(content)
    reasons = tuple((symbol, str(why)) for symbol, why in sorted(mapping(waiting).items()))
    if not told:
        return Training(waiting=reasons)
    return Training(
        status=str(told.get("status") or "idle"),
        phase=str(told.get("phase") or ""),
        symbol=str(told.get("current_symbol") or ""),
        trigger=str(told.get("trigger") or ""),
        progress=min(max(number(told.get("progress_pct")) / 100, 0.0), 1.0),
        completed=_count(told.get("symbols_completed")),
        requested=_count(told.get("symbols_requested")),
        trained=_count(told.get("symbols_trained")),
        errors=_count(told.get("symbols_errors")),
        up_to_date=_count(told.get("symbols_skipped_up_to_date")),
        kept_champion=_count(told.get("symbols_kept_champion")),
        queued=_count(told.get("symbols_queued")),
        eta_s=number(told.get("eta_s")),
        started_at=instant(told.get("started_at")),
        silent_s=age_s(told.get("updated_at"), now),
        last_error=str(told.get("last_error") or ""),
        waiting=reasons,
    )


def challenges_of(records: Iterable[MetricsRow], symbol: str = "") -> tuple[Challenge, ...]:
    """Give the comparisons of new ensembles with those in service, newest first, of one symbol or of all."""
    found = []
    for record in records:
        metrics = record.metrics
        told = mapping(metrics.get("challenge"))
        if not told or (symbol and metrics.get("symbol") != symbol):
            continue
        kept = metrics.get("event") == KEPT_CHAMPION
        found.append(
            Challenge(
                at=record.at,
                symbol=str(metrics.get("symbol") or ""),
                version=_count(metrics.get("version")),
                outcome="champion kept" if kept else _adopted(told),
                champion_loss=number(told.get("champion_loss")),
                challenger_loss=number(told.get("challenger_loss")),
                prior_loss=number(told.get("prior_loss")),
                rows=_count(told.get("rows")),
                reason=str(told.get("reason") or metrics.get("reason") or ""),
            )
        )
    return tuple(found)


def _adopted(told: Mapping[str, object]) -> str:
    return "replaced the champion" if told.get("champion_version") else "first bundle"


def _newest(records: Iterable[MetricsRow]) -> Mapping[str, Mapping[str, object]]:
    newest: dict[str, Mapping[str, object]] = {}
    for record in records:
        symbol = record.metrics.get("symbol")
        if isinstance(symbol, str) and "event" not in record.metrics:
            newest.setdefault(symbol, record.metrics)
    return newest


def _line(symbol: str, bundle: BundleFigures, metadata: Mapping[str, object], drift: Drift, now: datetime) -> ModelLine:
    figures, tradable = mapping(metadata.get("validation_metrics")), mapping(metadata.get("tradable"))
    buy = mapping(mapping(figures.get("classes")).get("BUY"))
    span = mapping(metadata.get("data_span"))
    low, high = _pair(figures.get("skill_interval"))
    return ModelLine(
        symbol=symbol,
        model_key=bundle.model_key,
        version=_count(metadata.get("version")),
        is_tradable=tradable.get("verdict") is True,
        reasons=tuple(str(reason) for reason in sequence(tradable.get("reasons"))),
        trained_at=instant(metadata.get("trained_at")),
        age_s=age_s(metadata.get("trained_at"), now),
        skill=number(figures.get("skill")),
        skill_low=low,
        skill_high=high,
        accuracy=number(figures.get("accuracy")),
        largest_class_share=_largest_class(figures),
        buy_precision=number(buy.get("precision")),
        buy_base_rate=number(buy.get("base_rate")),
        log_loss=number(figures.get("log_loss")),
        prior_log_loss=number(figures.get("prior_log_loss")),
        ece=number(figures.get("ece")),
        ece_floor=number(figures.get("ece_noise_floor")),
        rows=_count(metadata.get("dataset_rows")),
        held_out_rows=_count(figures.get("rows")),
        source=str(span.get("source") or ""),
        span=(instant(span.get("start")), instant(span.get("end"))),
        weights=_weights(metadata.get("ensemble_weights")),
        calibration=str(mapping(metadata.get("calibration")).get("method") or ""),
        drift=drift,
        files=bundle.files,
        size_bytes=bundle.size_bytes,
        problem=bundle.problem,
    )


def _largest_class(figures: Mapping[str, object]) -> float:
    """Give the accuracy of always saying the most frequent class of the held-out rows."""
    shares = [number(mapping(told).get("base_rate")) for told in mapping(figures.get("classes")).values()]
    return max((share for share in shares if math.isfinite(share)), default=math.nan)


def _weights(told: object) -> tuple[tuple[str, float], ...]:
    votes = [(name, number(value)) for name, value in mapping(told).items()]
    return tuple(sorted((vote for vote in votes if vote[1] > 0), key=lambda vote: (-vote[1], vote[0])))


def _linear_sizes(logistic: Mapping[str, object]) -> dict[str, float]:
    inputs = [str(name) for name in sequence(logistic.get("inputs"))]
    by_class = [sequence(row) for row in mapping(logistic.get("coefficients")).values()]
    whole = [[abs(number(value)) for value in row] for row in by_class if len(row) == len(inputs)]
    if not whole:
        return {}
    return {name: math.fsum(row[place] for row in whole) / len(whole) for place, name in enumerate(inputs)}


def _pair(value: object) -> tuple[float, float]:
    ends = sequence(value)
    return (number(ends[0]), number(ends[1])) if len(ends) == 2 else (math.nan, math.nan)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _key(symbol: str) -> str:
    return symbol.replace("/", "_")

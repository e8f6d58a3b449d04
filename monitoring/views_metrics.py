"""The machine itself: Prometheus figures, how long cycles take, workers, backups and alerts.

Durations are seconds unless named `_ms`, instants aware UTC. A number nobody knows is NaN.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bn_ml.state_reader import CycleRow
from monitoring.bot_facts import BotFacts
from monitoring.exposition import Distribution, Family, Sample
from monitoring.metric_names import CATALOGUE
from monitoring.metrics import samples_of
from monitoring.plain_values import age_s, instant, mapping, number, sequence
from monitoring.wording import UNKNOWN, age, known, money, percent

WHOLE_CYCLE = "whole cycle"
LEVELS = ("CRITICAL", "WARNING", "INFO")

_MONEY = frozenset({"bnml_account_total_capital", "bnml_account_active_capital", "bnml_account_equity"})
_STATES = {0.0: "NORMAL", 1.0: "REDUCE_ONLY", 2.0: "HALTED"}
_UNITS: Mapping[str, str] = {"bnml_market_index": "of 100", "bnml_model_skill": "skill", "bnml_drift_score": "score"}
_BYTE_STEPS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One value of one metric as people read it; `text` carries the unit, `value` the number itself."""

    name: str
    labels: str
    text: str
    value: float
    meaning: str


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long one stage took over the cycles looked at, in milliseconds."""

    stage: str
    cycles: int
    p50_ms: float
    p95_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class CycleTime:
    """How long the stages of one cycle took together, in milliseconds."""

    at: datetime
    length_ms: float


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One helper of the bot: is it alive, when was it last heard of, and how often was it started again."""

    name: str
    is_alive: bool
    beat_age_s: float
    restarts: int
    restarts_left: int
    is_spent: bool
    is_needed: bool
    last_error: str

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.is_spent:
            return "GIVEN UP"
        return "alive" if self.is_alive else "DEAD"


@dataclass(frozen=True, slots=True)
class Workers:
    """All helpers as of `age_s` seconds ago, and what else went wrong in threads."""

    lines: tuple[WorkerLine, ...] = ()
    age_s: float = math.nan
    troubles: int = 0
    last_trouble: str = ""


@dataclass(frozen=True, slots=True)
class Backups:
    """How backups stand: the newest verified one, the newest attempt, and the last time one was put back."""

    is_enabled: bool = True
    made_at: datetime | None = None
    age_s: float = math.nan
    backup_id: str = ""
    size_bytes: float = math.nan
    count: int = 0
    last_error: str = ""
    due_in_s: float = math.nan
    restored_at: datetime | None = None
    restored_age_s: float = math.nan
    restored_id: str = ""


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One incident: since when, how often, over or not, and what became of it on each channel."""

    id: str
    at: datetime | None
    level: str
    title: str
    why: str
    next_action: str
    symbol: str
    count: int
    last_at: datetime | None
    ended_at: datetime | None
    channels: str

    @property
    def state(self) -> str:
        """Whether it is over, in words."""
        return "over" if self.ended_at is not None else "open"


def metric_values(facts: BotFacts, asset: str = "") -> tuple[MetricValue, ...]:
    """Give every metric the bot tells, in the order of the catalogue; a family without samples is left out."""
    return tuple(
        figure
        for family in CATALOGUE
        for sample in samples_of(family, facts)
        for figure in _figures(family, sample, asset)
    )


def stage_times(cycles: Iterable[CycleRow]) -> tuple[StageTimes, ...]:
    """Give the durations of each stage and of the whole cycle over the cycles given."""
    taken: dict[str, list[float]] = defaultdict(list)
    for cycle in cycles:
        lengths = _lengths(cycle)
        for stage, length in lengths.items():
            taken[stage].append(length)
        if lengths:
            taken[WHOLE_CYCLE].append(math.fsum(lengths.values()))
    names = sorted(taken, key=lambda name: (name == WHOLE_CYCLE, name))
    return tuple(_times(name, sorted(taken[name])) for name in names)


def cycle_times(cycles: Iterable[CycleRow]) -> tuple[CycleTime, ...]:
    """Give how long each cycle took, oldest first; `cycles` come newest first, those that tell nothing are left out."""
    told = [(cycle.at, _lengths(cycle)) for cycle in cycles]
    return tuple(CycleTime(at, math.fsum(lengths.values())) for at, lengths in reversed(told) if lengths)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the smallest value at or below which `share` of an ascending list lies, NaN for an empty one.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5), quantile([1.0, 2.0, 3.0, 4.0], 0.95)
    (2.0, 4.0)
    """
    if not ordered:
        return math.nan
    place = math.ceil(share * len(ordered)) - 1
    return ordered[min(max(place, 0), len(ordered) - 1)]


def workers_of(heartbeat: object, now: datetime) -> Workers:
    """Read the workers' health from the keyed value `heartbeat`; those in trouble come first."""
    told = mapping(heartbeat)
    lines = [_worker(name, mapping(health)) for name, health in mapping(told.get("workers")).items()]
    return Workers(
        lines=tuple(sorted(lines, key=lambda line: (line.verdict == "alive", line.name))),
        age_s=age_s(told.get("health_at"), now),
        troubles=_count(told.get("troubles")),
        last_trouble=str(told.get("last_trouble") or ""),
    )


def backups_of(status: object, now: datetime) -> Backups:
    """Read the keyed value `backup_status`; an empty one is of a bot that has not told yet."""
    told = mapping(status)
    restored, due = mapping(told.get("last_restore")), instant(told.get("next_due_at"))
    return Backups(
        is_enabled=told.get("enabled") is not False,
        made_at=instant(told.get("last_backup_at")),
        age_s=age_s(told.get("last_backup_at"), now),
        backup_id=str(told.get("last_id") or ""),
        size_bytes=number(told.get("size_bytes")),
        count=_count(told.get("count")),
        last_error=str(told.get("last_error") or ""),
        due_in_s=math.nan if due is None else (due - now).total_seconds(),
        restored_at=instant(restored.get("at")),
        restored_age_s=age_s(restored.get("at"), now),
        restored_id=str(restored.get("backup_id") or ""),
    )


def alerts_of(content: object) -> tuple[AlertLine, ...]:
    """Read the keyed value `recent_alerts`, newest first."""
    return tuple(_alert(mapping(row)) for row in sequence(content) if mapping(row))


def at_least(alerts: Iterable[AlertLine], level: str) -> tuple[AlertLine, ...]:
    """Give the alerts of a level and above; an unknown level gives all."""
    kept = LEVELS[: LEVELS.index(level) + 1] if level in LEVELS else ()
    return tuple(alert for alert in alerts if not kept or alert.level in kept)


def bytes_text(size: float) -> str:
    """Write a number of bytes.

    >>> bytes_text(1_234_567.0), bytes_text(12.0)
    ('1.2 MB', '12 B')
    """
    if not known(size):
        return UNKNOWN
    for step, unit in _BYTE_STEPS:
        if abs(size) >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size:.0f} B"


def _lengths(cycle: CycleRow) -> Mapping[str, float]:
    told = mapping(cycle.data.get("durations_ms"))
    return {stage: number(value) for stage, value in told.items() if known(number(value))}


def _figures(family: Family, sample: Sample | Distribution, asset: str) -> Iterable[MetricValue]:
    labels = ", ".join(f"{name}={value}" for name, value in zip(family.labels, sample.values, strict=True))
    if isinstance(sample, Sample):
        text = _text(family, sample.value, asset)
        yield MetricValue(family.name, labels, text, sample.value, family.help)
        return
    seen = sum(sample.counts)
    mean = sample.total / seen if seen else math.nan
    limit = _bucket(sample, 0.95)
    within = f"95 % within {limit:g} s" if math.isfinite(limit) else f"95 % beyond {sample.bounds[-1]:g} s"
    text = f"{seen:,} measured, mean {mean:.3g} s, {within}" if seen else "none yet"
    yield MetricValue(family.name, labels, text, mean, family.help)


def _bucket(sample: Distribution, share: float) -> float:
    """Give the upper bound of the bucket that holds a share of what was measured."""
    wanted, reached = share * sum(sample.counts), 0
    for bound, count in zip((*sample.bounds, math.inf), sample.counts, strict=True):
        reached += count
        if reached >= wanted:
            return bound
    return math.inf


def _text(family: Family, value: float, asset: str) -> str:
    name = family.name
    if not known(value):
        return UNKNOWN
    if name == "bnml_control_state":
        return _STATES.get(value, UNKNOWN)
    if name in _MONEY:
        return money(value, asset)
    if (
        name.endswith("_pct")
        or name.endswith("_ratio")
        or name in {"bnml_training_progress", "bnml_scan_top_confidence"}
    ):
        return percent(value, 2)
    if name.endswith("_seconds"):
        return age(value)
    if name.endswith("_bytes"):
        return bytes_text(value)
    if name.endswith("_ms"):
        return f"{value:,.0f} ms"
    shown = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
    unit = _UNITS.get(name, "counted" if family.kind == "counter" else "")
    return f"{shown} {unit}" if unit else shown


def _times(stage: str, ordered: Sequence[float]) -> StageTimes:
    return StageTimes(stage, len(ordered), quantile(ordered, 0.5), quantile(ordered, 0.95), ordered[-1])


def _worker(name: str, health: Mapping[str, object]) -> WorkerLine:
    return WorkerLine(
        name=name,
        is_alive=health.get("alive") is True,
        beat_age_s=number(health.get("beat_age_s")),
        restarts=_count(health.get("restarts")),
        restarts_left=_count(health.get("restarts_left")),
        is_spent=health.get("spent") is True,
        is_needed=health.get("needed") is True,
        last_error=str(health.get("last_error") or ""),
    )


def _alert(row: Mapping[str, object]) -> AlertLine:
    channels = mapping(row.get("channels"))
    return AlertLine(
        id=str(row.get("id") or ""),
        at=instant(row.get("at")),
        level=str(row.get("level") or ""),
        title=str(row.get("title") or ""),
        why=str(row.get("why") or ""),
        next_action=str(row.get("next_action") or ""),
        symbol=str(row.get("symbol") or ""),
        count=_count(row.get("count")),
        last_at=instant(row.get("last_at")),
        ended_at=instant(row.get("ended_at")),
        channels=", ".join(f"{channel} {state}" for channel, state in sorted(channels.items())),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0

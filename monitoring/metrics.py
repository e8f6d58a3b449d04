"""The bot's metrics as Prometheus text, from its state database alone. Ages are as of the instant of reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from bn_ml.domain.account import ControlState
from bn_ml.domain.signals import Action
from bn_ml.state_reader import StateReader
from monitoring.bot_facts import BotFacts, read_facts
from monitoring.exposition import Distribution, Family, Sample, exposition
from monitoring.metric_names import CATALOGUE
from monitoring.plain_values import age_s, instant, mapping, number, sequence
from monitoring.runtime_metrics import RUNTIME_METRICS

SILENT_S = 180.0
"""A bot not heard of for longer is not up."""

Samples = Sequence[Sample | Distribution]
_TIGHTNESS = {ControlState.NORMAL: 0.0, ControlState.REDUCE_ONLY: 1.0, ControlState.HALTED: 2.0}
_ACCOUNT = (
    "total_capital",
    "active_capital",
    "equity",
    "drawdown_pct",
    "exposure_pct",
    "daily_pnl_pct",
    "weekly_pnl_pct",
    "consecutive_losses",
)


def metrics_text(reader: StateReader, now: datetime) -> str:
    """Give all metrics of the bot whose database this is; what is not known is NaN or has no sample."""
    return text_of(read_facts(reader, now))


def text_of(facts: BotFacts) -> str:
    """Give all metrics that facts tell."""
    return exposition((family, samples_of(family, facts)) for family in CATALOGUE)


def samples_of(family: Family, facts: BotFacts) -> Samples:
    """Give the samples of one family; of several with the same labels, which no reader takes, the last."""
    return list({sample.values: sample for sample in _SAMPLES[family.name](facts)}.values())


def _one(value: float | None) -> Samples:
    return (Sample(math.nan if value is None else value),)


def _rows(facts: BotFacts) -> Sequence[Mapping[str, object]]:
    return [mapping(row) for row in sequence(facts.value("latest_scan").get("rows"))]


def _scan_rows(facts: BotFacts) -> Samples:
    return _one(float(len(_rows(facts))) if facts.value("latest_scan") else None)


def _signal_counts(facts: BotFacts) -> Samples:
    if not facts.value("latest_scan"):
        return ()
    said = [row.get("action") for row in _rows(facts)]
    return [Sample(float(said.count(action.value)), (action.value,)) for action in Action]


def _top_confidence(facts: BotFacts) -> Samples:
    """Give the highest confidence of a direction: what a HOLD is sure of interests nobody."""
    shown = [number(row.get("confidence")) for row in _rows(facts) if row.get("action") != Action.HOLD.value]
    return _one(max((value for value in shown if not math.isnan(value)), default=None))


def _account(name: str) -> Callable[[BotFacts], Samples]:
    return lambda facts: _one(number(facts.value("account_state").get(name)))


def _total_cycles(facts: BotFacts) -> Samples:
    return _one(number(facts.value("heartbeat").get("cycle")))


def _drift_detected(facts: BotFacts) -> Samples:
    return _one(number(facts.value("drift_status").get("detected")))


def _market_index(facts: BotFacts) -> Samples:
    return _one(number(facts.value("santrade_intelligence").get("index_value")))


def _silence_s(facts: BotFacts) -> float:
    """Give the seconds since the loop was last heard of, NaN when it never was."""
    beats = [instant(facts.value(key).get("at")) for key in ("heartbeat", "loop_beat")]
    return age_s(max((at for at in beats if at is not None), default=None), facts.at)


def _breakers(name: str) -> Callable[[BotFacts], Samples]:
    def samples(facts: BotFacts) -> Samples:
        listed = [mapping(item) for item in sequence(facts.value("account_state").get("breakers"))]
        return [Sample(_breaker(item, name), (str(item.get("name")),)) for item in listed]

    return samples


def _breaker(item: Mapping[str, object], name: str) -> float:
    if name == "tripped":
        return number(item.get("tripped"))
    limit = number(item.get("limit"))
    return number(item.get("value")) / limit if limit else math.nan


def _control(facts: BotFacts) -> Samples:
    return _one(None if facts.control is None else _TIGHTNESS[facts.control])


def _unprotected(facts: BotFacts) -> Samples:
    kept = facts.value("unprotected")
    if facts.problem:
        return _one(None)
    return _one(age_s(kept.get("since"), facts.at) if kept.get("since") else 0.0)


def _slippage(facts: BotFacts) -> Samples:
    known = [value for value in facts.slippages if not math.isnan(value)]
    return _one(sum(known) / len(known) if known else None)


def _data_source(facts: BotFacts) -> Samples:
    return [Sample(1.0, (facts.data_source,))] if facts.data_source else ()


def _counter(name: str, labels: int) -> Callable[[BotFacts], Samples]:
    """Give what the process counted; a counter without labels is 0 until something was, NaN without a process."""

    def samples(facts: BotFacts) -> Samples:
        runtime = facts.value(RUNTIME_METRICS)
        found = _counts(mapping(runtime.get("counters")).get(name), labels)
        if found or labels:
            return found
        return _one(0.0 if runtime else None)

    return samples


def _counts(content: object, labels: int) -> list[Sample]:
    found = []
    for item in map(sequence, sequence(content)):
        values = tuple(str(value) for value in sequence(item[0])) if len(item) == 2 else ()
        if len(item) == 2 and len(values) == labels:
            found.append(Sample(number(item[1]), values))
    return found


def _failures(facts: BotFacts) -> Samples:
    runtime = facts.value(RUNTIME_METRICS)
    ended = _counts(mapping(runtime.get("counters")).get("retrain"), 2)
    return _one(sum(sample.value for sample in ended if sample.values[1] == "failed") if runtime else None)


def _histogram(name: str, labels: int) -> Callable[[BotFacts], Samples]:
    def samples(facts: BotFacts) -> Samples:
        content = mapping(mapping(facts.value(RUNTIME_METRICS).get("histograms")).get(name))
        bounds = tuple(number(bound) for bound in sequence(content.get("bounds")))
        series = (_distribution(sequence(item), bounds) for item in sequence(content.get("series")))
        return [found for found in series if found is not None and len(found.values) == labels]

    return samples


def _distribution(item: Sequence[object], bounds: tuple[float, ...]) -> Distribution | None:
    """Give one series, None for what no histogram of these bounds can be."""
    labels, counts, total = item if len(item) == 3 else ((), (), None)
    numbers = [number(count) for count in sequence(counts)]
    if len(numbers) != len(bounds) + 1 or not all(map(math.isfinite, numbers)):
        return None
    return Distribution(bounds, tuple(map(int, numbers)), number(total), tuple(map(str, sequence(labels))))


def _gauge(name: str) -> Callable[[BotFacts], Samples]:
    return lambda facts: _one(number(mapping(facts.value(RUNTIME_METRICS).get("gauges")).get(name)))


def _quote_age(facts: BotFacts) -> Samples:
    return _one(age_s(mapping(facts.value(RUNTIME_METRICS).get("gauges")).get("quote_at"), facts.at))


def _model_age(facts: BotFacts) -> Samples:
    return [Sample(age_s(model.get("trained_at"), facts.at), (name,)) for name, model in sorted(facts.models.items())]


def _model_skill(facts: BotFacts) -> Samples:
    told = {name: mapping(model.get("validation_metrics")).get("skill") for name, model in facts.models.items()}
    return [Sample(number(skill), (name,)) for name, skill in sorted(told.items())]


def _model_tradable(facts: BotFacts) -> Samples:
    told = {name: mapping(model.get("tradable")).get("verdict") for name, model in facts.models.items()}
    return [Sample(number(verdict), (name,)) for name, verdict in sorted(told.items())]


def _drift_scores(facts: BotFacts) -> Samples:
    symbols = mapping(facts.value("drift_status").get("symbols"))
    return [
        Sample(number(mapping(score).get("score")), (symbol, test))
        for symbol, status in sorted(symbols.items())
        for test, score in sorted(mapping(mapping(status).get("scores")).items())
    ]


def _training_progress(facts: BotFacts) -> Samples:
    return _one(number(facts.value("training_status").get("progress_pct")) / 100)


def _bot_up(facts: BotFacts) -> Samples:
    return _one(float(_silence_s(facts) <= SILENT_S))


_SAMPLES: Mapping[str, Callable[[BotFacts], Samples]] = {
    "bnml_scan_rows": _scan_rows,
    "bnml_scan_age_seconds": lambda facts: _one(age_s(facts.value("latest_scan").get("at"), facts.at)),
    "bnml_scan_signal_count": _signal_counts,
    "bnml_scan_top_confidence": _top_confidence,
    "bnml_gate_rejections_total": _counter("gate_rejections", 1),
    **{f"bnml_account_{name}": _account(name) for name in _ACCOUNT},
    "bnml_open_positions": lambda facts: _one(facts.open_positions),
    "bnml_total_trades": lambda facts: _one(facts.trades),
    "bnml_total_cycles": _total_cycles,
    "bnml_market_drift_detected": _drift_detected,
    "bnml_market_index": _market_index,
    "bnml_bot_up": _bot_up,
    "bnml_bot_heartbeat_age_seconds": lambda facts: _one(_silence_s(facts)),
    "bnml_cycle_duration_seconds": _histogram("cycle_duration", 1),
    "bnml_control_state": _control,
    "bnml_breaker_active": _breakers("tripped"),
    "bnml_breaker_used_ratio": _breakers("used"),
    "bnml_orders_total": _counter("orders", 2),
    "bnml_order_latency_seconds": _histogram("order_latency", 0),
    "bnml_order_unknown": lambda facts: _one(facts.unknown_orders),
    "bnml_unprotected_seconds": _unprotected,
    "bnml_slippage_pct": _slippage,
    "bnml_exchange_weight_used_ratio": _gauge("weight_ratio"),
    "bnml_exchange_errors_total": _counter("exchange_errors", 1),
    "bnml_quote_age_seconds": _quote_age,
    "bnml_ws_reconnects_total": _counter("ws", 0),
    "bnml_clock_offset_ms": _gauge("clock_offset_ms"),
    "bnml_alerts_total": _counter("alerts", 3),
    "bnml_worker_restarts_total": _counter("worker_restarts", 1),
    "bnml_backup_age_seconds": lambda facts: _one(age_s(facts.value("backup_status").get("last_backup_at"), facts.at)),
    "bnml_db_size_bytes": lambda facts: _one(facts.db_bytes),
    "bnml_disk_free_bytes": lambda facts: _one(facts.disk_free_bytes),
    "bnml_data_source": _data_source,
    "bnml_model_age_seconds": _model_age,
    "bnml_model_skill": _model_skill,
    "bnml_model_tradable": _model_tradable,
    "bnml_drift_score": _drift_scores,
    "bnml_training_progress": _training_progress,
    "bnml_training_failures_total": _failures,
    "bnml_retrain_total": _counter("retrain", 2),
}

"""Old names of keys: what they are called today, which units changed, which were removed or are refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeGuard

from bn_ml.settings_problems import Raw, shown

Convert = Callable[[object], object]
Tree = dict[str, object]


@dataclass(frozen=True, slots=True)
class Alias:
    """An old dotted name, the canonical one and, where the unit changed, how the value is converted."""

    old: str
    new: str
    convert: Convert | None = None


@dataclass(frozen=True, slots=True)
class Translated:
    """A tree in canonical names beside the one given; `written` maps a canonical key to the old name that set it."""

    tree: Tree
    given: Raw
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)


class NotConvertible(ValueError):
    """A value written under an old name that cannot be meant in that name's unit."""


def translate(tree: Raw) -> Translated:
    """Rename old keys, convert changed units, drop removed keys and refuse secrets kept under old names.

    An old name that disagrees with its canonical key is a problem; of two old names for one key the first in the
    table wins, and the warning says so.
    """
    result = Translated(_copied(tree), tree)
    _refuse(result)
    for alias in _all_aliases(result.tree):
        value = _taken(result.tree, alias.old)
        if value is not _ABSENT:
            _move(result, alias, value)
    _drop(result)
    return result


def leaves(tree: Raw, prefix: str = "") -> Iterator[tuple[str, object]]:
    """List the values of a nested mapping by dotted key; an empty mapping is a value."""
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def value_at(tree: Raw, dotted: str) -> object:
    """Give the value under a dotted key, `ABSENT` when there is none."""
    node: object = tree
    for name in dotted.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return _ABSENT
        node = node[name]
    return node


def put(tree: Tree, dotted: str, value: object) -> bool:
    """Set the value under a dotted key, making branches; False when a plain value is in the way."""
    *branches, last = dotted.split(".")
    node = tree
    for name in branches:
        below = node.setdefault(name, {})
        if not isinstance(below, dict):
            return False
        node = below
    node[last] = value
    return True


def _percent(value: object) -> object:
    return round(value / 100, 12) if _is_number(value) else value


def _loss_percent(value: object) -> object:
    return round(abs(value) / 100, 12) if _is_number(value) else value


def _confidence_percent(value: object) -> object:
    if _is_number(value) and 0 < value <= 1:
        raise NotConvertible(f"{shown(value)} looks like a fraction, but this old key counts 0-100")
    return _percent(value)


def _tenth(value: object) -> object:
    return round(value / 10, 12) if _is_number(value) else value


def _inverted(value: object) -> object:
    return not value if isinstance(value, bool) else value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_MTF = "model.multi_timeframe"
_BREAKERS = "risk.circuit_breakers"
_DISCOVERY = "universe.discovery"
_RETRAINING = "model.retraining"

ALIASES = (
    Alias("risk.max_positions", "risk.max_open_positions"),
    Alias("risk.max_portfolio_exposure_pct", "risk.max_exposure_pct"),
    Alias("risk.time_stop_hours", "risk.max_holding_period"),
    Alias(f"{_BREAKERS}.daily_drawdown_stop_pct", "risk.max_loss_per_day", _loss_percent),
    Alias("risk.capital_total_fallback", "risk.capital_total"),
    Alias("risk.drift_benchmark_symbol", "model.drift.benchmark_symbol"),
    Alias("universe.pairs", "universe.training_symbols"),
    Alias("universe.user_selected_pairs", "universe.training_symbols"),
    Alias("universe.user_selected_only", f"{_DISCOVERY}.enabled", _inverted),
    Alias("universe.dynamic_base_quote_pairs", f"{_DISCOVERY}.enabled"),
    Alias("universe.dynamic_refresh_sec", f"{_DISCOVERY}.refresh_sec"),
    Alias("universe.min_24h_volume_usdt", f"{_DISCOVERY}.min_24h_volume_usdt"),
    Alias("universe.train_dynamic_pairs", f"{_DISCOVERY}.train"),
    Alias("universe.max_pairs_scanned", "scanner.max_pairs"),
    Alias("universe.train_max_pairs", "universe.train_max_symbols"),
    Alias("universe.model_max_age_hours", f"{_RETRAINING}.max_model_age_hours"),
    Alias("model.acceleration.mode", "model.acceleration.device"),
    Alias("scanner.min_global_score", "scanner.min_score", _tenth),
    Alias("scanner.min_ml_confidence", "scanner.min_confidence", _confidence_percent),
    Alias("scanner.orderbook_depth_min_usdt", "scanner.depth_min_usdt"),
    Alias("model.feature_limit", "model.features.limit"),
    Alias("model.backtest_ohlcv_limit", "backtest.ohlcv_limit"),
    Alias("model.sequence_length", "model.lstm.sequence_length"),
    Alias("model.labeling.horizon_candles", "model.labeling.horizon_bars"),
    Alias("model.auto_retrain_enabled", f"{_RETRAINING}.enabled"),
    Alias("model.retrain_interval_hours", f"{_RETRAINING}.interval_hours"),
    Alias("model.retrain_check_interval_sec", f"{_RETRAINING}.check_interval_sec"),
    Alias("model.retrain_degradation_trigger_pct", f"{_RETRAINING}.degradation_trigger_pct", _percent),
    Alias("model.auto_train_missing_models", "universe.auto_train_missing"),
    Alias("model.auto_train_batch_size", "universe.auto_train_batch"),
    Alias("model.auto_train_missing_batch_size", "universe.auto_train_batch"),
    Alias("model.auto_train_missing_models_batch_size", "universe.auto_train_batch"),
    Alias("model.auto_train_disable_hpo", f"{_RETRAINING}.hpo", _inverted),
    Alias("model.auto_train_missing_disable_hpo", f"{_RETRAINING}.hpo", _inverted),
    Alias("model.auto_train_missing_models_disable_hpo", f"{_RETRAINING}.hpo", _inverted),
    Alias(f"{_MTF}.min_candles_per_timeframe", f"{_MTF}.min_bars_per_timeframe"),
    Alias(f"{_MTF}.max_candles_per_timeframe", f"{_MTF}.max_bars_per_timeframe"),
    Alias(f"{_MTF}.extra_candles_buffer", f"{_MTF}.extra_bars_buffer"),
    Alias("monitoring.log_level", "log_level"),
    Alias("monitoring.alerts_enabled", "monitoring.alerting.enabled"),
    Alias("monitoring.dashboard.auto_launch_with_bot", "monitoring.dashboard.auto_launch"),
    Alias("public_api.models_dir", "model.models_dir"),
)
REMOVED: Mapping[str, str] = {
    "model.lookback_days": "the history used is set by model.training_window_days",
    "public_api.enabled": "the API runs when it is started",
}
REFUSED: Mapping[str, str] = {
    "monitoring.alerting.webhook_url": "BNML_ALERT_WEBHOOK_URL",
    "monitoring.alerting.webhook.url": "BNML_ALERT_WEBHOOK_URL",
    "monitoring.alerting.telegram_*": "TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID",
    "monitoring.alerting.email.smtp_*": "EMAIL_SMTP_HOST and EMAIL_SMTP_PORT",
    "model_sync.runpod.api_key": "RUNPOD_API_KEY",
}
_OLD_SECTION = "model.santrade_intelligence"
_BY_SYMBOL = "scanner.dynamic_pair_filters.by_symbol"


class _Absent:
    """The type of the mark for a key that is not there."""


_ABSENT = _Absent()
ABSENT: object = _ABSENT


def _all_aliases(tree: Raw) -> Iterator[Alias]:
    """Give the table, then the aliases that depend on what is written."""
    yield from ALIASES
    old = value_at(tree, _OLD_SECTION)
    if isinstance(old, Mapping):
        for path, _ in list(leaves(old)):
            yield Alias(f"{_OLD_SECTION}.{path}", f"santrade_intelligence.{path}")


def _move(result: Translated, alias: Alias, value: object) -> None:
    """Write one old key's value under its canonical name."""
    if alias.old == "universe.user_selected_only" and value is False:
        result.warnings.append(f"{alias.old}: false is ignored; set {alias.new} to choose")
        return
    try:
        meant = alias.convert(value) if alias.convert else value
    except NotConvertible as refusal:
        result.problems.append(f"{alias.old}: {refusal}; write {alias.new}: {shown(value)} instead")
        return
    winner = result.written.get(alias.new)
    present = value_at(result.given, alias.new)
    if present is not _ABSENT and not _same(present, meant):
        result.problems.append(
            f"{alias.new}: {shown(present)} disagrees with its old name {alias.old} {shown(value)}; "
            f"keep {alias.new} only"
        )
    elif winner is not None:
        result.warnings.append(f"{alias.old}: ignored, {winner} wins; both are old names of {alias.new}")
    elif put(result.tree, alias.new, meant):
        result.written[alias.new] = alias.old
        converted = "" if meant is value else f" as {shown(meant)}"
        result.warnings.append(f"{alias.old}: old name, read{converted}; write {alias.new}")


def _refuse(result: Translated) -> None:
    """Take secrets under old names out and say which variable holds them."""
    for path, _ in list(leaves(result.tree)):
        for pattern, variable in REFUSED.items():
            if fnmatchcase(path, pattern):
                _taken(result.tree, path)
                result.problems.append(f"{path}: not allowed in the file; set {variable} in the environment")
                break


def _drop(result: Translated) -> None:
    """Take removed keys out and rename the old key inside per-symbol limits."""
    for old, why in REMOVED.items():
        if _taken(result.tree, old) is not _ABSENT:
            result.warnings.append(f"{old}: removed and ignored; {why}")
    if value_at(result.tree, _OLD_SECTION) == {}:
        _taken(result.tree, _OLD_SECTION)
    by_symbol = value_at(result.tree, _BY_SYMBOL)
    for symbol, limits in by_symbol.items() if isinstance(by_symbol, dict) else ():
        if isinstance(limits, dict) and "orderbook_depth_min_usdt" in limits:
            _rename_depth(result, f"{_BY_SYMBOL}.{symbol}", limits)


def _rename_depth(result: Translated, path: str, limits: Tree) -> None:
    value = limits.pop("orderbook_depth_min_usdt")
    if "depth_min_usdt" in limits and not _same(limits["depth_min_usdt"], value):
        result.problems.append(
            f"{path}.depth_min_usdt: {shown(limits['depth_min_usdt'])} disagrees with its old name "
            f"orderbook_depth_min_usdt {shown(value)}; keep depth_min_usdt only"
        )
        return
    limits["depth_min_usdt"] = value
    result.warnings.append(f"{path}.orderbook_depth_min_usdt: old name, read; write {path}.depth_min_usdt")


def _same(first: object, second: object) -> bool:
    if _is_number(first) and _is_number(second):
        return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)
    return type(first) is type(second) and first == second


def _taken(tree: Tree, dotted: str) -> object:
    """Remove and give the value under a dotted key, with branches left empty by that."""
    name, _, rest = dotted.partition(".")
    if name not in tree:
        return _ABSENT
    if not rest:
        return tree.pop(name)
    below = tree[name]
    if not isinstance(below, dict):
        return _ABSENT
    value = _taken(below, rest)
    if value is not _ABSENT and not below:
        del tree[name]
    return value


def _copied(tree: Raw) -> Tree:
    return {name: _copied(value) if isinstance(value, Mapping) else value for name, value in tree.items()}

"""Rules between keys: each names the keys it joins and how to satisfy it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlparse

from bn_ml.settings_base import Section, plain_value
from bn_ml.settings_risk import RiskSettings
from bn_ml.settings_tree import SettingsTree

MIN_NOTIONAL_USDT = 5.0
OFFICIAL_HOSTS = frozenset(
    {
        "api.binance.com",
        "api-gcp.binance.com",
        "api1.binance.com",
        "api2.binance.com",
        "api3.binance.com",
        "api4.binance.com",
        "data-api.binance.vision",
        "testnet.binance.vision",
        "demo-api.binance.com",
        "stream.binance.com",
        "data-stream.binance.vision",
        "stream.testnet.binance.vision",
        "demo-stream.binance.com",
        "ws-api.binance.com",
        "ws-api.testnet.binance.vision",
        "demo-ws-api.binance.com",
    }
)
# What happens instead of what a key asks for; a name that ends in a dot or underscore is all keys that begin so.
IDLE_KEYS: Mapping[str, str] = {
    "data.replay_speed": "a replay runs as fast as it can",
    "scanner.ohlcv_limit": "as many bars are fetched as the features need",
    "scanner.workers": "symbols are scanned one after another",
    "monitoring.dashboard.live_market_enabled": "prices shown are those of the last cycle",
    "model.multi_timeframe.max_bars_per_timeframe": "each row is computed on min_bars_per_timeframe bars",
}
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that does not hold: the keys it joins and the sentence that says how to mend it."""

    keys: tuple[str, ...]
    text: str


def broken_rules(settings: SettingsTree, refused: Collection[str] = ()) -> list[str]:
    """List the rules that do not hold, leaving out those that join a key refused already."""
    found = [
        *_exit_levels(settings.risk),
        *_capital(settings.risk),
        *_periods(settings.risk),
        *_sums(settings),
        *_orderings(settings),
        *_features(settings),
        *_symbols(settings),
        *_addresses(settings),
        *_live_only(settings),
    ]
    return [f"{broken.keys[0]}: {broken.text}" for broken in found if not _touches(broken.keys, refused)]


def warnings_of(settings: SettingsTree) -> list[str]:
    """List what is allowed but probably not wanted."""
    gates = settings.model.ensemble
    found = [
        f"model.ensemble.{name}: off, signals are traded without this proof"
        for name, on in (
            ("skill_gate", gates.skill_gate),
            ("ev_gate", gates.ev_gate),
            ("outlier_gate", gates.outlier_gate),
        )
        if not on
    ]
    risk = settings.risk
    if risk.exit_mode == "fixed" and risk.stop_loss_pct >= risk.max_position_drawdown_pct:
        found.append("risk.max_position_drawdown_pct: not above risk.stop_loss_pct, it closes before the stop does")
    if settings.data.allow_synthetic_fallback:
        found.append("data.allow_synthetic_fallback: on, paper may trade on generated data when the venue fails")
    return [*found, *_without_effect(settings)]


def idle_reason(name: str) -> str | None:
    """Say what happens instead of what a key asks for, None for a key that has its effect.

    >>> idle_reason("scanner.workers")
    'symbols are scanned one after another'
    """
    fitting = [start for start in IDLE_KEYS if name == start or (start.endswith((".", "_")) and name.startswith(start))]
    return IDLE_KEYS[max(fitting, key=len)] if fitting else None


def _without_effect(settings: SettingsTree) -> Iterator[str]:
    """Name each idle key that asks for something else than its default and than what happens anyway."""
    defaults = dict(_values(type(settings)()))
    benchmark = "santrade_intelligence.benchmark_symbol"
    defaults[benchmark] = f"BTC/{settings.base_quote}"
    for name, value in _values(settings):
        reason = idle_reason(name)
        asked = value != defaults[name]
        if reason and asked:
            yield f"{name}: {json.dumps(plain_value(value))} has no effect in this version: {reason}"


def _values(section: Section, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Give every plain key below a section with its value, as the user writes its name."""
    for name, field in type(section).model_fields.items():
        value, path = getattr(section, name), f"{prefix}{field.alias or name}"
        if isinstance(value, Section):
            yield from _values(value, f"{path}.")
        else:
            yield path, value


def _exit_levels(risk: RiskSettings) -> Iterator[Broken]:
    names = ("risk.stop_loss_pct", "risk.take_profit_1_pct", "risk.take_profit_2_pct")
    levels = (risk.stop_loss_pct, risk.take_profit_1_pct, risk.take_profit_2_pct)
    yield from _rising(names, levels)
    names = ("risk.stop_loss_atr_mult", "risk.take_profit_1_atr_mult", "risk.take_profit_2_atr_mult")
    yield from _rising(names, (risk.stop_loss_atr_mult, risk.take_profit_1_atr_mult, risk.take_profit_2_atr_mult))
    sold = risk.take_profit_1_fraction + risk.take_profit_2_fraction
    if sold > 1 - 1e-9:
        yield Broken(
            ("risk.take_profit_1_fraction", "risk.take_profit_2_fraction"),
            f"plus risk.take_profit_2_fraction is {sold:.10g}; the sum must be below 1 so that a runner is left",
        )
    net = risk.take_profit_1_pct - 2 * (risk.fees_pct + risk.slippage_pct)
    if net < risk.min_net_profit_pct - 1e-12:
        yield Broken(
            ("risk.take_profit_1_pct", "risk.fees_pct", "risk.slippage_pct", "risk.min_net_profit_pct"),
            f"{risk.take_profit_1_pct:.10g} less costs of both sides leaves {net:.10g}, below "
            f"risk.min_net_profit_pct {risk.min_net_profit_pct:.10g}; raise the target or lower the costs",
        )


def _rising(names: tuple[str, str, str], levels: tuple[float, float, float]) -> Iterator[Broken]:
    """Require stop < first target < second target."""
    for place in (0, 1):
        if levels[place] >= levels[place + 1]:
            yield Broken(
                (names[place], names[place + 1]),
                f"{levels[place]:.10g} must be below {names[place + 1]} {levels[place + 1]:.10g} "
                "(stop < first target < second target)",
            )


def _capital(risk: RiskSettings) -> Iterator[Broken]:
    if risk.max_position_size_usdt < MIN_NOTIONAL_USDT:
        yield Broken(
            ("risk.max_position_size_usdt",),
            f"{risk.max_position_size_usdt:.10g} is below the venue's minimum notional {MIN_NOTIONAL_USDT:g}; raise it",
        )
    if risk.capital_total != "auto":
        room = risk.capital_total * risk.max_exposure_pct
        if room < risk.max_position_size_usdt - 1e-9:
            yield Broken(
                ("risk.max_exposure_pct", "risk.capital_total", "risk.max_position_size_usdt"),
                f"{risk.max_exposure_pct:.10g} of risk.capital_total {risk.capital_total:.10g} is {room:.10g}, "
                f"less than one position of risk.max_position_size_usdt {risk.max_position_size_usdt:.10g}; "
                f"lower the position size to {room:.10g} or raise the exposure",
            )
    if risk.min_position_pct_active > risk.max_position_pct_active:
        yield _not_above("risk.min_position_pct_active", "risk.max_position_pct_active")
    if risk.max_symbol_exposure_pct > risk.max_exposure_pct:
        yield _not_above("risk.max_symbol_exposure_pct", "risk.max_exposure_pct")
    if risk.stop_min_pct > risk.stop_max_pct:
        yield _not_above("risk.stop_min_pct", "risk.stop_max_pct")


def _periods(risk: RiskSettings) -> Iterator[Broken]:
    if risk.max_daily_risk_pct > risk.max_weekly_risk_pct:
        yield _not_above("risk.max_daily_risk_pct", "risk.max_weekly_risk_pct")
    if risk.max_loss_per_day > risk.max_loss_per_week:
        yield _not_above("risk.max_loss_per_day", "risk.max_loss_per_week")


def _not_above(low: str, high: str) -> Broken:
    return Broken((low, high), f"must not be above {high}; lower it or raise {high}")


def _sums(settings: SettingsTree) -> Iterator[Broken]:
    risk, weights = settings.risk, settings.scanner.weights
    ratios = risk.capital_active_ratio + risk.reserve_ratio + risk.cash_buffer_ratio
    if not math.isclose(ratios, 1, abs_tol=1e-6):
        keys = ("risk.capital_active_ratio", "risk.reserve_ratio", "risk.cash_buffer_ratio")
        yield Broken(keys, f"plus {keys[1]} plus {keys[2]} is {ratios:.10g}; the sum must be 1")
    total = weights.ml + weights.technical + weights.momentum
    if not math.isclose(total, 1, abs_tol=1e-6):
        keys = ("scanner.weights.ml", "scanner.weights.technical", "scanner.weights.momentum")
        yield Broken(keys, f"plus {keys[1]} plus {keys[2]} is {total:.10g}; the sum must be 1")


def _orderings(settings: SettingsTree) -> Iterator[Broken]:
    model, data = settings.model, settings.data
    if model.labeling.min_move_pct > model.labeling.max_move_pct:
        yield _not_above("model.labeling.min_move_pct", "model.labeling.max_move_pct")
    if model.multi_timeframe.min_bars_per_timeframe > model.multi_timeframe.max_bars_per_timeframe:
        yield _not_above("model.multi_timeframe.min_bars_per_timeframe", "model.multi_timeframe.max_bars_per_timeframe")
    if model.drift.recent_window > model.drift.baseline_window:
        yield _not_above("model.drift.recent_window", "model.drift.baseline_window")
    if data.replay_from and data.replay_to and data.replay_from >= data.replay_to:
        yield Broken(("data.replay_from", "data.replay_to"), "must be before data.replay_to")


def _features(settings: SettingsTree) -> Iterator[Broken]:
    model = settings.model
    for name, listed in (
        ("model.multi_timeframe.timeframes", model.multi_timeframe.timeframes),
        ("model.multi_timeframe.feature_columns", model.multi_timeframe.feature_columns),
        ("model.features.families", model.features.families),
    ):
        if len(set(listed)) < len(listed) and listed != "all":
            yield Broken((name,), "names something twice; name each once")
    if not model.features.families:
        yield Broken(("model.features.families",), "is empty; write all, or name at least one family")


def _symbols(settings: SettingsTree) -> Iterator[Broken]:
    quote = settings.base_quote
    single = (
        ("model.drift.benchmark_symbol", settings.model.drift.benchmark_symbol),
        ("santrade_intelligence.benchmark_symbol", settings.santrade_intelligence.benchmark_symbol),
        (
            "risk.circuit_breakers.volatility_benchmark_symbol",
            settings.risk.circuit_breakers.volatility_benchmark_symbol,
        ),
    )
    listed = [("universe.training_symbols", symbol) for symbol in settings.universe.training_symbols]
    for name, symbol in (*single, *listed):
        if symbol.partition("/")[2] != quote:
            base = symbol.partition("/")[0]
            yield Broken((name, "base_quote"), f"{symbol} is not quoted in base_quote {quote}; write {base}/{quote}")
    if settings.universe.discovery.enabled:
        return
    named = set(settings.universe.training_symbols)
    if not named:
        yield Broken(
            ("universe.training_symbols", "universe.discovery.enabled"),
            "is empty and universe.discovery.enabled is false; name at least one symbol",
        )
    elif named <= set(settings.universe.exclude):
        yield Broken(
            ("universe.exclude", "universe.training_symbols", "universe.discovery.enabled"),
            "leaves nothing of universe.training_symbols and universe.discovery.enabled is false; keep one symbol",
        )


def _addresses(settings: SettingsTree) -> Iterator[Broken]:
    for name, url, schemes in (
        ("exchange.base_url", settings.exchange.base_url, {"http", "https"}),
        ("exchange.ws_url", settings.exchange.ws_url, {"ws", "wss"}),
    ):
        if url is None:
            continue
        place = urlparse(url)
        official = place.hostname in OFFICIAL_HOSTS and place.scheme in {"https", "wss"}
        if place.scheme not in schemes or not (official or place.hostname in LOOPBACK_HOSTS):
            yield Broken(
                (name,),
                f"{url!r} is neither a loopback address nor an official host of the venue; "
                f"write {' or '.join(sorted(schemes))} with 127.0.0.1, or null",
            )


def _live_only(settings: SettingsTree) -> Iterator[Broken]:
    if settings.environment != "live":
        return
    gates = settings.model.ensemble
    for name, on in (
        ("exchange.enableRateLimit", settings.exchange.enableRateLimit),
        ("model.ensemble.skill_gate", gates.skill_gate),
        ("model.ensemble.ev_gate", gates.ev_gate),
        ("model.ensemble.outlier_gate", gates.outlier_gate),
    ):
        if not on:
            yield Broken((name, "environment"), "false is refused in live; write true")
    if settings.data.allow_synthetic_fallback:
        yield Broken(("data.allow_synthetic_fallback", "environment"), "true is refused in live; write false")


def _touches(keys: tuple[str, ...], refused: Collection[str]) -> bool:
    return any(name == bad or name.startswith(f"{bad}.") for name in keys for bad in refused)

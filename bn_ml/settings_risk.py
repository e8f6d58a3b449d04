"""The risk section: capital, limits, sizing, costs, exits and breakers."""

from __future__ import annotations

from typing import Literal

from bn_ml.settings_base import (
    FRACTION,
    SHARE,
    Section,
    Span,
    SymbolText,
    at_least,
    between,
    key,
    more_than,
)

QUOTE_UNITS = "quote units"


class ProfileConfidence(Section):
    """Least market-mood confidence that blocks entries, per profile."""

    aggressive: float = key(0.64, "under the aggressive profile", between(0, 1), FRACTION)
    neutral: float = key(0.70, "under the neutral profile", between(0, 1), FRACTION)
    defensive: float = key(0.78, "under the defensive profile", between(0, 1), FRACTION)


class CircuitBreakerSettings(Section):
    """Rules that stop all entries."""

    max_consecutive_losses: int = key(3, "losses in a row that pause entries", between(1, 20), "trades")
    loss_pause_hours: float = key(
        12, "length of that pause; half size afterwards until a win", between(1, 168), "hours"
    )
    volatility_spike_ratio: float = key(
        1.5, "entries stop when the benchmark's ATR exceeds its baseline this many times", between(1, 20), "times"
    )
    volatility_baseline_window: int = key(96, "bars of the ATR baseline", at_least(20), "bars")
    volatility_benchmark_symbol: SymbolText = key(
        "BTC/USDC", "symbol whose volatility is watched", allowed="symbol such as BTC/<quote>"
    )
    drift_block_enabled: bool = key(True, "drift stops entries")
    market_intelligence_block_enabled: bool = key(True, "a bearish market mood stops entries")
    market_intelligence_block_on_risk_off: bool = key(True, "a risk-off regime stops entries")
    market_intelligence_min_confidence: float = key(
        0.72, "least confidence of a mood that blocks, for a profile not listed below", between(0, 1), FRACTION
    )
    market_intelligence_min_confidence_by_profile: ProfileConfidence = ProfileConfidence()
    market_intelligence_score_block_threshold: float | None = key(
        None, "market score that stops entries; null uses the profile's floor", between(-1, 1), "score"
    )


class RiskSettings(Section):
    """What may be lost, held and paid."""

    capital_total: float | Literal["auto"] = key(
        1000, "capital of the bot; auto (live) is free quote plus own positions", more_than(0), QUOTE_UNITS
    )
    max_live_capital_usdt: float = key(100, "hard ceiling of capital in live until raised", more_than(0), QUOTE_UNITS)
    min_capital_usdt: float = key(50, "no entries below this equity", at_least(0), QUOTE_UNITS)
    capital_active_ratio: float = key(0.6, "share of capital that trades", between(0, 1), FRACTION)
    reserve_ratio: float = key(0.3, "share of capital held back", between(0, 1), FRACTION)
    cash_buffer_ratio: float = key(0.1, "share of capital kept as cash", between(0, 1), FRACTION)

    max_open_positions: int = key(5, "most positions at a time", between(1, 50), "positions")
    max_position_size_usdt: float = key(100, "largest position", more_than(0), QUOTE_UNITS)
    max_position_pct_active: float = key(0.20, "largest position as a share of active capital", SHARE, FRACTION)
    min_position_pct_active: float = key(
        0.01, "smallest position as a share of active capital", between(0, 1), FRACTION
    )
    max_exposure_pct: float = key(0.5, "most held in all, as a share of equity", SHARE, FRACTION)
    max_symbol_exposure_pct: float = key(0.15, "most held in one symbol, as a share of equity", SHARE, FRACTION)
    max_cluster_exposure_pct: float = key(
        0.30, "most held in one correlated group, as a share of equity", SHARE, FRACTION
    )
    max_correlation: float = key(0.7, "highest correlation with a held symbol", SHARE, FRACTION)
    correlation_window_bars: int = key(192, "bars correlations are measured over", at_least(20), "bars")
    correlation_cluster: float = key(0.6, "symbols correlated above this form a group", SHARE, FRACTION)
    symbol_cooldown_min: float = key(60, "no entry in a symbol this long after a loss in it", at_least(0), "minutes")

    risk_per_trade_pct: float = key(0.005, "equity lost when the stop is hit", Span(0, 0.1, above=True), FRACTION)
    max_daily_risk_pct: float = key(0.02, "planned loss opened in a UTC day", SHARE, FRACTION)
    max_weekly_risk_pct: float = key(0.06, "planned loss opened in a UTC week", SHARE, FRACTION)
    max_loss_per_day: float = key(0.03, "loss of the day's opening equity that stops entries", SHARE, FRACTION)
    max_loss_per_week: float = key(0.06, "loss of the week's opening equity that stops entries", SHARE, FRACTION)
    max_drawdown_pct: float = key(0.10, "fall from the equity peak that halts trading", SHARE, FRACTION)
    max_position_drawdown_pct: float = key(0.03, "loss of one position that closes it", SHARE, FRACTION)
    max_var_pct: float = key(0.03, "highest one-day value at risk, of equity", SHARE, FRACTION)
    var_confidence: float = key(0.95, "confidence of the value at risk", between(0.5, 0.999), FRACTION)
    var_window_days: int = key(30, "days the value at risk is measured over", between(5, 365), "days")

    method: Literal["kelly_vol", "vol_target", "fixed"] = key("kelly_vol", "how a position is sized")
    kelly_fraction: float = key(0.25, "part of the full Kelly bet", Span(0, 0.5, above=True), FRACTION)
    kelly_min_trades: int = key(30, "closed trades before Kelly takes part", at_least(0), "trades")
    target_daily_vol_pct: float = key(0.01, "daily volatility a position is sized for, of equity", SHARE, FRACTION)
    portfolio: Literal["correlation_aware", "inverse_vol", "none"] = key(
        "correlation_aware", "how candidates share the exposure"
    )

    fees_pct: float = key(0.001, "fee per side; live uses the account's own rate", between(0, 0.01), FRACTION)
    slippage_pct: float = key(0.0005, "slippage assumed per side", between(0, 0.01), FRACTION)
    min_net_profit_pct: float = key(
        0.003, "least profit expected at the first target after costs", between(0, 0.05), FRACTION
    )

    exit_mode: Literal["fixed", "atr"] = key("fixed", "levels as fixed fractions or as multiples of ATR")
    stop_loss_pct: float = key(0.015, "stop below the entry", between(0.002, 0.2), FRACTION)
    take_profit_1_pct: float = key(0.02, "first target above the entry", SHARE, FRACTION)
    take_profit_1_fraction: float = key(0.5, "part of the position sold at the first target", SHARE, FRACTION)
    take_profit_2_pct: float = key(0.035, "second target above the entry", SHARE, FRACTION)
    take_profit_2_fraction: float = key(0.3, "part sold at the second target; the rest runs on", SHARE, FRACTION)
    stop_loss_atr_mult: float = key(1.5, "stop below the entry in atr mode", Span(0, 20, above=True), "ATR")
    take_profit_1_atr_mult: float = key(2.0, "first target in atr mode", Span(0, 50, above=True), "ATR")
    take_profit_2_atr_mult: float = key(3.5, "second target in atr mode", Span(0, 50, above=True), "ATR")
    stop_min_pct: float = key(0.005, "closest stop in atr mode", between(0.002, 0.2), FRACTION)
    stop_max_pct: float = key(0.05, "farthest stop in atr mode", between(0.002, 0.2), FRACTION)
    atr_ohlcv_limit: int = key(150, "bars the ATR is computed from", between(20, 1000), "bars")
    trailing_enabled: bool = key(True, "let the stop follow the highest price")
    trailing_after: Literal["tp1", "pct"] = key("tp1", "what starts the trailing stop")
    trailing_activation_pct: float = key(
        0.02, "gain that starts the trailing stop when `pct` is chosen", SHARE, FRACTION
    )
    trailing_distance_pct: float = key(0.01, "distance below the highest price in fixed mode", SHARE, FRACTION)
    trailing_atr_mult: float = key(1.0, "distance below the highest price in atr mode", Span(0, 20, above=True), "ATR")
    breakeven_after_tp1: bool = key(True, "raise the stop to the entry plus fees after the first target")
    max_holding_period: float = key(24, "a position is closed after this time", between(1, 720), "hours")
    sell_signal_exit: bool = key(False, "a SELL signal closes the position")

    circuit_breakers: CircuitBreakerSettings = CircuitBreakerSettings()

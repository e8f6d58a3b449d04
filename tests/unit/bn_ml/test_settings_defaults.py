"""Every key has the promised default; sections build alone and refuse silent conversions."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bn_ml.config import lookup
from bn_ml.errors import ConfigError
from bn_ml.settings import EnsembleSettings, RiskSettings, SantradeIntelligenceSettings, Settings
from bn_ml.settings_base import facts_of, plain_value, walk_keys

SYMBOLS = ["BTC/USDC", "ETH/USDC", "SOL/USDC", "BNB/USDC", "XRP/USDC", "ADA/USDC", "DOGE/USDC"]
PROFILES = {
    "aggressive": [6, 0.14, -0.14, 0.026, 0.003, 0.58, 1, 0.0004, 12, 0.65, 0.45, 0.5, 0.22, 0.2, 0.08, 0.22, -0.45],
    "neutral": [8, 0.22, -0.22, 0.018, 0.0018, 0.68, 2, 0.0006, 24, 0.45, 0.3, 0.48, 0.22, 0.2, 0.1, 0.3, -0.35],
    "defensive": [12, 0.3, -0.28, 0.014, 0.0012, 0.78, 2, 0.0005, 36, 0.3, 0.22, 0.46, 0.2, 0.18, 0.16, 0.42, -0.28],
}
PROFILE_KEYS = [
    "min_pairs",
    "bullish_threshold",
    "bearish_threshold",
    "atr_risk_off_ratio",
    "spread_risk_off_pct",
    "min_directional_confidence",
    "min_directional_streak",
    "online_target_hold_band_pct",
    "min_samples_for_model",
    "model_blend_weight",
    "signal_smoothing_alpha",
    "breadth_weight",
    "momentum_weight",
    "ml_weight",
    "global_weight",
    "risk_penalty_weight",
    "score_floor",
]

EXPECTED = """
environment paper | base_quote USDC | log_level INFO
exchange: name binance | testnet null | enableRateLimit true | rate_limit_ms 50 | timeout_ms 10000 | retry_attempts 3
exchange: retry_backoff_sec 0.5 | recv_window_ms 5000 | base_url null | ws_url null | weight_budget_pct 0.7
exchange.orders: entry_type limit_ioc | entry_slippage_cap_pct 0.001 | limit_timeout_sec 30 | max_orders_per_min 10
exchange.orders: max_notional_per_day_usdt 1000 | stop_replace_min_interval_sec 60
data: paper_market_data_mode live | allow_synthetic_fallback false | replay_dir artifacts/history | replay_from null
data: replay_to null | replay_speed max | synthetic_seed 42 | history_dir artifacts/history | max_quote_age_entry_sec 5
data: max_quote_age_exit_sec 15 | max_bar_delay_sec 90 | max_gap_bars 3 | synthetic_profile planted
data: synthetic_strength 0.25 | synthetic_speed 60
universe: auto_train_missing true | auto_train_batch 5 | train_max_symbols 120 | train_missing_only true
universe.discovery: enabled false | refresh_sec 900 | min_24h_volume_usdt 1000000 | min_listing_days 30 | train true
universe.discovery: exclude_leveraged true | exclude_stables true | exclude_fiat true
scanner: scan_interval_sec 300 | exit_interval_sec 5 | top_n 10 | max_pairs 150 | ohlcv_limit 500 | min_score 6
scanner: min_confidence 0.42 | spread_max_pct 0.0015 | depth_min_usdt 50000 | workers 2
scanner.weights: ml 0.5 | technical 0.3 | momentum 0.2
scanner.dynamic_pair_filters: enabled true | spread_factor_major 1.1 | spread_factor_alt 0.95 | depth_factor_major 0.9
scanner.dynamic_pair_filters: depth_factor_alt 1.1 | correlation_bonus_major 0.05 | correlation_penalty_alt -0.05
scanner.dynamic_pair_filters: correlation_limit_benchmark 1
model: random_state 42 | models_dir models | training_window_days 365 | train_ohlcv_limit 0 | min_train_rows 3000
model: max_bundle_age_hours 336 | keep_versions 3 | pooled_warm_start true
model.features: limit 50 | families all | market_context true | patterns true
model.multi_timeframe: enabled true | base_timeframe 15m | prefix mtf | min_bars_per_timeframe 200
model.multi_timeframe: max_bars_per_timeframe 600 | extra_bars_buffer 96
model.labeling: horizon_bars 10 | method barrier | volatility_window 96 | volatility_multiplier 0.6
model.labeling: atr_multiplier 0.35 | min_move_pct 0.003 | max_move_pct 0.02 | round_trip_cost_multiplier 2
model.labeling: cost_safety_multiplier 1.35 | balance none
model.validation: train_ratio 0.7 | folds 5 | purge_bars auto | embargo_bars 96
model.execution: cost_multiplier 1
model.hpo: enabled true | backend optuna | rf_trials 20 | xgb_trials 15 | lgb_trials 15 | max_samples 20000
model.hpo: max_splits 4 | parallel 1 | pruning true | timeout_sec 0 | objective log_loss | objective_weight_sharpe 0.35
model.hpo: objective_weight_sortino 0.3 | objective_weight_return 0.25 | objective_weight_accuracy 0.1
model.hpo: objective_weight_drawdown 0.1 | objective_weight_turnover 0.05
model.rf: n_estimators 300 | max_depth 8 | min_samples_leaf 50 | max_features sqrt
model.xgb: n_estimators 500 | max_depth 3 | learning_rate 0.03 | subsample 0.9 | colsample_bytree 0.5 | reg_alpha 0.01
model.xgb: reg_lambda 10 | early_stopping_rounds 40
model.lgb: enabled true | n_estimators 400 | max_depth -1 | num_leaves 8 | learning_rate 0.03 | subsample 0.8
model.lgb: colsample_bytree 0.4 | reg_alpha 0.01 | reg_lambda 10 | min_child_samples 30
model.lstm: enabled false | backend auto | sequence_length 64 | hidden_size 128 | hidden_size_2 64 | epochs 30
model.lstm: batch_size 64 | dropout 0.25 | alpha 0.0001
model.ensemble: calibration auto | min_buy_proba 0.42 | min_sell_proba 0.42 | min_margin 0.07 | hold_bias 0.02
model.ensemble: shrink_to_equal 0.5 | skill_gate true | ev_gate true | outlier_gate true
model.drift: enabled true | baseline_window 240 | recent_window 64 | psi_threshold 0.25 | ks_threshold 0.24
model.drift: p_value_threshold 0.05 | vol_ratio_threshold 1.8 | loss_cusum_threshold auto | false_alarm_days 30
model.drift: benchmark_symbol BTC/USDC
model.retraining: enabled true | interval_hours 24 | check_interval_sec 60 | max_model_age_hours 168
model.retraining: degradation_trigger_pct 0.15 | on_drift true | cooldown_hours 6 | batch_size 5 | hpo true
model.retraining: champion_challenger true | nice 15 | max_cpu 1
model.training: backend processes | scheduler ''
model.acceleration: gpu_enable auto | device auto | allow_cuda_fallback true | cpu_n_jobs auto
santrade_intelligence: enabled true | profile defensive | runtime_interval_sec 300 | benchmark_symbol BTC/USDC
santrade_intelligence: online_alpha 0.0005 | persist_every_updates 1 | filter_entries true | scale_size true
santrade_intelligence: state_path artifacts/state/santrade_intelligence.joblib
model_sync: enabled false | repo_dir '' | remote origin | branch main | repo_models_subdir models | timezone UTC
model_sync.publisher: schedule 00:00 | train_before_push true
model_sync.client: schedule 06:00
model_sync.runpod_client: schedule 03:00
model_sync.runpod: enabled false | trigger_url '' | status_url_template '' | api_key_env RUNPOD_API_KEY
model_sync.runpod: trigger_method POST | request_timeout_sec 20 | poll_interval_sec 10 | job_timeout_sec 3600
model_sync.runpod: download_timeout_sec 300 | max_archive_mb 512 | extract_subdir models
risk: capital_total 1000 | max_live_capital_usdt 100 | min_capital_usdt 50 | capital_active_ratio 0.6
risk: reserve_ratio 0.3 | cash_buffer_ratio 0.1 | max_open_positions 5 | max_position_size_usdt 100
risk: max_position_pct_active 0.2 | min_position_pct_active 0.01 | max_exposure_pct 0.5 | max_symbol_exposure_pct 0.15
risk: max_cluster_exposure_pct 0.3 | max_correlation 0.7 | correlation_window_bars 192 | correlation_cluster 0.6
risk: symbol_cooldown_min 60 | risk_per_trade_pct 0.005 | max_daily_risk_pct 0.02 | max_weekly_risk_pct 0.06
risk: max_loss_per_day 0.03 | max_loss_per_week 0.06 | max_drawdown_pct 0.1 | max_position_drawdown_pct 0.03
risk: max_var_pct 0.03 | var_confidence 0.95 | var_window_days 30 | method kelly_vol | kelly_fraction 0.25
risk: kelly_min_trades 30 | target_daily_vol_pct 0.01 | portfolio correlation_aware | fees_pct 0.001
risk: slippage_pct 0.0005 | min_net_profit_pct 0.003 | exit_mode fixed | stop_loss_pct 0.015 | take_profit_1_pct 0.02
risk: take_profit_1_fraction 0.5 | take_profit_2_pct 0.035 | take_profit_2_fraction 0.3 | stop_loss_atr_mult 1.5
risk: take_profit_1_atr_mult 2 | take_profit_2_atr_mult 3.5 | stop_min_pct 0.005 | stop_max_pct 0.05
risk: atr_ohlcv_limit 150 | trailing_enabled true | trailing_after tp1 | trailing_activation_pct 0.02
risk: trailing_distance_pct 0.01 | trailing_atr_mult 1 | breakeven_after_tp1 true | max_holding_period 24
risk: sell_signal_exit false
risk.circuit_breakers: max_consecutive_losses 3 | loss_pause_hours 12 | volatility_spike_ratio 1.5
risk.circuit_breakers: volatility_baseline_window 96 | volatility_benchmark_symbol BTC/USDC | drift_block_enabled true
risk.circuit_breakers: market_intelligence_block_enabled true | market_intelligence_block_on_risk_off true
risk.circuit_breakers: market_intelligence_min_confidence 0.72 | market_intelligence_score_block_threshold null
risk.circuit_breakers.market_intelligence_min_confidence_by_profile: aggressive 0.64 | neutral 0.7 | defensive 0.78
monitoring: logs_dir artifacts/logs | metrics_dir artifacts/metrics | log_format text | log_max_mb 10 | log_backups 5
monitoring.realtime_prices: enabled true | include_scan_pairs true | max_symbols 30 | reconnect_delay_sec 3
monitoring.alerting: enabled true | min_level INFO | dedupe_sec 300 | timeout_sec 5 | max_per_hour 20
monitoring.alerting: daily_digest 07:00 | heartbeat_interval_sec 60
monitoring.alerting.webhook: enabled false
monitoring.alerting.telegram: enabled false
monitoring.alerting.email: enabled false | from '' | use_tls true | subject_prefix [BN-ML]
monitoring.dashboard: auto_launch true | script monitoring/dashboard.py | address 127.0.0.1 | port 8501
monitoring.dashboard: auto_refresh_sec 5 | full_screen_default true | timeframe_default 4h | live_market_enabled true
monitoring.dashboard: scan_stale_sec 900 | theme dark
public_api: host 127.0.0.1 | port 8000 | public_market false | ws_poll_sec 2 | default_limit 50
storage: sqlite_path artifacts/state/bn_ml.db | min_free_disk_mb 500
storage.retention_days: cycles 180 | model_metrics 365 | telemetry 30
storage.backup: enabled true | base_dir artifacts/backups | interval_minutes 60 | keep_last 48 | keep_daily 30
storage.backup: include_state_db true | include_metrics true | include_logs false | include_models true
backtest: ohlcv_limit 0 | initial_capital 1000 | latency_bars 0 | max_participation_pct 0.01 | random_entry_runs 200
"""
LISTS: dict[str, object] = {
    "universe.training_symbols": SYMBOLS,
    "universe.exclude": [],
    "scanner.dynamic_pair_filters.major_bases": ["BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE"],
    "scanner.dynamic_pair_filters.by_symbol": {},
    "model.trusted_keys": [],
    "model.multi_timeframe.timeframes": ["1h", "4h", "1d"],
    "model.multi_timeframe.feature_columns": [
        "ema_9",
        "ema_21",
        "ema_50",
        "macd_hist",
        "rsi_14",
        "atr_ratio",
        "bb_percent_b",
        "volume_ratio_20",
        "roc_1h",
        "roc_4h",
        "dist_high_24h",
        "dist_low_24h",
        "adx_14",
        "stoch_k",
        "cci_20",
        "keltner_pct",
        "vol_regime_ratio",
        "supertrend_direction",
    ],
    "model_sync.runpod.trigger_payload": {"input": {"task": "train_only"}},
    "model_sync.runpod.headers": {},
    "model_sync.runpod.allowed_download_hosts": [],
    "monitoring.alerting.email.to": [],
    "public_api.cors_origins": [],
    "public_api.allowed_hosts": ["localhost", "127.0.0.1"],
}


def expected_defaults() -> dict[str, str]:
    table: dict[str, str] = {}
    for line in EXPECTED.strip().splitlines():
        section, colon, rest = line.partition(": ")
        for pair in (rest if colon else line).split(" | "):
            name, _, value = pair.partition(" ")
            table[f"{section}.{name}" if colon else name] = value
    return table


def as_written(value: object) -> str:
    words = {None: "null", True: "true", False: "false", "": "''"}
    if isinstance(value, (bool, type(None))) or value == "":
        return words[value]
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def test_every_plain_key_has_its_promised_default() -> None:
    found = {name: as_written(plain_value(lookup(Settings(), name))) for name in expected_defaults()}
    assert found == expected_defaults()


@pytest.mark.parametrize("name", sorted(LISTS))
def test_list_has_its_promised_default(name: str) -> None:
    assert plain_value(lookup(Settings(), name)) == LISTS[name]


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_profile_has_its_promised_numbers(profile: str) -> None:
    numbers = plain_value(lookup(Settings(), f"santrade_intelligence.profiles.{profile}"))
    assert numbers == dict(zip(PROFILE_KEYS, PROFILES[profile], strict=True))


def test_no_key_exists_beyond_the_promised_ones() -> None:
    promised = {*expected_defaults(), *LISTS, *(f"santrade_intelligence.{name}" for name in PROFILE_KEYS)}
    promised |= {f"santrade_intelligence.profiles.{profile}.{name}" for profile in PROFILES for name in PROFILE_KEYS}
    assert {name for name, _ in walk_keys(Settings)} == promised


def test_every_key_says_what_it_means_and_what_it_allows() -> None:
    mute = [name for name, field in walk_keys(Settings) if not (facts_of(field).meaning and facts_of(field).allowed)]
    assert mute == []


def test_sections_build_alone() -> None:
    assert RiskSettings(max_open_positions=3).max_open_positions == 3
    assert RiskSettings().circuit_breakers.max_consecutive_losses == 3


def test_sections_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        RiskSettings().max_open_positions = 4


@pytest.mark.parametrize("value", ["3", 3.0, True, None])
def test_whole_number_key_takes_nothing_else(value: object) -> None:
    with pytest.raises(ValidationError):
        RiskSettings.model_validate({"max_open_positions": value})


@pytest.mark.parametrize("value", ["0.5", True, None, float("nan"), float("inf")])
def test_number_key_takes_finite_numbers_only(value: object) -> None:
    with pytest.raises(ValidationError):
        RiskSettings.model_validate({"max_exposure_pct": value})


@pytest.mark.parametrize(("value", "allowed"), [(1, True), (50, True), (0, False), (51, False)])
def test_limits_of_a_range_belong_to_it(value: int, allowed: bool) -> None:
    problems = 0
    try:
        RiskSettings(max_open_positions=value)
    except ValidationError:
        problems = 1
    assert (problems == 0) is allowed


@pytest.mark.parametrize(("value", "allowed"), [(0.34, True), (0.95, True), (0.339, False), (0.951, False)])
def test_least_buy_probability_keeps_its_range(value: float, allowed: bool) -> None:
    problems = 0
    try:
        EnsembleSettings(min_buy_proba=value)
    except ValidationError:
        problems = 1
    assert (problems == 0) is allowed


@pytest.mark.parametrize(("value", "allowed"), [(0, True), (1000, True), (999, False), (-1, False)])
def test_bar_cap_is_zero_or_at_least_a_thousand(value: int, allowed: bool) -> None:
    problems = 0
    try:
        Settings.from_mapping({"model": {"train_ohlcv_limit": value}})
    except ConfigError:
        problems = 1
    assert (problems == 0) is allowed


def test_minimal_mapping_takes_defaults_for_the_rest() -> None:
    given = {"exchange": {"name": "binance", "enableRateLimit": True}, "risk": {"max_position_size_usdt": 100}}
    assert Settings.from_mapping(given) == Settings()


def test_another_quote_asset_moves_the_default_symbols() -> None:
    settings = Settings.from_mapping({"base_quote": "eur"})
    assert settings.universe.training_symbols[0] == "BTC/EUR"
    assert settings.model.drift.benchmark_symbol == "BTC/EUR"
    assert settings.risk.circuit_breakers.volatility_benchmark_symbol == "BTC/EUR"


def test_quote_mark_in_a_symbol_stands_for_the_quote_asset() -> None:
    settings = Settings.from_mapping({"base_quote": "EUR", "universe": {"training_symbols": ["ETH/<quote>"]}})
    assert settings.universe.training_symbols == ("ETH/EUR",)


def test_partial_profile_keeps_the_profiles_other_numbers() -> None:
    settings = Settings.from_mapping({"santrade_intelligence": {"profiles": {"aggressive": {"min_pairs": 3}}}})
    assert settings.santrade_intelligence.profiles.aggressive.min_pairs == 3
    assert settings.santrade_intelligence.profiles.aggressive.score_floor == -0.45


def test_numbers_in_the_section_win_over_the_profile() -> None:
    numbers = SantradeIntelligenceSettings(profile="aggressive", min_pairs=4).numbers()
    assert (numbers.min_pairs, numbers.bullish_threshold) == (4, 0.14)


def test_whole_numbers_and_paths_arrive_in_their_types() -> None:
    settings = Settings.from_mapping({"risk": {"capital_total": 500}, "model": {"models_dir": "elsewhere"}})
    assert isinstance(settings.risk.capital_total, float)
    assert settings.model.models_dir == Path("elsewhere")


def test_empty_section_means_defaults() -> None:
    assert Settings.from_mapping({"risk": None, "model": {"rf": None}}) == Settings()

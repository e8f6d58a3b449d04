"""The model section: features, labels, training, ensemble, drift, retraining, acceleration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator

from bn_ml.settings_base import (
    FRACTION,
    SHARE,
    FilePath,
    Section,
    Span,
    SymbolText,
    Texts,
    at_least,
    between,
    key,
    more_than,
)

FamilyName = Literal[
    "returns",
    "trend",
    "momentum",
    "volatility",
    "volume",
    "structure",
    "patterns",
    "time",
    "mtf",
    "market",
    "liquidity",
]
HigherTimeframe = Literal["1h", "4h", "1d"]
MTF_COLUMNS = (
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
)


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class FeatureSettings(Section):
    """Which columns the models see."""

    limit: int = key(50, "columns kept after selection", between(5, 200), "columns")
    families: Literal["all"] | Annotated[tuple[FamilyName, ...], BeforeValidator(_as_tuple)] = key(
        "all",
        "families computed",
        allowed="all, or a list of " + " ".join(get_args(FamilyName)),
    )
    market_context: bool = key(True, "add benchmark, breadth and dispersion columns")
    patterns: bool = key(True, "add candlestick patterns")


class MultiTimeframeSettings(Section):
    """Columns of longer timeframes joined to the base bars by close time."""

    enabled: bool = key(True, "add columns of longer timeframes")
    base_timeframe: Literal["15m"] = key("15m", "timeframe of rows and decisions")
    timeframes: Annotated[tuple[HigherTimeframe, ...], BeforeValidator(_as_tuple)] = key(
        ("1h", "4h", "1d"), "longer timeframes joined", allowed="list of 1h 4h 1d"
    )
    prefix: str = key("mtf", "first word of the columns' names")
    min_bars_per_timeframe: int = key(200, "closed bars each column is computed on", at_least(50), "bars")
    max_bars_per_timeframe: int = key(600, "most bars fetched of a timeframe", at_least(50), "bars")
    extra_bars_buffer: int = key(96, "bars fetched beyond the need", at_least(0), "bars")
    feature_columns: Texts = key(MTF_COLUMNS, "columns computed on each timeframe", allowed="list of column names")


class LabelingSettings(Section):
    """What the models learn to tell apart."""

    horizon_bars: int = key(10, "bars ahead a label looks", between(2, 96), "bars")
    method: Literal["barrier", "threshold"] = key("barrier", "first barrier touched, or return at the horizon")
    volatility_window: int = key(96, "bars volatility is measured over", between(10, 2000), "bars")
    volatility_multiplier: float = key(0.6, "width of the band per volatility", Span(0, 20, above=True), "times")
    atr_multiplier: float = key(0.35, "width of the band per ATR", Span(0, 20, above=True), "times")
    min_move_pct: float = key(0.003, "narrowest band", SHARE, FRACTION)
    max_move_pct: float = key(0.02, "widest band", SHARE, FRACTION)
    round_trip_cost_multiplier: float = key(2.0, "least move in round-trip costs", between(0, 20), "times")
    cost_safety_multiplier: float = key(1.35, "raises that least move", between(1, 10), "times")
    balance: Literal["none", "smote"] = key("none", "class balancing; it hurts calibration")


class ValidationSettings(Section):
    """How time is split between learning and judging."""

    train_ratio: float = key(
        0.70, "oldest part, for fitting; the rest is split calibrate, select, report", between(0.5, 0.9), FRACTION
    )
    folds: int = key(5, "purged folds inside the fitting part", between(3, 10), "folds")
    purge_bars: Literal["auto"] | int = key(
        "auto", "bars dropped between the parts; auto is the label length", at_least(0), "bars"
    )
    embargo_bars: int = key(96, "bars dropped after each judged part", at_least(0), "bars")


class ExecutionSettings(Section):
    """Costs assumed while judging."""

    cost_multiplier: float = key(1.0, "stress on the costs assumed in validation", between(0.5, 5), "times")


class HpoSettings(Section):
    """Search of hyperparameters."""

    enabled: bool = key(True, "search at all")
    backend: Literal["optuna", "grid"] = key("optuna", "search method; grid needs no extra package")
    rf_trials: int = key(20, "trials of the random forest", between(1, 500), "trials")
    xgb_trials: int = key(15, "trials of XGBoost", between(1, 500), "trials")
    lgb_trials: int = key(15, "trials of LightGBM", between(1, 500), "trials")
    max_samples: int = key(20000, "most rows used in a trial", at_least(500), "rows")
    max_splits: int = key(4, "most folds used in a trial", between(2, 10), "folds")
    parallel: int = key(1, "searches run side by side", between(1, 16), "searches")
    pruning: bool = key(True, "give up hopeless trials early")
    timeout_sec: float = key(0, "longest search of one member; 0 is none", at_least(0), "seconds")
    objective: Literal["log_loss", "weighted"] = key("log_loss", "what a trial is judged by")
    objective_weight_sharpe: float = key(0.35, "weighted objective: Sharpe", between(0, 1), FRACTION)
    objective_weight_sortino: float = key(0.30, "weighted objective: Sortino", between(0, 1), FRACTION)
    objective_weight_return: float = key(0.25, "weighted objective: net return", between(0, 1), FRACTION)
    objective_weight_accuracy: float = key(0.10, "weighted objective: accuracy", between(0, 1), FRACTION)
    objective_weight_drawdown: float = key(0.10, "weighted objective: penalty of drawdown", between(0, 1), FRACTION)
    objective_weight_turnover: float = key(0.05, "weighted objective: penalty of turnover", between(0, 1), FRACTION)


class RfSettings(Section):
    """Random forest."""

    n_estimators: int = key(300, "trees", between(10, 5000), "trees")
    max_depth: int = key(8, "deepest tree", between(1, 64), "levels")
    min_samples_leaf: int = key(50, "least rows in a leaf", at_least(1), "rows")
    max_features: Literal["sqrt", "log2"] | float = key("sqrt", "columns tried at a split", SHARE)


class XgbSettings(Section):
    """XGBoost."""

    n_estimators: int = key(500, "most trees", between(10, 10000), "trees")
    max_depth: int = key(3, "deepest tree", between(1, 16), "levels")
    learning_rate: float = key(0.03, "step of each tree", SHARE, FRACTION)
    subsample: float = key(0.9, "share of rows per tree", SHARE, FRACTION)
    colsample_bytree: float = key(0.5, "share of columns per tree", SHARE, FRACTION)
    reg_alpha: float = key(0.01, "L1 penalty", at_least(0))
    reg_lambda: float = key(10, "L2 penalty", at_least(0))
    early_stopping_rounds: int = key(40, "trees without gain before stopping", at_least(1), "trees")


class LgbSettings(Section):
    """LightGBM."""

    enabled: bool = key(True, "take part in the ensemble")
    n_estimators: int = key(400, "most trees", between(10, 10000), "trees")
    max_depth: int = key(-1, "deepest tree; -1 is unlimited", between(1, 64, also=-1), "levels")
    num_leaves: int = key(8, "leaves per tree", between(2, 1024), "leaves")
    learning_rate: float = key(0.03, "step of each tree", SHARE, FRACTION)
    subsample: float = key(0.8, "share of rows per tree", SHARE, FRACTION)
    colsample_bytree: float = key(0.4, "share of columns per tree", SHARE, FRACTION)
    reg_alpha: float = key(0.01, "L1 penalty", at_least(0))
    reg_lambda: float = key(10, "L2 penalty", at_least(0))
    min_child_samples: int = key(30, "least rows in a leaf", at_least(1), "rows")


class LstmSettings(Section):
    """Optional sequence member."""

    enabled: bool = key(False, "take part in the ensemble")
    backend: Literal["auto", "torch", "mlp"] = key(
        "auto", "recurrent network where torch is installed, else a sequence MLP"
    )
    sequence_length: int = key(64, "rows per sequence", between(8, 256), "bars")
    hidden_size: int = key(128, "width of the first layer", between(4, 2048), "units")
    hidden_size_2: int = key(64, "width of the second layer, 0 for none", between(0, 2048), "units")
    epochs: int = key(30, "most passes over the data", between(1, 1000), "passes")
    batch_size: int = key(64, "rows per step", between(1, 8192), "rows")
    dropout: float = key(0.25, "share of units dropped while fitting", between(0, 0.9), FRACTION)
    alpha: float = key(0.0001, "L2 penalty", at_least(0))


class EnsembleSettings(Section):
    """The vote and the gates a signal must pass."""

    calibration: Literal["auto", "dirichlet", "vector", "temperature", "isotonic", "sigmoid", "none"] = key(
        "auto", "how probabilities are calibrated; auto picks by number of rows"
    )
    min_buy_proba: float = key(0.42, "least probability of a BUY", between(0.34, 0.95), FRACTION)
    min_sell_proba: float = key(0.42, "least probability of a SELL", between(0.34, 0.95), FRACTION)
    min_margin: float = key(0.07, "least lead over the second class", between(0, 0.5), FRACTION)
    hold_bias: float = key(0.02, "head start of HOLD", between(0, 0.3), FRACTION)
    shrink_to_equal: float = key(0.5, "pull of the members' weights towards equal", between(0, 1), FRACTION)
    skill_gate: bool = key(True, "only proven bundles trade; false warns and is refused in live")
    ev_gate: bool = key(True, "only a positive expected return trades; false warns and is refused in live")
    outlier_gate: bool = key(True, "rows unlike the training data hold; false warns and is refused in live")


class DriftSettings(Section):
    """When the world no longer looks like the training data."""

    enabled: bool = key(True, "watch for drift")
    baseline_window: int = key(240, "bars of the reference", at_least(30), "bars")
    recent_window: int = key(64, "bars compared with it", at_least(10), "bars")
    psi_threshold: float = key(0.25, "population stability index that counts", more_than(0))
    ks_threshold: float = key(0.24, "Kolmogorov-Smirnov distance that counts", SHARE, FRACTION)
    p_value_threshold: float = key(0.05, "highest p-value that counts", SHARE, FRACTION)
    vol_ratio_threshold: float = key(1.8, "volatility ratio that counts", more_than(1), "times")
    loss_cusum_threshold: Literal["auto"] | float = key(
        "auto", "sum of excess log-loss that counts; auto is tuned to the false alarms", more_than(0)
    )
    false_alarm_days: float = key(30, "mean time between false alarms of a symbol", more_than(0), "days")
    benchmark_symbol: SymbolText = key(
        "BTC/USDC", "symbol of the market-wide test", allowed="symbol such as BTC/<quote>"
    )


class RetrainingSettings(Section):
    """When and how bundles are renewed in the background."""

    enabled: bool = key(True, "retrain in the background")
    interval_hours: float = key(24, "scheduled renewal", between(1, 720), "hours")
    check_interval_sec: int = key(60, "triggers are looked at this often", between(10, 3600), "seconds")
    max_model_age_hours: float = key(168, "older bundles are retrained", at_least(1), "hours")
    degradation_trigger_pct: float = key(
        0.15, "loss of quality against the bundle's own baseline that retrains", between(0.01, 1), FRACTION
    )
    on_drift: bool = key(True, "drift retrains")
    cooldown_hours: float = key(6, "least time between two trainings of a symbol", at_least(0), "hours")
    batch_size: int = key(5, "most symbols per run", between(1, 50), "symbols")
    hpo: bool = key(True, "search hyperparameters while retraining")
    champion_challenger: bool = key(True, "a new bundle replaces the old only if it is not worse")
    nice: int = key(15, "priority of the training process; higher yields more", between(0, 19))
    max_cpu: int = key(1, "cores the training process may use", between(1, 64), "cores")


class TrainingSettings(Section):
    """Where many symbols are trained at once."""

    backend: Literal["processes", "dask"] = key("processes", "processes of this machine, or a Dask cluster")
    scheduler: str = key("", "address of the cluster's scheduler, such as tcp://10.0.0.5:8786")


class AccelerationSettings(Section):
    """Graphics card and cores used for fitting."""

    gpu_enable: Literal["auto"] | bool = key("auto", "use a graphics card", allowed="auto, true, false")
    device: Literal["auto", "cpu", "cuda"] = key("auto", "device of XGBoost")
    allow_cuda_fallback: bool = key(True, "go on with the processor when the card fails")
    cpu_n_jobs: Literal["auto"] | int = key("auto", "cores used; -1 is all", between(1, 64, also=-1), "cores")


class ModelSettings(Section):
    """Training and judging of the ensemble."""

    random_state: int = key(42, "seed of everything random in training", at_least(0))
    models_dir: FilePath = key(Path("models"), "folder of the bundles")
    training_window_days: int = key(365, "history used, expanding up to this", between(45, 730), "days")
    train_ohlcv_limit: int = key(0, "most bars used; 0 is no cap", at_least(1000, also=0), "bars")
    min_train_rows: int = key(3000, "least labelled rows", at_least(500), "rows")
    max_bundle_age_hours: float = key(336, "an older bundle holds", between(1, 8760), "hours")
    keep_versions: int = key(3, "versions kept per symbol", between(1, 20), "versions")
    trusted_keys: Texts = key(
        (), "public keys whose bundles may load beside the local one", allowed="list of public keys"
    )
    pooled_warm_start: bool = key(True, "young symbols start from members fitted on all symbols")
    features: FeatureSettings = FeatureSettings()
    multi_timeframe: MultiTimeframeSettings = MultiTimeframeSettings()
    labeling: LabelingSettings = LabelingSettings()
    validation: ValidationSettings = ValidationSettings()
    execution: ExecutionSettings = ExecutionSettings()
    hpo: HpoSettings = HpoSettings()
    rf: RfSettings = RfSettings()
    xgb: XgbSettings = XgbSettings()
    lgb: LgbSettings = LgbSettings()
    lstm: LstmSettings = LstmSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    drift: DriftSettings = DriftSettings()
    retraining: RetrainingSettings = RetrainingSettings()
    training: TrainingSettings = TrainingSettings()
    acceleration: AccelerationSettings = AccelerationSettings()

"""The declared list of feature columns: each name once, with its family, function, parameters and warm-up.

The order here is the order of every feature matrix, and the hash of this list names the definition. A change of what a
function computes is a new definition too: raise `DEFINITION`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from bn_ml.domain.market import Timeframe

DEFINITION = 2
BASE_TIMEFRAME = Timeframe.M15
BASE_WINDOW_BARS = 2000

FAMILIES = (
    "returns",
    "trend",
    "momentum",
    "volatility",
    "volume",
    "structure",
    "patterns",
    "time",
    "liquidity",
    "mtf",
    "market",
)

Parameter = int | float | str


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One column: what it is called, what computes it, how many bars it needs before its first value.

    `warmup_bars` counts bars of the column's own timeframe. A row whose required column is NaN gives no signal.
    """

    name: str
    family: str
    function: str
    parameters: tuple[Parameter, ...] = ()
    warmup_bars: int = 0
    required: bool = True
    timeframe: str = BASE_TIMEFRAME.value


def feature_hash(specs: Sequence[ColumnSpec], window: tuple[int, ...] = ()) -> str:
    """Give the sha256 of the ordered declaration and of the windows it is computed on."""
    declared = {"definition": DEFINITION, "window": [BASE_WINDOW_BARS, *window], "columns": [astuple(s) for s in specs]}
    return hashlib.sha256(json.dumps(declared, separators=(",", ":")).encode()).hexdigest()


def higher_timeframe_specs(names: Sequence[str], timeframe: Timeframe, prefix: str, window: int) -> list[ColumnSpec]:
    """Give the columns repeated on a higher timeframe; young symbols may lack 4h and 1d."""
    by_name = {spec.name: spec for spec in BASE_SPECS}
    return [
        ColumnSpec(
            name=f"{prefix}_{timeframe.value}_{name}",
            family="mtf",
            function=by_name[name].function,
            parameters=by_name[name].parameters,
            warmup_bars=window,
            required=timeframe.ms <= Timeframe.H1.ms,
            timeframe=timeframe.value,
        )
        for name in names
    ]


def confluence_specs(prefix: str) -> list[ColumnSpec]:
    """Give the columns that compare the timeframes with each other."""
    return [ColumnSpec(f"{prefix}_{name}", "mtf", f"confluence_{name}") for name in CONFLUENCE]


def market_specs() -> list[ColumnSpec]:
    """Give the columns of the market around a symbol."""
    return [ColumnSpec(name, "market", "market_context", (name,), 200) for name in MARKET_COLUMNS]


REPEATED_COLUMNS = (
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
CONFLUENCE = (
    "trend_strength_mean",
    "trend_strength_std",
    "trend_consensus",
    "trend_conflict",
    "macd_consensus",
    "rsi_bias",
    "confluence_score",
)
MARKET_COLUMNS = (
    "market_benchmark_return_1",
    "market_benchmark_return_4",
    "market_benchmark_return_16",
    "market_benchmark_return_96",
    "market_equal_return_4",
    "market_equal_return_16",
    "market_equal_return_96",
    "market_relative_return_4",
    "market_relative_return_16",
    "market_relative_return_96",
    "market_dispersion_16",
    "market_breadth_16",
    "market_breadth_96",
    "market_correlation_96",
)


def _family(family: str, *rows: tuple[str, str, tuple[Parameter, ...], int]) -> tuple[ColumnSpec, ...]:
    return tuple(ColumnSpec(name, family, function, parameters, warmup) for name, function, parameters, warmup in rows)


BASE_SPECS: tuple[ColumnSpec, ...] = (
    *_family(
        "returns",
        ("ret_1", "return_z", (1,), 97),
        ("ret_2", "return_z", (2,), 97),
        ("roc_1h", "return_z", (4,), 97),
        ("ret_8", "return_z", (8,), 97),
        ("roc_4h", "return_z", (16,), 97),
        ("ret_32", "return_z", (32,), 97),
        ("roc_1d", "return_z", (96,), 97),
    ),
    *_family(
        "trend",
        ("ema_9", "ema_distance", (9,), 300),
        ("ema_21", "ema_distance", (21,), 300),
        ("ema_50", "ema_distance", (50,), 700),
        ("ema_100", "ema_distance", (100,), 1300),
        ("ema_200", "ema_distance", (200, 1800), 2000),
        ("ema_spread_9_21", "ema_spread", (9, 21), 300),
        ("ema_spread_21_50", "ema_spread", (21, 50), 700),
        ("ema_spread_50_200", "ema_spread", (50, 200, 1800), 2000),
        ("macd_hist", "macd_histogram", (12, 26, 9), 400),
        ("adx_14", "directional", ("ADX", 14), 400),
        ("plus_di_14", "directional", ("PLUS_DI", 14), 300),
        ("minus_di_14", "directional", ("MINUS_DI", 14), 300),
        ("supertrend_direction", "supertrend_side", (10, 3.0), 400),
    ),
    *_family(
        "momentum",
        ("rsi_14", "rsi", (14,), 400),
        ("rsi_change_4", "rsi_change", (14, 4), 400),
        ("stoch_k", "stochastic", (14, 3), 16),
        ("williams_r", "williams", (14,), 14),
        ("cci_20", "cci", (20,), 300),
        ("mfi_14", "money_flow_index", (14,), 15),
        ("rsi_divergence_8", "rsi_divergence", (14, 8), 400),
    ),
    *_family(
        "volatility",
        ("atr_ratio", "atr_share", (14,), 300),
        ("volatility_96", "volatility", (96,), 97),
        ("vol_regime_ratio", "volatility_ratio", (12, 96), 97),
        ("vol_ratio_96_672", "volatility_ratio", (96, 672), 673),
        ("parkinson_ratio_12", "parkinson_ratio", (12,), 97),
        ("bb_percent_b", "bollinger_place", (20, 2.0), 20),
        ("bb_width", "bollinger_width", (20, 2.0), 97),
        ("keltner_pct", "keltner_place", (20, 10, 2.0), 300),
    ),
    *_family(
        "volume",
        ("volume_ratio_20", "volume_ratio", (20,), 20),
        ("volume_ratio_96", "volume_ratio", (96,), 96),
        ("volume_acceleration_4", "volume_acceleration", (20, 4), 24),
        ("cmf_20", "chaikin_flow", (20,), 20),
        ("obv_share_20", "signed_volume", (20,), 21),
        ("obv_share_96", "signed_volume", (96,), 97),
        ("vwap_distance_96", "vwap_distance", (96,), 97),
    ),
    *_family(
        "structure",
        ("dist_high_24h", "high_distance", (96,), 300),
        ("dist_low_24h", "low_distance", (96,), 300),
        ("efficiency_20", "efficiency", (20,), 21),
        ("efficiency_96", "efficiency", (96,), 97),
        ("variance_ratio_4_96", "variance_ratio", (4, 96), 100),
        ("autocorrelation_96", "autocorrelation", (96,), 98),
        ("skewness_96", "skewness", (96,), 97),
        ("body_share_1", "body_share", (1,), 1),
        ("body_share_8", "body_share", (8,), 8),
        ("upper_wick_share_4", "upper_wick_share", (4,), 4),
        ("lower_wick_share_4", "lower_wick_share", (4,), 4),
        ("close_place", "close_place", (), 1),
    ),
    *_family(
        "patterns",
        ("pattern_net", "pattern_net", (), 100),
        ("pattern_net_8", "pattern_net_decayed", (8, 0.75), 100),
        ("doji_8", "doji_decayed", (8, 0.75), 100),
    ),
    *_family(
        "time",
        ("hour_sin", "time_of_day", ("sin",), 0),
        ("hour_cos", "time_of_day", ("cos",), 0),
        ("weekday_sin", "day_of_week", ("sin",), 0),
        ("weekday_cos", "day_of_week", ("cos",), 0),
    ),
    ColumnSpec("liquidity_30d", "liquidity", "turnover_against_month", (96, 30), 30, False, Timeframe.D1.value),
)

"""The base columns once more in pandas: as it is usually written, and as fast as pandas allows.

Both take and give frames: open, high, low, close, volume in, one column per declared indicator out. They are what the
array engine is measured against, so they stay plain; neither is used by the product.

`naive_columns` computes every column from scratch with a frame operation per step and `rolling.apply` where pandas has
no method. `tuned_columns` shares intermediates and uses compiled rolling and ewm methods alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from data_manager import ta
from data_manager.candle_patterns import DIRECTIONAL_PATTERNS

LEVEL = 96
AGREEING = (
    "ret_1",
    "ret_2",
    "roc_1h",
    "ret_8",
    "roc_4h",
    "ret_32",
    "roc_1d",
    "stoch_k",
    "williams_r",
    "mfi_14",
    "volatility_96",
    "vol_regime_ratio",
    "parkinson_ratio_12",
    "bb_percent_b",
    "bb_width",
    "volume_ratio_20",
    "volume_ratio_96",
    "volume_acceleration_4",
    "cmf_20",
    "obv_share_20",
    "obv_share_96",
    "vwap_distance_96",
    "efficiency_20",
    "efficiency_96",
    "variance_ratio_4_96",
    "autocorrelation_96",
    "body_share_1",
    "body_share_8",
    "upper_wick_share_4",
    "lower_wick_share_4",
    "close_place",
    "pattern_net",
    "pattern_net_8",
    "doji_8",
)
"""Columns whose definition needs no seed: here both must agree with the product to 1e-9 once warm."""


def naive_columns(bars: pd.DataFrame) -> pd.DataFrame:
    """Give the base columns, each from scratch, shape (n_bars, n_columns)."""
    return _all_columns(_Naive(bars))


def tuned_columns(bars: pd.DataFrame) -> pd.DataFrame:
    """Give the base columns with shared intermediates, shape (n_bars, n_columns)."""
    return _all_columns(_Tuned(bars))


class _Naive:
    """Every intermediate is computed again at each use, the way indicator snippets are pasted together."""

    def __init__(self, bars: pd.DataFrame) -> None:
        self.open, self.high, self.low = bars["open"], bars["high"], bars["low"]
        self.close, self.volume = bars["close"], bars["volume"]

    def returns(self, bars: int) -> pd.Series:
        return np.log(self.close / self.close.shift(bars))

    def sigma(self, bars: int = LEVEL) -> pd.Series:
        return self.returns(1).rolling(bars).std(ddof=0)

    def true_range(self) -> pd.Series:
        before = self.close.shift(1)
        parts = [self.high - self.low, (self.high - before).abs(), (self.low - before).abs()]
        return pd.concat(parts, axis=1).max(axis=1)

    def atr(self, bars: int = 14) -> pd.Series:
        return self.true_range().ewm(alpha=1 / bars, adjust=False).mean()

    def ema(self, span: int) -> pd.Series:
        return self.close.ewm(span=span, adjust=False).mean()

    def typical(self) -> pd.Series:
        return (self.high + self.low + self.close) / 3

    def skewness(self) -> pd.Series:
        return self.returns(1).rolling(LEVEL).apply(_skew, raw=True)

    def autocorrelation(self) -> pd.Series:
        return self.returns(1).rolling(LEVEL).corr(self.returns(1).shift(1))

    def mean_deviation(self, bars: int) -> pd.Series:
        return self.typical().rolling(bars).apply(lambda values: np.abs(values - values.mean()).mean(), raw=True)

    def supertrend(self) -> pd.Series:
        middle, reach = (self.high + self.low) / 2, 3.0 * self.atr(10)
        upper, lower, side = middle + reach, middle - reach, pd.Series(1.0, index=self.close.index)
        for row in range(1, len(side)):
            if self.close.iloc[row] > upper.iloc[row - 1]:
                side.iloc[row] = 1.0
            elif self.close.iloc[row] < lower.iloc[row - 1]:
                side.iloc[row] = -1.0
            else:
                side.iloc[row] = side.iloc[row - 1]
                if side.iloc[row] > 0:
                    lower.iloc[row] = max(lower.iloc[row], lower.iloc[row - 1])
                else:
                    upper.iloc[row] = min(upper.iloc[row], upper.iloc[row - 1])
        return side

    def pattern(self, name: str) -> pd.Series:
        arrays = [series.to_numpy() for series in (self.open, self.high, self.low, self.close)]
        return pd.Series(np.asarray(ta.function(name)(*arrays), dtype=float), index=self.close.index)

    def net(self) -> pd.Series:
        return sum((self.pattern(name) / 100 for name in DIRECTIONAL_PATTERNS), pd.Series(0.0, index=self.close.index))


class _Tuned(_Naive):
    """Intermediates are kept, Python loops are replaced."""

    def __init__(self, bars: pd.DataFrame) -> None:
        super().__init__(bars)
        self._kept: dict[tuple[object, ...], pd.Series] = {}

    def _once(self, key: tuple[object, ...], make: Callable[[], pd.Series]) -> pd.Series:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def returns(self, bars: int) -> pd.Series:
        logs = self._once(("log",), lambda: np.log(self.close))
        return self._once(("returns", bars), lambda: logs.diff(bars))

    def sigma(self, bars: int = LEVEL) -> pd.Series:
        return self._once(("sigma", bars), lambda: super(_Tuned, self).sigma(bars))

    def true_range(self) -> pd.Series:
        before = self.close.shift(1)
        return self._once(("range",), lambda: np.fmax(self.high, before) - np.fmin(self.low, before))

    def atr(self, bars: int = 14) -> pd.Series:
        return self._once(("atr", bars), lambda: super(_Tuned, self).atr(bars))

    def ema(self, span: int) -> pd.Series:
        return self._once(("ema", span), lambda: super(_Tuned, self).ema(span))

    def typical(self) -> pd.Series:
        return self._once(("typical",), lambda: super(_Tuned, self).typical())

    def skewness(self) -> pd.Series:
        returns = self.returns(1)
        first, second, third = ((returns**power).rolling(LEVEL).mean() for power in (1, 2, 3))
        return (third - 3 * first * second + 2 * first**3) / self.sigma() ** 3

    def mean_deviation(self, bars: int) -> pd.Series:
        windows = np.lib.stride_tricks.sliding_window_view(self.typical().to_numpy(), bars)
        deviation = np.abs(windows - windows.mean(axis=1, keepdims=True)).mean(axis=1)
        return pd.Series(np.concatenate([np.full(bars - 1, np.nan), deviation]), index=self.close.index)

    def supertrend(self) -> pd.Series:
        middle, reach = ((self.high + self.low) / 2).tolist(), (3.0 * self.atr(10)).tolist()
        upper, lower, sides = middle[0] + reach[0], middle[0] - reach[0], [1.0]
        for price, centre, width in zip(self.close.tolist()[1:], middle[1:], reach[1:], strict=True):
            side = 1.0 if price > upper else -1.0 if price < lower else sides[-1]
            kept = side == sides[-1]
            lower = max(lower, centre - width) if kept and side > 0 else centre - width
            upper = min(upper, centre + width) if kept and side < 0 else centre + width
            sides.append(side)
        return pd.Series(sides, index=self.close.index)

    def net(self) -> pd.Series:
        return self._once(("net",), lambda: super(_Tuned, self).net())


def _all_columns(view: _Naive) -> pd.DataFrame:
    groups = (_returns, _trend, _momentum, _volatility, _volume, _structure, _patterns)
    return pd.DataFrame({name: column for group in groups for name, column in group(view).items()})


def _returns(view: _Naive) -> dict[str, pd.Series]:
    names = {"ret_1": 1, "ret_2": 2, "roc_1h": 4, "ret_8": 8, "roc_4h": 16, "ret_32": 32, "roc_1d": 96}
    return {name: view.returns(bars) / (view.sigma() * np.sqrt(bars)) for name, bars in names.items()}


def _trend(view: _Naive) -> dict[str, pd.Series]:
    columns = {f"ema_{span}": (view.close - view.ema(span)) / view.atr() for span in (9, 21, 50, 100, 200)}
    for fast, slow in ((9, 21), (21, 50), (50, 200)):
        columns[f"ema_spread_{fast}_{slow}"] = (view.ema(fast) - view.ema(slow)) / view.atr()
    line = view.ema(12) - view.ema(26)
    columns["macd_hist"] = (line - line.ewm(span=9, adjust=False).mean()) / view.atr()
    up, down = view.high.diff(), -view.low.diff()
    rising, falling = up.where((up > down) & (up > 0), 0.0), down.where((down > up) & (down > 0), 0.0)
    plus = 100 * rising.ewm(alpha=1 / 14, adjust=False).mean() / view.atr()
    minus = 100 * falling.ewm(alpha=1 / 14, adjust=False).mean() / view.atr()
    columns["plus_di_14"], columns["minus_di_14"] = plus, minus
    columns["adx_14"] = (100 * (plus - minus).abs() / (plus + minus)).ewm(alpha=1 / 14, adjust=False).mean()
    columns["supertrend_direction"] = view.supertrend()
    return columns


def _rsi(view: _Naive) -> pd.Series:
    change = view.close.diff()
    gain = change.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    loss = (-change.clip(upper=0)).ewm(alpha=1 / 14, adjust=False).mean()
    return 100 - 100 / (1 + gain / loss)


def _momentum(view: _Naive) -> dict[str, pd.Series]:
    rsi = _rsi(view)
    low, high = view.low.rolling(14).min(), view.high.rolling(14).max()
    typical = view.typical()
    flow, change = typical * view.volume, typical.diff()
    up, down = flow.where(change > 0, 0.0).rolling(14).sum(), flow.where(change < 0, 0.0).rolling(14).sum()
    return {
        "rsi_14": rsi,
        "rsi_change_4": rsi.diff(4),
        "stoch_k": (100 * (view.close - low) / (high - low)).rolling(3).mean(),
        "williams_r": -100 * (high - view.close) / (high - low),
        "cci_20": (typical - typical.rolling(20).mean()) / (0.015 * view.mean_deviation(20)),
        "mfi_14": 100 * up / (up + down),
        "rsi_divergence_8": rsi.diff(8) / 20 - view.returns(8) / (view.sigma() * np.sqrt(8)),
    }


def _volatility(view: _Naive) -> dict[str, pd.Series]:
    logs = np.log(view.close)
    mean, deviation = logs.rolling(20).mean(), logs.rolling(20).std(ddof=0)
    reach = np.log(view.high / view.low) ** 2
    middle = view.typical().ewm(span=20, adjust=False).mean()
    return {
        "atr_ratio": view.atr() / view.close,
        "volatility_96": view.sigma(),
        "vol_regime_ratio": view.sigma(12) / view.sigma(),
        "vol_ratio_96_672": view.sigma() / view.sigma(672),
        "parkinson_ratio_12": np.sqrt(reach.rolling(12).mean() / (4 * np.log(2))) / view.sigma(),
        "bb_percent_b": (logs - (mean - 2 * deviation)) / (4 * deviation),
        "bb_width": 4 * deviation / view.sigma(),
        "keltner_pct": 0.5 + (view.close - middle) / (4 * view.atr(10)),
    }


def _volume(view: _Naive) -> dict[str, pd.Series]:
    def level(bars: int) -> pd.Series:
        return np.log(view.volume / view.volume.rolling(bars).mean() + 0.01)

    def signed(bars: int) -> pd.Series:
        return (np.sign(view.close.diff()) * view.volume).rolling(bars).sum() / view.volume.rolling(bars).sum()

    reach = view.high - view.low
    place = ((2 * view.close - view.high - view.low) / reach).where(reach > 0, 0.0)
    price = (view.typical() * view.volume).rolling(LEVEL).sum() / view.volume.rolling(LEVEL).sum()
    return {
        "volume_ratio_20": level(20),
        "volume_ratio_96": level(LEVEL),
        "volume_acceleration_4": level(20).diff(4),
        "cmf_20": (place * view.volume).rolling(20).sum() / view.volume.rolling(20).sum(),
        "obv_share_20": signed(20),
        "obv_share_96": signed(LEVEL),
        "vwap_distance_96": np.log(view.close / price) / view.sigma(),
    }


def _structure(view: _Naive) -> dict[str, pd.Series]:
    moves = view.close.diff().abs()

    def share(part: pd.Series, bars: int) -> pd.Series:
        return part.rolling(bars).sum() / (view.high - view.low).rolling(bars).sum()

    body = view.close - view.open
    top, bottom = np.maximum(view.open, view.close), np.minimum(view.open, view.close)
    square = (view.returns(1) ** 2).rolling(LEVEL).sum()
    return {
        "dist_high_24h": (view.high.rolling(LEVEL).max() - view.close) / view.atr(),
        "dist_low_24h": (view.close - view.low.rolling(LEVEL).min()) / view.atr(),
        "efficiency_20": view.close.diff(20).abs() / moves.rolling(20).sum(),
        "efficiency_96": view.close.diff(LEVEL).abs() / moves.rolling(LEVEL).sum(),
        "variance_ratio_4_96": (view.returns(4) ** 2).rolling(LEVEL).sum() / (4 * square),
        "autocorrelation_96": view.autocorrelation(),
        "skewness_96": view.skewness(),
        "body_share_1": share(body, 1),
        "body_share_8": share(body, 8),
        "upper_wick_share_4": share(view.high - top, 4),
        "lower_wick_share_4": share(bottom - view.low, 4),
        "close_place": (2 * view.close - view.high - view.low) / (view.high - view.low),
    }


def _patterns(view: _Naive) -> dict[str, pd.Series]:
    def decayed(values: pd.Series) -> pd.Series:
        return sum((0.75**back * values.shift(back) for back in range(1, 8)), values)

    return {
        "pattern_net": view.net(),
        "pattern_net_8": decayed(view.net()),
        "doji_8": decayed(view.pattern("CDLDOJI") / 100),
    }


def _skew(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)

"""One small function per indicator: a view of bars in, one array of shape (n_bars,) out.

Every value is free of scale: distances are counted in average true ranges (ATR 14) or in the deviation of log returns
over 96 bars (sigma), volumes as ratios. Row t uses bars up to t. What cannot be told (no movement, no volume) is NaN.
Conventions follow TA-Lib: exponential means seeded with a plain mean, Wilder's smoothing, population deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from data_manager.bar_view import BarView
from data_manager.bars import FloatArray
from data_manager.candle_patterns import doji_decayed, pattern_net, pattern_net_decayed
from data_manager.rolling import (
    correlation_of_sums,
    lagged,
    ratio,
    rolling_centred_deviation,
    rolling_sum,
)

Indicator = Callable[..., FloatArray]

_HLC = ("high", "low", "close")
_VOLUME_FLOOR = 0.01
_PARKINSON = 1.0 / (4.0 * np.log(2.0))


def return_z(view: BarView, bars: int) -> FloatArray:
    """Log return over `bars` bars in deviations expected of that many bars."""
    return view.in_sigma(view.log_return(bars), bars)


def ema_distance(view: BarView, span: int, reach: int = 0) -> FloatArray:
    """Close above its exponential mean (of the last `reach` bars alone unless 0), in ATR."""
    return view.in_atr(view.close - view.ema(span, reach=reach))


def ema_spread(view: BarView, fast: int, slow: int, reach: int = 0) -> FloatArray:
    """Fast exponential mean above the slow one (of the last `reach` bars alone unless 0), in ATR."""
    return view.in_atr(view.ema(fast) - view.ema(slow, reach=reach))


def macd_histogram(view: BarView, fast: int, slow: int, signal: int) -> FloatArray:
    """MACD above its signal line, in ATR."""
    return view.in_atr(view.ta("MACD", ("close",), fast, slow, signal, output=2))


def directional(view: BarView, kind: str, bars: int) -> FloatArray:
    """ADX, PLUS_DI or MINUS_DI, 0 to 100; NaN where prices do not move."""
    return view.moving(view.ta(kind, _HLC, bars))


def supertrend_side(view: BarView, bars: int, multiplier: float) -> FloatArray:
    """+1 while SuperTrend runs below the price, -1 above."""
    return view.moving(view.ta("SUPERTREND", _HLC, bars, multiplier, output=1))


def rsi(view: BarView, bars: int) -> FloatArray:
    """Wilder's relative strength, 0 to 100; NaN where prices do not move."""
    return view.once(("rsi", bars), lambda: view.moving(view.ta("RSI", ("close",), bars)))


def rsi_change(view: BarView, bars: int, back: int) -> FloatArray:
    """Change of the relative strength over `back` bars."""
    strength = rsi(view, bars)
    return strength - lagged(strength, back)


def rsi_divergence(view: BarView, bars: int, back: int) -> FloatArray:
    """Change of the relative strength (in steps of 20) less the price change in deviations over `back` bars."""
    return rsi_change(view, bars, back) / 20.0 - return_z(view, back)


def stochastic(view: BarView, bars: int, smooth: int) -> FloatArray:
    """Place of the close in the range of `bars` bars, 0 to 100, averaged over `smooth` bars."""
    return rolling_sum(100.0 * _place(view, bars), smooth) / smooth


def williams(view: BarView, bars: int) -> FloatArray:
    """Williams %R: place of the close below the high of `bars` bars, -100 to 0."""
    return 100.0 * (_place(view, bars) - 1.0)


def cci(view: BarView, bars: int) -> FloatArray:
    """Commodity channel index: typical price above its mean in 0.015 mean absolute deviations."""
    return view.moving(view.ta("CCI", _HLC, bars))


def money_flow_index(view: BarView, bars: int) -> FloatArray:
    """Share of traded value on bars whose typical price rose, 0 to 100.

    TA-Lib's own gives 0 whenever the flow sums to less than 1, which depends on the unit of volume.
    """
    change = view.typical - lagged(view.typical, 1)
    flow, none = view.series("typical_volume"), change * 0.0
    split = np.array([np.where(change > 0, flow, none), np.where(change < 0, flow, none)])
    up, down = rolling_sum(split, bars)
    return 100.0 * ratio(up, up + down)


def atr_share(view: BarView, bars: int) -> FloatArray:
    """Average true range as a fraction of the close."""
    return view.atr(bars) / view.close


def volatility(view: BarView, bars: int) -> FloatArray:
    """Deviation of one-bar log returns over `bars` bars."""
    return view.deviation(bars)


def volatility_ratio(view: BarView, short: int, long: int) -> FloatArray:
    """Recent deviation of log returns over that of a longer window."""
    return ratio(view.deviation(short), view.deviation(long))


def parkinson_ratio(view: BarView, bars: int) -> FloatArray:
    """Deviation estimated from highs and lows over `bars` bars (Parkinson 1980), in sigma."""
    reach = np.log(view.high / view.low)
    return view.in_sigma(np.sqrt(_PARKINSON * rolling_sum(reach * reach, bars) / bars))


def bollinger_place(view: BarView, bars: int, deviations: float) -> FloatArray:
    """Place of the log close between its Bollinger bands: 0 at the lower, 1 at the upper."""
    mean, deviation = _bollinger(view, bars)
    return 0.5 + ratio(view.log_close - mean, 2.0 * deviations * deviation)


def bollinger_width(view: BarView, bars: int, deviations: float) -> FloatArray:
    """Distance of the Bollinger bands of the log close, in sigma."""
    return view.in_sigma(2.0 * deviations * _bollinger(view, bars)[1])


def keltner_place(view: BarView, bars: int, atr_bars: int, multiplier: float) -> FloatArray:
    """Place of the close between the Keltner channels: 0 at the lower, 1 at the upper."""
    return 0.5 + ratio(view.close - view.ema(bars, field="typical"), 2.0 * multiplier * view.atr(atr_bars))


def volume_ratio(view: BarView, bars: int) -> FloatArray:
    """Log of volume over its mean of `bars` bars; a hundredth of the mean is added, so an empty bar stays finite."""
    mean = view.total("volume", bars) / bars
    return np.log(ratio(view.volume, mean) + _VOLUME_FLOOR)


def volume_acceleration(view: BarView, bars: int, back: int) -> FloatArray:
    """Change of the log volume ratio over `back` bars."""
    level = view.once(("volume_ratio", bars), lambda: volume_ratio(view, bars))
    return level - lagged(level, back)


def chaikin_flow(view: BarView, bars: int) -> FloatArray:
    """Chaikin money flow: volume weighted by where the bar closed in its range, -1 to 1; no range counts as middle."""
    return ratio(view.total("placed_volume", bars), view.total("volume", bars))


def signed_volume(view: BarView, bars: int) -> FloatArray:
    """Volume of rising less volume of falling bars as a share of all volume: balance of volume over a window."""
    return ratio(view.total("signed_volume", bars), view.total("volume", bars))


def vwap_distance(view: BarView, bars: int) -> FloatArray:
    """Log distance of the close from the volume-weighted price of `bars` bars, in sigma."""
    price = ratio(view.total("typical_volume", bars), view.total("volume", bars))
    return view.in_sigma(np.log(view.close / price))


def high_distance(view: BarView, bars: int) -> FloatArray:
    """Close below the highest high of `bars` bars, in ATR."""
    return view.in_atr(view.highest("high", bars) - view.close)


def low_distance(view: BarView, bars: int) -> FloatArray:
    """Close above the lowest low of `bars` bars, in ATR."""
    return view.in_atr(view.close - view.lowest("low", bars))


def efficiency(view: BarView, bars: int) -> FloatArray:
    """Kaufman's efficiency ratio: net move over the sum of moves, 0 to 1."""
    return ratio(np.abs(view.close - lagged(view.close, bars)), view.total("move", bars))


def variance_ratio(view: BarView, step: int, bars: int) -> FloatArray:
    """Mean square of `step`-bar returns over `step` times that of one-bar returns; above 1 when moves persist."""
    long = view.log_return(step)
    return ratio(rolling_sum(long * long, bars), step * view.total("return_square", bars))


def autocorrelation(view: BarView, bars: int) -> FloatArray:
    """Correlation of one-bar returns with the return before, over `bars` bars."""
    names = ("return", "return_before", "return_square", "return_before_square", "return_pair")
    return correlation_of_sums([view.total(name, bars) for name in names], bars)


def skewness(view: BarView, bars: int) -> FloatArray:
    """Third standardised moment of one-bar returns over `bars` bars."""
    first, second, third = (view.total(name, bars) / bars for name in ("return", "return_square", "return_cube"))
    deviation = view.deviation(bars)
    moment = third - 3.0 * first * second + 2.0 * first * first * first
    return ratio(moment, deviation * deviation * deviation)


def body_share(view: BarView, bars: int) -> FloatArray:
    """Signed bodies over ranges, summed over `bars` bars."""
    return ratio(view.total("body", bars), view.total("range", bars))


def upper_wick_share(view: BarView, bars: int) -> FloatArray:
    """Upper wicks over ranges, summed over `bars` bars."""
    return ratio(view.total("upper_wick", bars), view.total("range", bars))


def lower_wick_share(view: BarView, bars: int) -> FloatArray:
    """Lower wicks over ranges, summed over `bars` bars."""
    return ratio(view.total("lower_wick", bars), view.total("range", bars))


def close_place(view: BarView) -> FloatArray:
    """Where the bar closed in its range: -1 at the low, 1 at the high."""
    return ratio(2.0 * view.close - view.high - view.low, view.high - view.low)


def _place(view: BarView, bars: int) -> FloatArray:
    def make() -> FloatArray:
        low = view.lowest("low", bars)
        return ratio(view.close - low, view.highest("high", bars) - low)

    return view.once(("place", bars), make)


def _bollinger(view: BarView, bars: int) -> tuple[FloatArray, FloatArray]:
    def make() -> FloatArray:
        mean, deviation = rolling_centred_deviation(view.log_close, bars)
        moves = view.highest("log_close", bars) > view.lowest("log_close", bars)
        return np.array([mean, np.where(moves, deviation, deviation * 0.0)])

    both = view.once(("bollinger", bars), make)
    return both[0], both[1]


INDICATORS: Mapping[str, Indicator] = {
    function.__name__: function
    for function in (
        return_z,
        ema_distance,
        ema_spread,
        macd_histogram,
        directional,
        supertrend_side,
        rsi,
        rsi_change,
        rsi_divergence,
        stochastic,
        williams,
        cci,
        money_flow_index,
        atr_share,
        volatility,
        volatility_ratio,
        parkinson_ratio,
        bollinger_place,
        bollinger_width,
        keltner_place,
        volume_ratio,
        volume_acceleration,
        chaikin_flow,
        signed_volume,
        vwap_distance,
        high_distance,
        low_distance,
        efficiency,
        variance_ratio,
        autocorrelation,
        skewness,
        body_share,
        upper_wick_share,
        lower_wick_share,
        close_place,
        pattern_net,
        pattern_net_decayed,
        doji_decayed,
    )
}

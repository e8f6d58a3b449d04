"""What indicators see: the arrays of one stretch of bars, and what many of them share, computed once.

Prices are multiplied by a power of two so that they are near one. That changes no bit of any ratio and keeps TA-Lib's
absolute comparisons with 1e-14 away from cheap coins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from data_manager import ta
from data_manager.bars import Bars, FloatArray, IntArray
from data_manager.rolling import above_zero, deviation_of_sums, lagged, rolling_sum, rolling_sums

Key = tuple[object, ...]

VOLATILITY_WINDOW = 96
ATR_WINDOW = 14
_NO_RANGE = 1e-10


class BarView:
    """The bars of one stretch; recursive indicators start at its first bar. Arrays have shape (n_bars,)."""

    def __init__(self, bars: Bars) -> None:
        """Scale the prices; they must be finite and above zero, and there must be at least one bar."""
        _, exponent = np.frexp(bars.close[0])
        scale = float(np.ldexp(1.0, -int(exponent)))
        self.open_time: IntArray = bars.open_time
        self.open: FloatArray = bars.open * scale
        self.high: FloatArray = bars.high * scale
        self.low: FloatArray = bars.low * scale
        self.close: FloatArray = bars.close * scale
        self.volume: FloatArray = np.ascontiguousarray(bars.volume)
        self.typical: FloatArray = (self.high + self.low + self.close) / 3.0
        self.log_close: FloatArray = np.log(bars.close)
        self._known: dict[Key, FloatArray] = {}

    def __len__(self) -> int:
        """Count the bars."""
        return len(self.close)

    def once(self, key: Key, make: Callable[[], FloatArray]) -> FloatArray:
        """Give the array of a key, made at its first use."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = make()
        return found

    def ta(self, name: str, fields: tuple[str, ...], *parameters: float, output: int = 0) -> FloatArray:
        """Give one output of a TA-Lib function over the whole stretch; `fields` name arrays of this view."""
        key: Key = (name, fields, parameters, output)
        if key not in self._known:
            self._known[key] = self._run(name, fields, parameters, output)
        return self._known[key]

    def log_return(self, bars: int) -> FloatArray:
        """Give the log return over the last `bars` bars."""
        return self.once(("return", bars), lambda: np.log(self.close / lagged(self.close, bars)))

    def deviation(self, bars: int) -> FloatArray:
        """Give the standard deviation of one-bar log returns over the last `bars` bars."""
        return self.once(("deviation", bars), lambda: self._deviation(bars))

    def sigma(self) -> FloatArray:
        """Give the deviation over the volatility window."""
        return self.deviation(VOLATILITY_WINDOW)

    def total(self, series: str, bars: int) -> FloatArray:
        """Give the sum of a named series over the last `bars` bars; what many columns use is summed together."""
        key: Key = ("total", series, bars)
        if key not in self._known and series in _SUMMED[_SUMMED_TOGETHER.get(bars, slice(0))]:
            stacked = np.array([self.series(name) for name in _SUMMED])
            for length, totals in rolling_sums(stacked, _SUMMED_TOGETHER).items():
                names = _SUMMED[_SUMMED_TOGETHER[length]]
                self._known |= {("total", name, length): row for name, row in zip(names, totals, strict=True)}
        return self.once(key, lambda: rolling_sum(self.series(series), bars))

    def highest(self, field: str, bars: int) -> FloatArray:
        """Give the largest value of a field over the last `bars` bars."""
        return self.once(("MAX", field, bars), lambda: _output(ta.function("MAX")(getattr(self, field), bars), 0))

    def lowest(self, field: str, bars: int) -> FloatArray:
        """Give the smallest value of a field over the last `bars` bars."""
        return self.once(("MIN", field, bars), lambda: _output(ta.function("MIN")(getattr(self, field), bars), 0))

    def moving(self, values: FloatArray) -> FloatArray:
        """Give the values where prices move, NaN elsewhere."""
        return values + self.once(("still",), lambda: np.where(self.atr() > 0, 0.0, np.nan))

    def series(self, name: str) -> FloatArray:
        """Give a named series of one value per bar."""
        return self.once(("series", name), lambda: _SERIES[name](self))

    def atr(self, bars: int = ATR_WINDOW) -> FloatArray:
        """Give Wilder's average true range in (scaled) price; zero where prices do not move."""
        return self.once(("atr", bars), lambda: self._atr(bars))

    def ema(self, span: int, *, field: str = "close", reach: int = 0) -> FloatArray:
        """Give the exponential mean, seeded with the plain mean of its first `span` values.

        With `reach` it weighs the last `reach` bars alone, so that a slow mean forgets its seed completely.
        """
        if reach:
            return self.once(("ema", span, field, reach), lambda: _reaching_ema(getattr(self, field), span, reach))
        return self.ta("EMA", (field,), span)

    def in_atr(self, distance: FloatArray) -> FloatArray:
        """Give a price distance in average true ranges, NaN where prices do not move."""
        return distance / self.once(("atr_unit",), lambda: above_zero(self.atr()))

    def in_sigma(self, distance: FloatArray, bars: int = 1) -> FloatArray:
        """Give a log price distance in deviations expected of `bars` bars, NaN where prices do not move."""
        unit = self.once(("sigma_unit",), lambda: above_zero(self.sigma()))
        return distance / (unit if bars == 1 else unit * np.sqrt(bars))

    def _deviation(self, bars: int) -> FloatArray:
        return deviation_of_sums(self.total("return", bars), self.total("return_square", bars), bars)

    def _atr(self, bars: int) -> FloatArray:
        raw = self.ta("ATR", ("high", "low", "close"), bars)
        return np.where(raw > _NO_RANGE * self.close, raw, raw * 0.0)

    def _run(self, name: str, fields: tuple[str, ...], parameters: tuple[float, ...], output: int) -> FloatArray:
        arrays = [getattr(self, field) for field in fields]
        return _output(ta.function(name)(*arrays, *parameters), output)


class WindowView(BarView):
    """A view whose recursive indicators at each wanted row see exactly the last `window` bars ending there.

    Other rows of those indicators are NaN. Plain rolling indicators need no such care: they never see more than their
    own window.
    """

    def __init__(self, bars: Bars, rows: IntArray, window: int) -> None:
        """Keep the wanted positions; those with fewer than `window` bars stay NaN."""
        super().__init__(bars)
        self._rows = [int(row) for row in rows if row >= window - 1]
        self._window = window

    def _run(self, name: str, fields: tuple[str, ...], parameters: tuple[float, ...], output: int) -> FloatArray:
        call, window = ta.function(name), self._window
        arrays = [getattr(self, field) for field in fields]
        result = np.full(len(self), np.nan)
        for row in self._rows:
            part = slice(row - window + 1, row + 1)
            answer = call(*[array[part] for array in arrays], *parameters)
            result[row] = (answer[output] if isinstance(answer, tuple) else answer)[-1]
        return result


def _reaching_ema(values: FloatArray, span: int, reach: int) -> FloatArray:
    # Leading zeros make the seed zero; what lies beyond the reach is the same sum one reach earlier, faded.
    padded = np.concatenate([np.zeros(span), values])
    total = _output(ta.function("EMA")(padded, span), 0)[span:]
    faded = ((span - 1.0) / (span + 1.0)) ** reach
    return (total - faded * lagged(total, reach)) / (1.0 - faded)


def _output(answer: FloatArray | tuple[FloatArray, ...], output: int) -> FloatArray:
    array = answer[output] if isinstance(answer, tuple) else answer
    return np.asarray(array, dtype=np.float64)


def _placed_volume(view: BarView) -> FloatArray:
    reach = view.series("range")
    place = np.divide(2.0 * view.close - view.high - view.low, reach, out=np.zeros(len(view)), where=reach > 0)
    return np.asarray(place * view.volume)


_SERIES: Mapping[str, Callable[[BarView], FloatArray]] = {
    "return": lambda view: view.log_return(1),
    "return_square": lambda view: view.series("return") * view.series("return"),
    "return_cube": lambda view: view.series("return_square") * view.series("return"),
    "return_before": lambda view: lagged(view.series("return"), 1),
    "return_before_square": lambda view: lagged(view.series("return_square"), 1),
    "return_pair": lambda view: view.series("return") * view.series("return_before"),
    "change": lambda view: view.close - lagged(view.close, 1),
    "move": lambda view: np.abs(view.series("change")),
    "range": lambda view: view.high - view.low,
    "volume": lambda view: view.volume,
    "typical_volume": lambda view: view.typical * view.volume,
    "signed_volume": lambda view: np.sign(view.series("change")) * view.volume,
    "placed_volume": _placed_volume,
    "upper_wick": lambda view: view.high - np.maximum(view.open, view.close),
    "lower_wick": lambda view: np.minimum(view.open, view.close) - view.low,
    "body": lambda view: view.close - view.open,
}
_SUMMED = (
    "upper_wick",
    "lower_wick",
    "body",
    "range",
    "placed_volume",
    "move",
    "volume",
    "signed_volume",
    "typical_volume",
    "return_cube",
    "return_before",
    "return_before_square",
    "return_pair",
    "return",
    "return_square",
)
_SUMMED_TOGETHER: Mapping[int, slice] = {
    4: slice(0, 4),
    8: slice(0, 4),
    12: slice(13, 15),
    20: slice(4, 8),
    96: slice(5, 15),
}
"""Which neighbours among `_SUMMED` have columns over a window."""

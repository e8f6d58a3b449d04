"""What indicators see: the arrays of one stretch of bars, and what many of them share, computed once.

Prices are multiplied by a power of two so that they are near one. That changes no bit of any ratio and keeps TA-Lib's
absolute comparisons with 1e-14 away from cheap coins.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data_manager import ta
from data_manager.bars import Bars, FloatArray, IntArray
from data_manager.rolling import lagged, ratio, rolling_deviation

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
        key = (name, fields, parameters)
        return self.once((*key, output), lambda: self._run(name, fields, parameters, output))

    def log_return(self, bars: int) -> FloatArray:
        """Give the log return over the last `bars` bars."""
        return self.once(("return", bars), lambda: np.log(self.close / lagged(self.close, bars)))

    def deviation(self, bars: int) -> FloatArray:
        """Give the standard deviation of one-bar log returns over the last `bars` bars."""
        return self.once(("deviation", bars), lambda: rolling_deviation(self.log_return(1), bars))

    def sigma(self) -> FloatArray:
        """Give the deviation over the volatility window."""
        return self.deviation(VOLATILITY_WINDOW)

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
        return ratio(distance, self.atr())

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

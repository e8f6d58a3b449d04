"""A bar frame: the closed bars of one symbol and timeframe as aligned arrays.

Arrays are shared, never copied on slicing and never written to: every step that changes bars makes new arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bn_ml.domain.market import Symbol, Timeframe

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Closed bars in time order. All arrays have shape (n_bars,).

    `open_time` is the bar's open in ms since 1970 UTC, strictly increasing; a bar is known from `open_time +
    timeframe.ms`. Absent bars are absent. `volume` is in the base asset, `quote_volume` in the quote asset
    (NaN where unknown), `trades` a count (0 where unknown). `source` names where the bars came from.
    """

    symbol: Symbol
    timeframe: Timeframe
    open_time: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    source: str
    quote_volume: FloatArray = field(default_factory=lambda: np.empty(0))
    trades: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        """Fill the optional columns and refuse arrays of different length."""
        length = len(self.open_time)
        if len(self.quote_volume) != length:
            object.__setattr__(self, "quote_volume", np.full(length, np.nan))
        if len(self.trades) != length:
            object.__setattr__(self, "trades", np.zeros(length, dtype=np.int64))
        lengths = {len(self.open), len(self.high), len(self.low), len(self.close), len(self.volume), length}
        if len(lengths) != 1:
            raise ValueError(f"{self.symbol} {self.timeframe.value}: columns differ in length {sorted(lengths)}")

    def __len__(self) -> int:
        """Count the bars."""
        return len(self.open_time)

    @property
    def close_time(self) -> IntArray:
        """The instant each bar is known from, ms since 1970, shape (n_bars,)."""
        return self.open_time + self.timeframe.ms

    @property
    def newest_close_ms(self) -> int:
        """The instant the newest bar is known from, ms since 1970; raises `IndexError` when there is none."""
        return int(self.open_time[-1]) + self.timeframe.ms

    def rows(self, start: int, stop: int) -> Bars:
        """Give bars `start` (inclusive) to `stop` (exclusive) by position, sharing memory."""
        part = slice(start, stop)
        return self._take(part)

    def take(self, keep: BoolArray | IntArray) -> Bars:
        """Give the bars selected by a mask or by positions, copied."""
        return self._take(keep)

    def between(self, start_ms: int, end_ms: int) -> Bars:
        """Give bars with `start_ms <= open_time < end_ms`."""
        first, last = np.searchsorted(self.open_time, [start_ms, end_ms], side="left")
        return self.rows(int(first), int(last))

    def closed_by(self, now_ms: int) -> Bars:
        """Give bars whose close time is at or before `now_ms`."""
        count = int(np.searchsorted(self.open_time, now_ms - self.timeframe.ms, side="right"))
        return self.rows(0, count)

    def tail(self, count: int) -> Bars:
        """Give the last `count` bars."""
        return self.rows(max(0, len(self) - count), len(self))

    def to_frame(self) -> pd.DataFrame:
        """Give a pandas frame for users' scripts: open_time (UTC) and the columns of this class."""
        import pandas as pd

        return pd.DataFrame(
            {
                "open_time": pd.to_datetime(self.open_time, unit="ms", utc=True),
                "open": self.open,
                "high": self.high,
                "low": self.low,
                "close": self.close,
                "volume": self.volume,
                "quote_volume": self.quote_volume,
                "trades": self.trades,
            }
        )

    def _take(self, rows: slice | BoolArray | IntArray) -> Bars:
        return Bars(
            symbol=self.symbol,
            timeframe=self.timeframe,
            open_time=self.open_time[rows],
            open=self.open[rows],
            high=self.high[rows],
            low=self.low[rows],
            close=self.close[rows],
            volume=self.volume[rows],
            source=self.source,
            quote_volume=self.quote_volume[rows],
            trades=self.trades[rows],
        )


def empty_bars(symbol: Symbol, timeframe: Timeframe, source: str) -> Bars:
    """Give a frame without bars."""
    none = np.empty(0)
    return Bars(symbol, timeframe, np.empty(0, dtype=np.int64), none, none, none, none, none, source)


def concat(parts: Sequence[Bars]) -> Bars:
    """Join frames of one symbol and timeframe given in time order."""
    first = parts[0]
    return Bars(
        symbol=first.symbol,
        timeframe=first.timeframe,
        open_time=np.concatenate([part.open_time for part in parts]),
        open=np.concatenate([part.open for part in parts]),
        high=np.concatenate([part.high for part in parts]),
        low=np.concatenate([part.low for part in parts]),
        close=np.concatenate([part.close for part in parts]),
        volume=np.concatenate([part.volume for part in parts]),
        source=first.source,
        quote_volume=np.concatenate([part.quote_volume for part in parts]),
        trades=np.concatenate([part.trades for part in parts]),
    )

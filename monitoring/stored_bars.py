"""Bars of the history on disk for a chart: never more than asked for, and nothing when there are none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars
from data_manager.history import HistoryStore
from monitoring.views_trades import TradeLine

MOST_CANDLES = 300


@dataclass(frozen=True, slots=True)
class Candles:
    """Candles in time order, by the open of each; prices in the quote asset.

    `step_ms` is the length of one, `source` where the bars came from, `problem` why there are none.
    """

    times: tuple[datetime, ...] = ()
    open: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    close: tuple[float, ...] = ()
    step_ms: int = 0
    source: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FillMark:
    """One fill on a price chart."""

    at: datetime
    price: float
    side: str
    words: str


def read_candles(history_dir: Path | str, symbol: Symbol, *, since_ms: int, until_ms: int) -> Candles:
    """Read the stored bars with `since_ms <= open < until_ms`, the finest series whose bars are not too many.

    Without any the problem says so; nothing is raised.
    """
    store = HistoryStore(history_dir)
    frames = store.timeframes(symbol)
    if not frames:
        return Candles(problem=f"no bars of {symbol} are stored")
    fitting = [frame for frame in frames if (until_ms - since_ms) // frame.ms <= MOST_CANDLES]
    try:
        bars = store.read(symbol, _preferred(frames, fitting)).between(since_ms, until_ms)
    except MarketDataError:
        return Candles(problem=f"the stored bars of {symbol} cannot be read")
    if not len(bars):
        return Candles(problem=f"no bars of {symbol} are stored for this period")
    return candles_of(bars)


def candles_of(bars: Bars, most: int = MOST_CANDLES) -> Candles:
    """Give bars as at most `most` candles of equal length: several bars on the same part of the clock become one."""
    if not len(bars):
        return Candles()
    first, last = int(bars.open_time[0]), int(bars.open_time[-1])
    length = bars.timeframe.ms
    step = length
    while last // step - first // step + 1 > max(most, 1):
        step += length
    groups: dict[int, list[int]] = {}
    for place, at in enumerate(bars.open_time.tolist()):
        groups.setdefault(at // step * step, []).append(place)
    parts = list(groups.values())
    return Candles(
        times=tuple(from_ms(at) for at in groups),
        open=tuple(float(bars.open[part[0]]) for part in parts),
        high=tuple(float(max(bars.high[place] for place in part)) for part in parts),
        low=tuple(float(min(bars.low[place] for place in part)) for part in parts),
        close=tuple(float(bars.close[part[-1]]) for part in parts),
        step_ms=step,
        source=bars.source,
    )


def marks_of(lines: Iterable[TradeLine], symbol: str, since: datetime) -> tuple[FillMark, ...]:
    """Give the fills of one symbol since an instant, oldest first."""
    own = [line for line in lines if str(line.symbol) == symbol and line.at >= since]
    return tuple(FillMark(line.at, line.price, line.side, _words(line)) for line in sorted(own, key=lambda it: it.id))


def _preferred(frames: Sequence[Timeframe], fitting: Sequence[Timeframe]) -> Timeframe:
    """Give the finest series that fits, else the coarsest there is."""
    return fitting[0] if fitting else frames[-1]


def _words(line: TradeLine) -> str:
    result = f", {line.pnl_quote:+.2f} {line.symbol.quote}" if math.isfinite(line.pnl_quote) else ""
    return f"{line.side} {line.reason}{result}"

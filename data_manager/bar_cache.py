"""Closed bars kept between calls, so that only bars that closed since are asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars, concat
from data_manager.data_cleaner import clean, last_continuous_piece
from data_manager.resampling import floor_ms
from data_manager.source import DataSource

_SPARE_BARS = 200
_WIDEN = 2
_MOST_PAGES_BACK = 6


@dataclass(slots=True)
class _Held:
    bars: Bars
    asked: int
    complete: bool


class BarCache:
    """The newest closed bars of each symbol and timeframe, cleaned, over one source. Safe for several threads."""

    def __init__(self, source: DataSource) -> None:
        """Start empty."""
        self._source = source
        self._held: dict[tuple[Symbol, Timeframe], _Held] = {}
        self._lock = threading.Lock()

    def bars(self, symbol: Symbol, timeframe: Timeframe, count: int, now_ms: int) -> Bars:
        """Give the newest `count` closed bars, fewer only where no more exist."""
        if self._source.concurrency == 1:
            return self._latest(symbol, timeframe, count, now_ms)[0]
        key = (symbol, timeframe)
        with self._lock:
            held = self._held.get(key)
        if held is None or not len(held.bars) or (held.asked < count and not held.complete):
            wanted = count + _SPARE_BARS
            bars, complete = self._latest(symbol, timeframe, wanted, now_ms)
            fresh = _Held(_cleaned(bars, now_ms), wanted, complete)
        else:
            fresh = self._renewed(held, symbol, timeframe, now_ms)
        with self._lock:
            self._held[key] = fresh
        return fresh.bars.tail(count)

    def _renewed(self, held: _Held, symbol: Symbol, timeframe: Timeframe, now_ms: int) -> _Held:
        # The newest bar is asked for again: fetched in the moment of its close it may have lacked the last trades.
        last, end = int(held.bars.open_time[-1]), floor_ms(now_ms, timeframe)
        if last + timeframe.ms >= end:
            return held
        added = self._source.bars(symbol, timeframe, last, end)
        if not len(added):
            return held
        joined = _cleaned(concat([held.bars.rows(0, len(held.bars) - 1), added]), now_ms)
        return _Held(joined.tail(held.asked + _SPARE_BARS), held.asked, held.complete)

    def _latest(self, symbol: Symbol, timeframe: Timeframe, count: int, now_ms: int) -> tuple[Bars, bool]:
        """Page back until `count` bars are found or an earlier span adds none; says whether the start was reached."""
        end = floor_ms(now_ms, timeframe)
        span = count
        found = self._source.bars(symbol, timeframe, end - span * timeframe.ms, end)
        for _ in range(_MOST_PAGES_BACK):
            if len(found) >= count:
                return found.tail(count), False
            earlier = end - span * timeframe.ms
            span += _WIDEN * (count - len(found)) + _SPARE_BARS
            more = self._source.bars(symbol, timeframe, end - span * timeframe.ms, earlier)
            if not len(more):
                return found, True
            found = concat([more, found])
        return found.tail(count), False


def _cleaned(bars: Bars, now_ms: int) -> Bars:
    """Give what is sound since the last break of the price series; raises `MarketDataError` on what is no market."""
    report = clean(bars, now_ms=now_ms)
    if not report.trusted:
        raise MarketDataError(
            f"{bars.symbol} {bars.timeframe.value}: not a market's bars: {report.findings[-1].detail}"
        )
    return last_continuous_piece(report)

"""Spans of closed bars answered from the data manager's cache, so that a scan asks the source for new bars only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bn_ml.domain.market import Symbol, Timeframe, to_ms
from data_manager.bars import Bars
from data_manager.data_manager import BinanceDataManager


class CachedBars:
    """Gives spans that end near the present, cleaned and cached; fetches for many symbols at once."""

    def __init__(self, market: BinanceDataManager) -> None:
        """Answer from this manager."""
        self._market = market

    def prepare(self, symbols: Iterable[Symbol], starts: Mapping[Timeframe, int]) -> None:
        """Bring the spans from `starts` (ms) on up to date; what fails is told when it is asked for."""
        wanted = tuple(symbols)
        for timeframe, start_ms in starts.items():
            self._market.prefetch(wanted, [timeframe], self._count(timeframe, start_ms))

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`; raises `MarketDataError`."""
        return self._market.bars(symbol, timeframe, self._count(timeframe, start_ms)).between(start_ms, end_ms)

    def _count(self, timeframe: Timeframe, start_ms: int) -> int:
        return max((to_ms(self._market.clock.now()) - start_ms) // timeframe.ms + 1, 1)

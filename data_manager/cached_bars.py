"""Spans of closed bars answered from the data manager's cache, so that a scan asks the source for new bars only."""

from __future__ import annotations

from bn_ml.domain.market import Symbol, Timeframe, to_ms
from data_manager.bars import Bars
from data_manager.data_manager import BinanceDataManager


class CachedBars:
    """Gives spans that end near the present, cleaned and cached."""

    def __init__(self, market: BinanceDataManager) -> None:
        """Answer from this manager."""
        self._market = market

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`; raises `MarketDataError`."""
        now_ms = to_ms(self._market.clock.now())
        count = max((now_ms - start_ms) // timeframe.ms + 1, 1)
        return self._market.bars(symbol, timeframe, int(count)).between(start_ms, end_ms)

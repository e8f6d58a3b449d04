"""Long history for training: what is stored, completed from the exchange, each bar fetched once."""

from __future__ import annotations

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars
from data_manager.history import HistoryStore
from ml_engine.training_data import History


class StoredHistory:
    """Reads the local store and fetches what it lacks before and after; what was fetched is added to the store."""

    def __init__(self, store: HistoryStore, remote: History | None) -> None:
        """Without `remote` only stored bars are given."""
        self._store = store
        self._remote = remote

    def history(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`; raises `MarketDataError` when there are none."""
        if self._remote is not None:
            for first, last in self._lacking(symbol, timeframe, start_ms, end_ms):
                fetched = self._remote.history(symbol, timeframe, first, last)
                if len(fetched):
                    self._store.merge(fetched)
        if not self._store.has(symbol, timeframe):
            raise MarketDataError(f"{symbol} {timeframe.value}: not in the history at {self._store.root}")
        return self._store.read(symbol, timeframe).between(start_ms, end_ms)

    def _lacking(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        if not self._store.has(symbol, timeframe):
            return [(start_ms, end_ms)]
        stored = self._store.describe(symbol, timeframe)
        if stored.rows == 0:
            return [(start_ms, end_ms)]
        spans = [(start_ms, stored.first_ms)] if stored.first_ms - start_ms >= timeframe.ms else []
        if end_ms - stored.last_ms >= 2 * timeframe.ms:
            # The newest stored bar is asked for again: fetched in the moment of its close it may have lacked trades.
            spans.append((stored.last_ms, end_ms))
        return spans

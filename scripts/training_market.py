"""Which bars the trainers learn from, and up to when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol, to_ms
from bn_ml.errors import BnMlError, MarketDataError
from bn_ml.ports import Clock
from data_manager.data_manager import BinanceDataManager
from data_manager.history import HistoryStore
from ml_engine.training_data import BASE, History
from ml_engine.training_history import StoredHistory

if TYPE_CHECKING:
    from bn_ml.settings import Settings


def open_history(settings: Settings, clock: Clock) -> tuple[History, str]:
    """Open the market data the settings name and say what it is.

    Live bars are kept in `data.history_dir`; when the exchange does not answer, what is kept there is used alone.
    Raises `MarketDataError` when there is neither.
    """
    mode = settings.data.paper_market_data_mode if settings.environment == "paper" else "live"
    store = HistoryStore(settings.data.history_dir)
    try:
        manager = BinanceDataManager(settings, clock=clock)
    except BnMlError as error:
        if mode != "live" or not store.symbols():
            raise
        return StoredHistory(store, None), f"stored bars in {store.root} (the exchange did not answer: {error})"
    if manager.source.name == "binance" and not settings.exchange.testnet:
        return StoredHistory(store, manager), f"{manager.source.name}, kept in {store.root}"
    return manager, manager.source.name


def training_end(settings: Settings, until: datetime | None, history: History, symbols: Sequence[Symbol]) -> int:
    """Give the instant (ms) after which nothing is used.

    `until` when given; for a replay its start, or without one the end of the records; otherwise now.
    """
    now_ms = to_ms(SystemClock().now())
    if until is not None:
        return min(to_ms(until), now_ms)
    if settings.environment != "paper" or settings.data.paper_market_data_mode != "replay":
        return now_ms
    if settings.data.replay_from is not None:
        return to_ms(settings.data.replay_from)
    return max((_last_close(history, symbol, now_ms) for symbol in symbols), default=0) or now_ms


def basket(settings: Settings) -> tuple[Symbol, ...]:
    """Give the fixed symbols of the market columns: the configured ones and the benchmark, without the excluded."""
    excluded = {Symbol(text) for text in settings.universe.exclude}
    names = (*settings.universe.training_symbols, settings.model.drift.benchmark_symbol)
    return tuple(sorted({Symbol(text) for text in names} - excluded))


def _last_close(history: History, symbol: Symbol, now_ms: int) -> int:
    try:
        bars = history.history(symbol, BASE, 0, now_ms)
    except MarketDataError:
        return 0
    return int(bars.close_time[-1]) if len(bars) else 0

"""Which bars the trainers learn from, and up to when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from bn_ml.clock import SimulatedClock, SystemClock
from bn_ml.domain.market import Symbol, to_ms
from bn_ml.errors import BnMlError, MarketDataError
from bn_ml.ports import Clock
from data_manager.data_manager import BinanceDataManager
from data_manager.history import HistoryStore
from ml_engine.training_data import BASE, History
from ml_engine.training_history import StoredHistory

if TYPE_CHECKING:
    from bn_ml.settings import Settings


def training_clock(settings: Settings, until: datetime | None) -> Clock:
    """Give the clock the bars are read by: standing at `until` (a replay: else at its start), or the running one.

    A real exchange is always read by the running clock.
    """
    mode = _mode(settings)
    moment = settings.data.replay_from if until is None and mode == "replay" else until
    if moment is None or mode not in ("replay", "synthetic"):
        return SystemClock()
    return SimulatedClock(moment)


def open_history(settings: Settings, clock: Clock) -> tuple[History, str]:
    """Open the market data the settings name and say what it is.

    Live bars are kept in `data.history_dir`, those of a testnet or sandbox in a folder of their own inside it; when the
    exchange does not answer, what is kept there is used alone. Raises `MarketDataError` when there is neither.
    """
    store = HistoryStore(settings.data.history_dir)
    try:
        manager = BinanceDataManager(settings, clock=clock)
    except BnMlError as error:
        if _mode(settings) != "live" or not store.symbols():
            raise
        return StoredHistory(store, None), f"stored bars in {store.root} (the exchange did not answer: {error})"
    name = manager.source.name
    if not name.startswith("binance"):
        return manager, name
    kept = store if name == "binance" else HistoryStore(store.root / name)
    return StoredHistory(kept, manager), f"{name}, kept in {kept.root}"


def training_end(
    settings: Settings, clock: Clock, until: datetime | None, history: History, symbols: Sequence[Symbol]
) -> int:
    """Give the instant (ms) after which nothing is used: `until`, the clock's, or the end of a replay's records."""
    now_ms = to_ms(clock.now() if until is None else min(until, clock.now()))
    if until is not None or _mode(settings) != "replay":
        return now_ms
    return max((_last_close(history, symbol, now_ms) for symbol in symbols), default=0) or now_ms


def _mode(settings: Settings) -> str:
    return settings.data.paper_market_data_mode if settings.environment == "paper" else "live"


def _last_close(history: History, symbol: Symbol, now_ms: int) -> int:
    try:
        bars = history.history(symbol, BASE, 0, now_ms)
    except MarketDataError:
        return 0
    return int(bars.close_time[-1]) if len(bars) else 0

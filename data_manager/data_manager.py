"""The one door to the market: bars, quotes and rules from a source, orders to an exchange."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bn_ml.clock import SystemClock
from bn_ml.domain.account import Balance
from bn_ml.domain.market import Bar, MarketRules, Quote, Symbol, Timeframe, to_ms
from bn_ml.domain.orders import Side
from bn_ml.errors import BnMlError, ExchangeError, MarketDataError, Unreachable
from bn_ml.paper_exchange import open_paper_exchange
from bn_ml.ports import Clock, Exchange
from bn_ml.quote_board import QuoteBoard
from bn_ml.settings import Settings
from bn_ml.venue.persistence import MemoryPersistence
from data_manager.bar_cache import BarCache
from data_manager.bars import Bars
from data_manager.manual_orders import ManualOrders
from data_manager.open_source import open_source
from data_manager.quality import require_fresh
from data_manager.quarantine import Quarantine
from data_manager.recent_answers import RecentPaths, RecentQuotes
from data_manager.records import bar_values, ticker
from data_manager.source import DataSource
from data_manager.streamed_quotes import StreamedQuotes
from data_manager.ta import function

if TYPE_CHECKING:
    import pandas as pd

_ATR_BARS = 14
_ATR = function("ATR")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class BinanceDataManager:
    """Market data of one source, chosen once, and the orders of one exchange.

    It is the `MarketView` of the trading engine. Bars are closed, cleaned and cached. Methods raise `MarketDataError`
    with a reason code when a symbol cannot be known, order methods raise `ExchangeError`. On paper, orders placed
    without an exchange go to an account of their own, kept in memory, with the configured capital.
    """

    def __init__(
        self,
        config: Settings | Mapping[str, object],
        source: DataSource | None = None,
        exchange: Exchange | None = None,
        clock: Clock | None = None,
        board: QuoteBoard | None = None,
    ) -> None:
        """Take the settings (or a partial mapping); without a source the one the settings name is opened.

        `board` holds the quotes a stream of the same venue brings; a source in memory needs none.
        """
        self.settings = config if isinstance(config, Settings) else Settings.from_mapping(config)
        self.clock: Clock = clock or SystemClock()
        mode = self.settings.data.paper_market_data_mode if self.settings.environment == "paper" else "live"
        self.source = source or open_source(self.settings, self.clock, mode)
        on_paper = self.settings.environment == "paper"
        self._orders = ManualOrders(exchange, self.clock, self._open_paper if on_paper else None)
        self._cache = BarCache(self.source)
        self._recent: RecentQuotes | StreamedQuotes = RecentQuotes(self._ask, self.clock)
        if board is not None:
            self._recent = StreamedQuotes(board, self._ask, self.clock, self.settings.data)
        self._recent_paths = RecentPaths(self.source.path, self.clock)
        self._quarantine = Quarantine()
        self._atr: dict[Symbol, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def symbols(self) -> tuple[Symbol, ...]:
        """Give the configured symbols without the excluded ones, in configured order."""
        excluded = {Symbol(name) for name in self.settings.universe.exclude}
        listed = (Symbol(name) for name in self.settings.universe.training_symbols)
        return tuple(symbol for symbol in dict.fromkeys(listed) if symbol not in excluded)

    def bars(self, symbol: Symbol, timeframe: Timeframe, count: int) -> Bars:
        """Give the newest `count` closed bars, fewer only where no more exist."""
        if count < 1:
            raise ValueError(f"{symbol} {timeframe.value}: at least 1 bar must be asked for, got {count}")
        now = self.clock.now()
        self._quarantine.admit(symbol, now)
        try:
            found = self._cache.bars(symbol, timeframe, count, to_ms(now))
            if not len(found):
                raise MarketDataError(f"{symbol} {timeframe.value}: no bars", "data_unavailable")
        except Unreachable as error:
            raise _unavailable(symbol, error) from error
        except (MarketDataError, ExchangeError) as error:
            self._quarantine.failed(symbol, now, str(error))
            raise _unavailable(symbol, error) from error
        self._quarantine.succeeded(symbol)
        return found

    def fresh_bars(self, symbol: Symbol, timeframe: Timeframe, count: int, *, minimum: int = 1) -> Bars:
        """Give bars fit to decide on; raises `too_few_bars`, `data_stale` or `data_gap` otherwise."""
        found = self.bars(symbol, timeframe, count)
        require_fresh(found, self.clock.now(), self.settings.data, minimum=minimum)
        return found

    def history(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`."""
        try:
            return self.source.bars(symbol, timeframe, start_ms, end_ms)
        except ExchangeError as error:
            raise _unavailable(symbol, error) from error

    def prefetch(
        self, symbols: Iterable[Symbol], timeframes: Sequence[Timeframe], count: int
    ) -> dict[Symbol, MarketDataError]:
        """Bring the cache up to date, several requests at once; gives the symbols that failed."""
        wanted = [(symbol, timeframe) for symbol in symbols for timeframe in timeframes]

        def fetch(item: tuple[Symbol, Timeframe]) -> MarketDataError | None:
            try:
                self.bars(item[0], item[1], count)
            except MarketDataError as error:
                return error
            return None

        if self.source.concurrency == 1:
            return {}
        answers = zip(wanted, self._at_once(fetch, wanted), strict=True)
        return {symbol: error for (symbol, _), error in answers if error is not None}

    def quarantined(self) -> Mapping[Symbol, datetime]:
        """Give the symbols left alone for failing, each with the instant it is tried again."""
        return self._quarantine.until(self.clock.now())

    def quote(self, symbol: Symbol) -> Quote:
        """Give the newest quote, streamed or asked for within the last second; its `at` says when it was true."""
        return self._ask(symbol) if self.source.concurrency == 1 else self._recent.quote(symbol)

    def quotes(self, symbols: Iterable[Symbol]) -> dict[Symbol, Quote | MarketDataError]:
        """Give the newest quote of each symbol, or why there is none; several requests at once."""
        wanted = tuple(symbols)

        def ask(symbol: Symbol) -> Quote | MarketDataError:
            try:
                return self.quote(symbol)
            except MarketDataError as error:
                return error

        return dict(zip(wanted, self._at_once(ask, wanted), strict=True))

    def path(self, symbol: Symbol, since: datetime, until: datetime) -> Sequence[Bar]:
        """Give the finest closed bars with `since <= open_at` and `close_at <= until`, in time order."""
        since_ms, until_ms = to_ms(since), to_ms(until)
        source = self.source if self.source.concurrency == 1 else self._recent_paths
        try:
            return bar_values(source.path(symbol, since_ms, until_ms))
        except ExchangeError as error:
            raise _unavailable(symbol, error) from error

    def atr_frac(self, symbol: Symbol) -> float:
        """Give ATR(14) of the base timeframe over the newest close."""
        base = Timeframe(self.settings.model.multi_timeframe.base_timeframe)
        found = self.bars(symbol, base, self.settings.risk.atr_ohlcv_limit)
        if len(found) <= _ATR_BARS:
            raise MarketDataError(f"{symbol}: {len(found)} bars are too few for an ATR", "too_few_bars")
        last = int(found.open_time[-1])
        with self._lock:
            known = self._atr.get(symbol)
        if known is None or known[0] != last:
            columns = (np.ascontiguousarray(column) for column in (found.high, found.low, found.close))
            ranges = np.asarray(_ATR(*columns, timeperiod=_ATR_BARS))
            known = (last, float(ranges[-1] / found.close[-1]))
            with self._lock:
                self._atr[symbol] = known
        return known[1]

    def rules(self, symbol: Symbol) -> MarketRules:
        """Give the venue's filters for a symbol."""
        try:
            rules = self.source.markets().get(symbol)
        except ExchangeError as error:
            raise _unavailable(symbol, error) from error
        if rules is None:
            raise MarketDataError(f"{symbol}: not listed by {self.source.name}", "data_unavailable")
        return rules

    def fetch_ohlcv(self, symbol: str, timeframe: str = "15m", limit: int = 500) -> pd.DataFrame:
        """Give the newest closed bars as a pandas frame, one row per bar, `timestamp` = open time (UTC)."""
        frame = self.bars(Symbol(symbol), Timeframe(timeframe), limit).to_frame()
        frame.insert(0, "timestamp", frame["open_time"])
        return frame

    def fetch_ticker(self, symbol: str) -> dict[str, object]:
        """Give the newest quote as plain values."""
        return ticker(self.quote(Symbol(symbol)))

    def get_balance(self) -> dict[str, dict[str, float]]:
        """Give free, used and total amounts by asset."""
        held: Mapping[str, Balance] = self._orders.exchange.balances()
        return {
            asset: {"free": float(amount.free), "used": float(amount.locked), "total": float(amount.total)}
            for asset, amount in held.items()
        }

    def create_order(self, symbol: str, side: str, amount: float, price: float | None = None) -> dict[str, object]:
        """Place a market order, or a limit order when a price is given, sent exactly once."""
        return self._orders.create(self.rules(Symbol(symbol)), Side(side.upper()), amount, price)

    def fetch_order_status(self, order_id: str) -> dict[str, object]:
        """Give the state of an order placed through this object or still open at the exchange."""
        return self._orders.status(order_id)

    def cancel_order(self, order_id: str) -> dict[str, object]:
        """Cancel an order placed through this object or still open at the exchange."""
        return self._orders.cancel(order_id)

    def _open_paper(self) -> Exchange:
        return open_paper_exchange(self.settings, MemoryPersistence(), self, self.clock)

    def _ask(self, symbol: Symbol) -> Quote:
        try:
            return self.source.quote(symbol)
        except (ExchangeError, ValueError) as error:
            raise _unavailable(symbol, error) from error

    def _at_once(self, call: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
        if self.source.concurrency == 1:
            return [call(item) for item in items]
        with ThreadPoolExecutor(self.source.concurrency) as pool:
            return list(pool.map(call, items))


def _unavailable(symbol: Symbol, error: Exception) -> MarketDataError:
    if isinstance(error, MarketDataError):
        return error
    prefix = "" if isinstance(error, BnMlError) else f"{type(error).__name__}: "
    return MarketDataError(f"{symbol}: {prefix}{error}", "data_unavailable")

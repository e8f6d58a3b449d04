"""What the venue said a moment ago, so that one look at a symbol asks once however many parts of the bot ask."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from bn_ml.domain.market import Quote, Symbol, Timeframe
from bn_ml.errors import ExchangeError, MarketDataError
from bn_ml.ports import Clock
from data_manager.bars import Bars, empty_bars

QUOTE_KEPT = timedelta(seconds=1)
FAILURE_KEPT = timedelta(seconds=3)
_MINUTE_MS = Timeframe.M1.ms
_REACH_BACK_MS = 10 * _MINUTE_MS
Error = MarketDataError | ExchangeError


class RecentFailures:
    """Failures of the last three seconds by symbol. Safe for several threads."""

    def __init__(self, clock: Clock) -> None:
        """Remember nothing yet."""
        self._clock = clock
        self._failures: dict[Symbol, tuple[datetime, Error]] = {}

    def require_none(self, symbol: Symbol) -> None:
        """Raise the symbol's failure again while it is recent."""
        failed = self._failures.get(symbol)
        if failed is not None and self._clock.now() - failed[0] < FAILURE_KEPT:
            raise failed[1].with_traceback(None)

    def remember(self, symbol: Symbol, error: Error) -> None:
        """Keep a failure that was just seen."""
        self._failures[symbol] = (self._clock.now(), error)


class RecentQuotes:
    """Quotes up to a second old, failures up to three. Safe for several threads."""

    def __init__(self, ask: Callable[[Symbol], Quote], clock: Clock) -> None:
        """`ask` asks the venue and raises `MarketDataError`."""
        self._ask = ask
        self._clock = clock
        self._quotes: dict[Symbol, Quote] = {}
        self._failures = RecentFailures(clock)

    def quote(self, symbol: Symbol) -> Quote:
        """Give the quote of a moment ago or a new one; raises `MarketDataError`."""
        known = self._quotes.get(symbol)
        if known is not None and timedelta(0) <= self._clock.now() - known.at < QUOTE_KEPT:
            return known
        self._failures.require_none(symbol)
        try:
            found = self._quotes[symbol] = self._ask(symbol)
        except MarketDataError as error:
            self._failures.remember(symbol, error)
            raise
        return found


class RecentPaths:
    """The minutes a symbol went through, asked for once in a minute. Safe for several threads."""

    def __init__(self, ask: Callable[[Symbol, int, int], Bars], clock: Clock) -> None:
        """`ask` is the `path` of a source, whose bars are a minute long or longer."""
        self._ask = ask
        self._kept: dict[Symbol, tuple[int, int, Bars]] = {}
        self._failures = RecentFailures(clock)

    def path(self, symbol: Symbol, since_ms: int, until_ms: int) -> Bars:
        """Give the closed bars with `since_ms <= open_time` and `close_time <= until_ms`."""
        minute = until_ms // _MINUTE_MS
        if since_ms // _MINUTE_MS == minute:
            return empty_bars(symbol, Timeframe.M1, "none closed")
        first, known_minute, bars = self._kept.get(symbol, (since_ms, -1, None))
        if bars is None or first > since_ms or known_minute != minute:
            first = min(first, since_ms) if since_ms - first < _REACH_BACK_MS else since_ms
            bars = self._asked(symbol, first, until_ms)
            self._kept[symbol] = (first, minute, bars)
        return bars.between(since_ms, until_ms - bars.timeframe.ms + 1)

    def _asked(self, symbol: Symbol, since_ms: int, until_ms: int) -> Bars:
        self._failures.require_none(symbol)
        try:
            return self._ask(symbol, since_ms, until_ms)
        except (MarketDataError, ExchangeError) as error:
            self._failures.remember(symbol, error)
            raise

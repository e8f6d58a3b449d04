"""What the venue said a moment ago, so that one look at a symbol asks once however many parts of the bot ask."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from bn_ml.domain.market import Quote, Symbol
from bn_ml.errors import MarketDataError
from bn_ml.ports import Clock

QUOTE_KEPT = timedelta(seconds=1)
FAILURE_KEPT = timedelta(seconds=3)


class RecentQuotes:
    """Quotes up to a second old, failures up to three. Safe for several threads."""

    def __init__(self, ask: Callable[[Symbol], Quote], clock: Clock) -> None:
        """`ask` asks the venue and raises `MarketDataError`."""
        self._ask = ask
        self._clock = clock
        self._quotes: dict[Symbol, Quote] = {}
        self._failures: dict[Symbol, tuple[datetime, MarketDataError]] = {}
        self._lock = threading.Lock()

    def quote(self, symbol: Symbol) -> Quote:
        """Give the quote of a moment ago or a new one; raises `MarketDataError`."""
        now = self._clock.now()
        with self._lock:
            known, failed = self._quotes.get(symbol), self._failures.get(symbol)
        if known is not None and timedelta(0) <= now - known.at < QUOTE_KEPT:
            return known
        if failed is not None and now - failed[0] < FAILURE_KEPT:
            raise MarketDataError(str(failed[1]), failed[1].reason)
        try:
            found = self._ask(symbol)
        except MarketDataError as error:
            with self._lock:
                self._failures[symbol] = (self._clock.now(), error)
            raise
        with self._lock:
            self._quotes[symbol] = found
            self._failures.pop(symbol, None)
        return found

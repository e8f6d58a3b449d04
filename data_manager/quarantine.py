"""Symbols whose data failed are left alone for a while that doubles with each further failure."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bn_ml.domain.market import Symbol, iso
from bn_ml.errors import MarketDataError

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class _Failure:
    count: int
    until: datetime
    why: str


class Quarantine:
    """Remembers failures by symbol. Safe for several threads."""

    def __init__(self) -> None:
        """Start with every symbol admitted."""
        self._failures: dict[Symbol, _Failure] = {}
        self._lock = threading.Lock()

    def admit(self, symbol: Symbol, now: datetime) -> None:
        """Raise `MarketDataError` while the symbol's pause lasts."""
        failure = self._failures.get(symbol)
        if failure is not None and now < failure.until:
            raise MarketDataError(f"{symbol}: left alone until {iso(failure.until)} after: {failure.why}")

    def failed(self, symbol: Symbol, now: datetime, why: str) -> None:
        """Begin or double the pause of a symbol."""
        with self._lock:
            known = self._failures.get(symbol)
            count = known.count + 1 if known else 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(count - 1, 10))
            self._failures[symbol] = _Failure(count, now + pause, why)

    def succeeded(self, symbol: Symbol) -> None:
        """Forget a symbol's failures."""
        if symbol in self._failures:
            with self._lock:
                self._failures.pop(symbol, None)

    def until(self, now: datetime) -> Mapping[Symbol, datetime]:
        """Give the symbols still paused and the end of each pause."""
        with self._lock:
            return {symbol: failure.until for symbol, failure in self._failures.items() if failure.until > now}

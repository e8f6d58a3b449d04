"""Carries the venue along the market: every second in which an order could be met, and always the present one."""

from __future__ import annotations

from decimal import Decimal

from bn_ml.domain.market import Symbol
from bn_ml.venue.matching import may_meet
from bn_ml.venue.venue import Venue
from public_api.sandbox.market_feed import MarketFeed
from public_api.sandbox.second_path import SECOND_MS

_CHUNK_MS = 60 * SECOND_MS
_MARGIN = Decimal("0.01")


class MarketWalk:
    """Shows a venue the quotes of a feed up to an instant, none twice, symbols in alphabetical order."""

    def __init__(self, feed: MarketFeed, venue: Venue, start_ms: int) -> None:
        """Begin at an instant; the venue knows no price before the first `advance`."""
        self._feed = feed
        self._venue = venue
        self._second = start_ms // SECOND_MS - 1

    def advance(self, now_ms: int) -> bool:
        """Walk to the second of an instant; tells whether a new second has begun."""
        target = now_ms // SECOND_MS
        if target <= self._second:
            return False
        for symbol in sorted(self._venue.state.rules):
            if symbol not in self._feed.rules:
                continue
            if self._venue.state.open_orders(symbol):
                self._walk(symbol, (self._second + 1) * SECOND_MS, target * SECOND_MS)
            self._show(symbol, target * SECOND_MS)
        self._second = target
        return True

    def refresh(self, symbol: Symbol, now_ms: int) -> None:
        """Show the quote of this very instant, after an operator has set a price."""
        self._show(symbol, now_ms)

    def _walk(self, symbol: Symbol, since_ms: int, until_ms: int) -> None:
        """Show the seconds of `since_ms..until_ms` (exclusive), minutes that meet no order left out."""
        start_ms = since_ms
        while start_ms < until_ms:
            end_ms = min(until_ms, (start_ms // _CHUNK_MS + 1) * _CHUNK_MS)
            if self._meets(symbol, start_ms, end_ms):
                for at_ms in range(start_ms, end_ms, SECOND_MS):
                    self._show(symbol, at_ms)
            start_ms = end_ms

    def _meets(self, symbol: Symbol, start_ms: int, end_ms: int) -> bool:
        if end_ms - start_ms <= SECOND_MS:
            return True
        series = self._feed.series(symbol)
        extremes = series.extremes(start_ms, end_ms)
        if extremes is None:
            return False
        low, high = (ticks * series.rules.tick for ticks in extremes)
        margin = high * _MARGIN
        orders = self._venue.state.open_orders(symbol)
        return any(may_meet(order, low - margin, high + margin) for order in orders)

    def _show(self, symbol: Symbol, at_ms: int) -> None:
        quote = self._feed.quote(symbol, at_ms)
        if quote is not None:
            self._venue.on_quote(quote)

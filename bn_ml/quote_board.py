"""Streamed quotes, handed from the thread that receives them to those that decide on them.

A quote here is as old as its older half: the book counts from its receipt, since the venue sends no time with it, the
last price from the venue's own time of it. Streams that stand still therefore age, whatever the cause.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.domain.market import Quote, Symbol, from_ms
from bn_ml.ports import Clock

LEAST_PRICE = Decimal("1e-8")
MOST_PRICE = Decimal(2**62) * LEAST_PRICE
MOST_EVENT_MS = 4_102_444_800_000
KEPT_S = 120.0
"""An older half is of use to nobody and may be forgotten."""

_NOISE = timedelta(milliseconds=50)

NOT_FOLLOWED, BAD_PRICE, BAD_NUMBER, CROSSED = "not_followed", "bad_price", "bad_number", "crossed"
OUT_OF_ORDER = "out_of_order"
REFUSALS = (NOT_FOLLOWED, BAD_PRICE, BAD_NUMBER, CROSSED, OUT_OF_ORDER)


@dataclass(frozen=True, slots=True)
class Received:
    """When something arrived, by the desk's clock and in monotonic seconds, and its place in the venue's order."""

    at: datetime
    monotonic_s: float
    number: int


@dataclass(frozen=True, slots=True)
class Streamed:
    """What is known of a symbol: the best bid and ask, and the last price; each half None until it arrived."""

    bid: Decimal = LEAST_PRICE
    ask: Decimal = LEAST_PRICE
    last: Decimal = LEAST_PRICE
    book: Received | None = None
    trade: Received | None = None


class QuoteBoard:
    """The newest streamed quote of each followed symbol. Safe for several threads; holds no more than `capacity`."""

    def __init__(self, clock: Clock, *, source: str, capacity: int) -> None:
        """`source` is the word the quotes carry, that of the source the same venue is asked through."""
        self._clock = clock
        self._source = source
        self._capacity = capacity
        self._lock = threading.Lock()
        self._known: dict[Symbol, Streamed] = {}
        self._refused = dict.fromkeys(REFUSALS, 0)

    def follow(self, symbols: Iterable[Symbol]) -> tuple[Symbol, ...]:
        """Keep these symbols and forget all others; gives those kept, the first `capacity` of them."""
        wanted = tuple(dict.fromkeys(symbols))[: self._capacity]
        with self._lock:
            self._known = {symbol: self._known.get(symbol, Streamed()) for symbol in wanted}
        return wanted

    def forget_old(self) -> None:
        """Forget halves older than two minutes, and with them the order they stood in.

        To be called on a new connection: a venue that was reset counts its updates from the beginning again.
        """
        monotonic_s = self._clock.monotonic()
        with self._lock:
            for symbol, known in self._known.items():
                book, trade = (_recent(half, monotonic_s) for half in (known.book, known.trade))
                self._known[symbol] = replace(known, book=book, trade=trade)

    def book(self, symbol: Symbol, *, bid: Decimal, ask: Decimal, update_id: int) -> bool:
        """Take best bid and ask just received; False when they are refused and what is known stays."""
        if not (_is_price(bid) and _is_price(ask)):
            return self._refuse(BAD_PRICE)
        if bid > ask:
            return self._refuse(CROSSED)
        if update_id < 0:
            return self._refuse(BAD_NUMBER)
        got = self._received(update_id)
        with self._lock:
            known = self._known.get(symbol)
            if known is not None and _is_newer(got, known.book):
                self._known[symbol] = replace(known, bid=bid, ask=ask, book=got)
                return True
        return self._refuse(NOT_FOLLOWED if known is None else OUT_OF_ORDER)

    def traded(self, symbol: Symbol, *, last: Decimal, event_ms: int) -> bool:
        """Take a last price just received, true at `event_ms` of the venue; False when it is refused."""
        if not _is_price(last):
            return self._refuse(BAD_PRICE)
        if not 0 <= event_ms <= MOST_EVENT_MS:
            return self._refuse(BAD_NUMBER)
        got = self._received(event_ms)
        got = replace(got, at=min(got.at, from_ms(event_ms)))
        with self._lock:
            known = self._known.get(symbol)
            if known is not None and _is_newer(got, known.trade):
                self._known[symbol] = replace(known, last=last, trade=got)
                return True
        return self._refuse(NOT_FOLLOWED if known is None else OUT_OF_ORDER)

    def quote(self, symbol: Symbol, base: Quote | None = None) -> Quote | None:
        """Give the newest streamed quote, None while it lacks book or last price.

        Depth and turnover are not streamed: they are those of `base`, zero without one. `at` is never later than the
        quote was true, even when the clock was set back since.
        """
        with self._lock:
            known = self._known.get(symbol)
        if known is None or known.book is None or known.trade is None:
            return None
        now, monotonic_s = self._clock.now(), self._clock.monotonic()
        at = min(_true_at(half, now, monotonic_s) for half in (known.book, known.trade))
        streamed = Quote(symbol, known.bid, known.ask, known.last, at, self._source)
        if base is None:
            return streamed
        return replace(streamed, depth_quote=base.depth_quote, volume_24h_quote=base.volume_24h_quote)

    def ages(self) -> Mapping[Symbol, float]:
        """Give the age in seconds of each followed symbol's quote, infinite while it has none."""
        now = self._clock.now()
        with self._lock:
            followed = tuple(self._known)
        quotes = ((symbol, self.quote(symbol)) for symbol in followed)
        return {symbol: quote.age_s(now) if quote else float("inf") for symbol, quote in quotes}

    def refused(self) -> Mapping[str, int]:
        """Give how many updates were refused, by cause."""
        with self._lock:
            return dict(self._refused)

    def _received(self, number: int) -> Received:
        return Received(self._clock.now(), self._clock.monotonic(), number)

    def _refuse(self, cause: str) -> bool:
        with self._lock:
            self._refused[cause] += 1
        return False


def _is_price(price: Decimal) -> bool:
    return price.is_finite() and LEAST_PRICE <= price <= MOST_PRICE


def _is_newer(got: Received, known: Received | None) -> bool:
    """Tell whether an update comes after the known one; the same number again is no news and refreshes nothing."""
    return known is None or got.number > known.number


def _recent(half: Received | None, monotonic_s: float) -> Received | None:
    return half if half is not None and monotonic_s - half.monotonic_s <= KEPT_S else None


def _true_at(half: Received, now: datetime, monotonic_s: float) -> datetime:
    """Give when a half was true; earlier than told when the clock was set back since by more than the noise."""
    carried = now - timedelta(seconds=monotonic_s - half.monotonic_s)
    return carried if carried < half.at - _NOISE else half.at

"""Which symbols a connection streams: what to ask for next, and what became of it. No IO, no threads, no clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bn_ml.domain.market import Symbol
from bn_ml.errors import Transient

REQUEST_INTERVAL_S = 0.25
"""The venue takes five messages a second, answers to its pings among them."""

SYMBOLS_PER_REQUEST = 25
FIRST_ASIDE_S, LONGEST_ASIDE_S = 10.0, 600.0
ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is not answered yet."""

    subscribes: bool
    symbols: tuple[Symbol, ...]
    sent_s: float


class Subscriptions:
    """Brings what is streamed in line with what is wanted, by few and small requests.

    A refused request for several symbols is repeated symbol by symbol; a symbol refused alone is set aside, for ten
    seconds at first and twice as long each time up to ten minutes, so that it does not cost the others their stream.
    Times are monotonic seconds given by the caller.
    """

    def __init__(self) -> None:
        """Nothing is wanted, nothing is streamed."""
        self._streamed: dict[Symbol, None] = {}
        self._pending: dict[int, Request] = {}
        self._singly: set[Symbol] = set()
        self._aside: dict[Symbol, float] = {}
        self._refusals: dict[Symbol, int] = {}
        self._next_id = 1
        self._next_at_s = float("-inf")

    @property
    def streamed(self) -> tuple[Symbol, ...]:
        """The symbols the venue said it streams."""
        return tuple(self._streamed)

    def reset(self) -> None:
        """Begin a new connection, which streams nothing yet; symbols set aside stay so."""
        self._streamed.clear()
        self._pending.clear()

    def request(self, wanted: Sequence[Symbol], now_s: float) -> str | None:
        """Give the next message to send, None when there is nothing to ask for or it is too early to."""
        if now_s < self._next_at_s:
            return None
        self._singly.intersection_update(wanted)
        self._refusals = {symbol: count for symbol, count in self._refusals.items() if symbol in wanted}
        busy = {symbol for request in self._pending.values() for symbol in request.symbols}
        superfluous = [symbol for symbol in self._streamed if symbol not in wanted and symbol not in busy]
        self._aside = {symbol: until_s for symbol, until_s in self._aside.items() if until_s > now_s}
        known = self._streamed.keys() | busy | self._aside.keys()
        absent = [symbol for symbol in dict.fromkeys(wanted) if symbol not in known]
        batch = superfluous or [symbol for symbol in absent if symbol not in self._singly] or absent[:1]
        if not batch:
            return None
        asked = Request(not superfluous, tuple(batch[:SYMBOLS_PER_REQUEST]), now_s)
        self._pending[self._next_id] = asked
        text = _message(asked, self._next_id)
        self._next_id += 1
        self._next_at_s = now_s + REQUEST_INTERVAL_S
        return text

    def acknowledged(self, request_id: int) -> None:
        """Take note that the venue did what was asked; an unknown id changes nothing."""
        request = self._pending.pop(request_id, None)
        if request is None:
            return
        for symbol in request.symbols:
            self._singly.discard(symbol)
            self._refusals.pop(symbol, None)
            if request.subscribes:
                self._streamed[symbol] = None
            else:
                self._streamed.pop(symbol, None)

    def refused(self, request_id: int | None, now_s: float) -> tuple[Symbol, ...]:
        """Take note of a refusal, without an id that of the oldest request; gives the symbols now set aside.

        Raises `Transient` when nothing was asked, or a symbol could not be given up: the connection is not understood.
        """
        if request_id is None:
            request_id = min(self._pending, default=None)
        request = self._pending.pop(request_id, None) if request_id is not None else None
        if request is None or not request.subscribes:
            raise Transient("the stream refused what was not asked of it")
        if len(request.symbols) > 1:
            self._singly.update(request.symbols)
            return ()
        (symbol,) = request.symbols
        self._refusals[symbol] = self._refusals.get(symbol, 0) + 1
        length_s = FIRST_ASIDE_S * 2 ** min(self._refusals[symbol] - 1, 10)
        self._aside[symbol] = now_s + min(length_s, LONGEST_ASIDE_S)
        return request.symbols

    def is_overdue(self, now_s: float, limit_s: float = ANSWER_WITHIN_S) -> bool:
        """Tell whether a request has waited too long for its answer."""
        return any(now_s - request.sent_s > limit_s for request in self._pending.values())


def stream_names(symbol: Symbol) -> tuple[str, str]:
    """Give the venue's names of a symbol's two streams.

    >>> stream_names(Symbol("BTC/USDC"))
    ('btcusdc@miniTicker', 'btcusdc@bookTicker')
    """
    name = f"{symbol.base}{symbol.quote}".lower()
    return f"{name}@miniTicker", f"{name}@bookTicker"


def _message(request: Request, number: int) -> str:
    names = [name for symbol in request.symbols for name in stream_names(symbol)]
    return json.dumps({"method": "SUBSCRIBE" if request.subscribes else "UNSUBSCRIBE", "params": names, "id": number})

"""Puts what a price stream says onto the board and keeps the count. No IO and no threads of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from bn_ml.domain.market import Symbol
from bn_ml.errors import Transient
from bn_ml.ports import Clock
from bn_ml.quote_board import QuoteBoard
from monitoring.stream_messages import Acknowledged, BookUpdate, LastPrice, Message, ShuttingDown, read_message
from monitoring.stream_subscriptions import Subscriptions

log = logging.getLogger(__name__)

_BOOK_MARK = '@bookTicker"'
_BOOK_MARK_WITHIN = 80


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How long what may last on a stream, in seconds, how many messages a second are read, and the seed of the jitter.

    A connection is given up without a usable message for `idle_s`, and before the venue ends it at 24 hours. Waits
    before connecting again double, up to `longest_wait_s`, until a connection has lasted `settled_s`.
    """

    connect_s: float = 10.0
    answer_s: float = 10.0
    idle_s: float = 30.0
    settled_s: float = 30.0
    lifetime_s: float = 23.5 * 3600
    longest_wait_s: float = 60.0
    turn_s: float = 0.1
    messages_per_s: int = 2000
    seed: int = 0


@dataclass(slots=True)
class StreamTally:
    """What happened so far; written by the stream's thread, read by any."""

    connections: int = 0
    streamed: int = 0
    messages: int = 0
    accepted: int = 0
    refused: int = 0
    malformed: int = 0
    skipped: int = 0
    refused_requests: int = 0


class StreamInbox:
    """Reads messages, asks for what is wanted, and says when a connection is of no more use."""

    def __init__(self, board: QuoteBoard, clock: Clock, limits: StreamLimits) -> None:
        """`clock` measures silence and rates; the board stamps what arrives."""
        self.tally = StreamTally()
        self._board = board
        self._clock = clock
        self._limits = limits
        self._subscriptions = Subscriptions()
        self._names: dict[str, Symbol] = {}
        self._useful_s = 0.0
        self._second = 0
        self._in_second = 0

    @property
    def followed(self) -> int:
        """How many symbols are wanted."""
        return len(self._names)

    def follow(self, symbols: Sequence[Symbol]) -> None:
        """Say which symbols are wanted from now on; may be called from any thread."""
        self._names = {f"{symbol.base}{symbol.quote}": symbol for symbol in symbols}

    def opened(self) -> None:
        """Begin a new connection."""
        self._board.forget_old()
        self._subscriptions.reset()
        self._useful_s = self._clock.monotonic()
        self.tally.connections += 1
        self.tally.streamed = 0

    def request(self) -> str | None:
        """Give the next message to send, None when nothing is due."""
        return self._subscriptions.request(tuple(self._names.values()), self._clock.monotonic())

    def take(self, text: str) -> bool:
        """Use one message, whatever it is; True when the venue is about to close the connection."""
        self.tally.messages += 1
        if self._is_too_many() and _BOOK_MARK in text[:_BOOK_MARK_WITHIN]:
            self.tally.skipped += 1
            return False
        try:
            message = read_message(text)
        except ValueError as error:
            self.tally.malformed += 1
            log.debug("unusable message on the price stream reason=%s", error)
            return False
        if isinstance(message, ShuttingDown):
            return True
        self._use(message)
        return False

    def require_useful(self) -> None:
        """Raise `Transient` when nothing usable came for too long, or a request was not answered."""
        now_s = self._clock.monotonic()
        silent_s = now_s - self._useful_s
        if silent_s > self._limits.idle_s:
            raise Transient(f"no usable message for {silent_s:.1f} s")
        if self._subscriptions.is_overdue(now_s, self._limits.answer_s):
            raise Transient(f"a request was not answered within {self._limits.answer_s:g} s")

    def _use(self, message: Message) -> None:
        if isinstance(message, BookUpdate | LastPrice):
            self._price(message)
        elif isinstance(message, Acknowledged):
            self._subscriptions.acknowledged(message.request_id)
            self.tally.streamed = len(self._subscriptions.streamed)
            self._useful_s = self._clock.monotonic()
        elif not isinstance(message, ShuttingDown):
            self.tally.refused_requests += 1
            aside = self._subscriptions.refused(message.request_id, self._clock.monotonic())
            log.warning(
                "the price stream refused a request cause=%s set_aside=%s", message.text, ",".join(aside) or "-"
            )

    def _price(self, message: BookUpdate | LastPrice) -> None:
        symbol = self._names.get(message.name)
        if symbol is None:
            accepted = False
        elif isinstance(message, BookUpdate):
            accepted = self._board.book(symbol, bid=message.bid, ask=message.ask, update_id=message.update_id)
        else:
            accepted = self._board.traded(symbol, last=message.last, event_ms=message.event_ms)
        if accepted:
            self.tally.accepted += 1
            self._useful_s = self._clock.monotonic()
        else:
            self.tally.refused += 1

    def _is_too_many(self) -> bool:
        """Count the messages of a second: of the best prices beyond the limit only later ones are read."""
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second > self._limits.messages_per_s

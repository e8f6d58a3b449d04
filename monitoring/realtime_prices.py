"""The thread that streams quotes of held and scanned symbols onto a board, whatever the venue or the network does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.ports import Clock
from bn_ml.quote_board import QuoteBoard
from bn_ml.settings import RealtimePricesSettings, Settings
from monitoring.stream_address import stream_url
from monitoring.stream_inbox import StreamInbox, StreamLimits

if TYPE_CHECKING:
    from monitoring.stream_client import StreamClient

log = logging.getLogger(__name__)

_PLANNED_WAIT_S = 1.0
_STALE_AFTER_S = 90.0
"""Longer than a name server may keep a connection waiting; quotes are asked for meanwhile."""


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """What happened on the stream so far, for metrics and health.

    `malformed` counts messages that could not be read, `refused` those the board did not take, `skipped` those beyond
    the reading rate, `refused_requests` what the venue would not do, `left_out` the symbols wanted beyond the maximum,
    `failures` the connections that did not end as planned. `beat_age_s` is how long ago the thread last turned,
    infinite before it began.
    """

    connected: bool
    followed: int
    left_out: int
    failures: int
    last_error: str
    beat_age_s: float
    connections: int
    streamed: int
    messages: int
    accepted: int
    refused: int
    malformed: int
    skipped: int
    refused_requests: int


class RealtimePrices:
    """Keeps a board's quotes fresh from the venue's combined stream, on a daemon thread of its own: a `Worker`.

    Nothing here blocks a caller beyond a moment's lock; `stop` waits two seconds at most. Every failure ends in a new
    client after a wait. While there is no stream the board's quotes simply age. A thread that hangs while another one
    is begun in its place ends as soon as it can.
    """

    def __init__(
        self,
        url: str,
        settings: RealtimePricesSettings,
        board: QuoteBoard,
        clock: Clock,
        limits: StreamLimits | None = None,
    ) -> None:
        """Nothing is opened before `start`; `clock` is the board's."""
        self.name = "realtime-prices"
        self.stale_after_s = _STALE_AFTER_S
        self.board = board
        self._url = url
        self._settings = settings
        self._clock = clock
        self._limits = limits or StreamLimits()
        self._inbox = StreamInbox(board, clock, self._limits)
        self._jitter = np.random.default_rng(self._limits.seed)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._client: StreamClient | None = None
        self._left_out = 0
        self._failures = 0
        self._last_error = ""
        self._beat_s = float("-inf")

    def start(self) -> None:
        """Begin to stream what is followed, in a thread that takes the place of an earlier one."""
        self._stop.set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; it is a daemon and keeps nothing that must be saved."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def beat_age_s(self) -> float:
        """Give how long ago the thread last turned, infinite before it began."""
        return self._clock.monotonic() - self._beat_s

    def follow(self, held: Iterable[Symbol], scanned: Iterable[Symbol] = ()) -> None:
        """Say what is wanted from now on: held symbols first, then scanned ones, best first, up to the maximum."""
        beside = scanned if self._settings.include_scan_pairs else ()
        wanted = tuple(dict.fromkeys((*held, *beside)))
        kept = self.board.follow(wanted[: self._settings.max_symbols])
        self._inbox.follow(kept)
        self._left_out = len(wanted) - len(kept)

    def figures(self) -> StreamFigures:
        """Give what happened so far."""
        client = self._client
        return StreamFigures(
            connected=client is not None and client.is_connected,
            followed=self._inbox.followed,
            left_out=self._left_out,
            failures=self._failures,
            last_error=self._last_error,
            beat_age_s=self.beat_age_s(),
            **asdict(self._inbox.tally),
        )

    def _run(self, stop: threading.Event) -> None:
        in_row = 0
        while self._goes_on(stop):
            if not self._inbox.followed:
                stop.wait(self._limits.turn_s)
                continue
            began_s = self._clock.monotonic()
            as_planned = self._connect_once(in_row, stop)
            settled = self._clock.monotonic() - began_s >= self._limits.settled_s
            in_row = 0 if settled else in_row + 1
            first_s = self._settings.reconnect_delay_sec
            if settled and as_planned:
                first_s = min(first_s, _PLANNED_WAIT_S)
            self._wait(wait_s(first_s, in_row, self._limits.longest_wait_s) * self._jitter.uniform(0.75, 1.25), stop)

    def _connect_once(self, in_row: int, stop: threading.Event) -> bool:
        """Stream until the connection ends; False when that was not planned, which is told once in a row."""
        # Its library takes a tenth of a second to import: no start waits for that.
        from monitoring.stream_client import StreamClient

        client = StreamClient(self._url, self._inbox, self._clock, self._limits, lambda: self._has_work(stop))
        self._client = client
        try:
            asyncio.run(client.run())
        except Exception as error:  # noqa: BLE001 - a thread main: whatever happened, a new client is built
            self._failures += 1
            self._last_error = f"{type(error).__name__}: {error!s:.200}"
            level = logging.DEBUG if in_row else logging.WARNING
            log.log(level, "price stream lost, quotes are asked for meanwhile cause=%r", self._last_error)
            return False
        finally:
            if self._client is client:
                self._client = None
        return True

    def _goes_on(self, stop: threading.Event) -> bool:
        """Tell whether this thread is to go on, and take note that it lives; another one took its place when not."""
        if stop.is_set():
            return False
        self._beat_s = self._clock.monotonic()
        return True

    def _has_work(self, stop: threading.Event) -> bool:
        return self._goes_on(stop) and self._inbox.followed > 0

    def _wait(self, length_s: float, stop: threading.Event) -> None:
        until_s = self._clock.monotonic() + length_s
        while self._goes_on(stop) and (left_s := until_s - self._clock.monotonic()) > 0:
            stop.wait(min(left_s, 1.0))


def open_realtime_prices(settings: Settings, clock: Clock, source: str) -> RealtimePrices | None:
    """Give the stream that belongs to the configured venue, None when it is switched off or the venue has none.

    `source` is the name of the market data source in use, which the streamed quotes carry. Raises `ConfigError` when
    `exchange.ws_url` leads to another market than the orders.
    """
    wanted = settings.monitoring.realtime_prices
    url = stream_url(settings.exchange) if wanted.enabled else None
    if url is None:
        return None
    board = QuoteBoard(clock, source=source, capacity=wanted.max_symbols)
    return RealtimePrices(url, wanted, board, clock)


def wait_s(first_s: float, in_row: int, longest_s: float) -> float:
    """Give the wait before connecting again after so many connections in a row that did not last.

    >>> [wait_s(3, in_row, 60) for in_row in (0, 1, 2, 3, 9)]
    [3, 3.0, 6.0, 12.0, 60]
    """
    doubled = first_s * 2.0 ** min(max(in_row - 1, 0), 16)
    return max(first_s, min(doubled, longest_s))

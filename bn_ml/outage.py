"""Notices that the venue as a whole does not answer, so that nobody waits for every symbol in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from bn_ml.domain.market import EPOCH, iso
from bn_ml.errors import ExchangeError, Unreachable
from bn_ml.ports import Clock

FAILED_READS = 3
PAUSE = timedelta(seconds=5)


class OutageWatch:
    """Counts reads in a row that failed though repeated. Thread-safe.

    After three of them a read is let through only when the venue answers a ping, sent once in 5 s at most, so one
    failing symbol never shuts out the others and the venue's return is noticed at once.
    """

    def __init__(self, clock: Clock, ping: Callable[[], object]) -> None:
        """`ping` asks the venue for something small, once and briefly, and raises `ExchangeError` without an answer."""
        self._clock = clock
        self._ping = ping
        self._lock = threading.Lock()
        self._failed = 0
        self._asked_again = EPOCH

    def require(self) -> None:
        """Raise `Unreachable` while the venue does not answer."""
        with self._lock:
            if self._failed < FAILED_READS:
                return
            now = self._clock.now()
            if now < self._asked_again:
                raise Unreachable(f"the exchange does not answer; it is asked again at {iso(self._asked_again)}")
            self._asked_again = now + PAUSE
        try:
            self._ping()
        except ExchangeError as error:
            with self._lock:
                self._asked_again = self._clock.now() + PAUSE
            raise Unreachable(f"the exchange does not answer: {error}") from error
        self.answered()

    def answered(self) -> None:
        """Take note of an answer, whatever it said."""
        self._failed = 0

    def failed(self) -> None:
        """Take note of a read that failed though repeated."""
        with self._lock:
            self._failed += 1

"""How long a failed read is worth repeating: briefly while trading, more patiently and sooner at a start.

While trading, whoever asks comes again with the next look, so a read gives up soon. At a start everything waits for it:
most failures are one connection's or one server's, so the first repeats come at once, and giving up costs the whole
start. Requests that change state know no patience: they are sent once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from bn_ml.errors import Transient, Unreachable
from bn_ml.ports import Clock
from bn_ml.settings_market import ExchangeSettings

log = logging.getLogger(__name__)

SHORT_BAN = timedelta(seconds=10)
"""A ban that ends this soon is waited for at a start; a longer one is left to whoever starts the bot again."""
FIRST_PART = 0.1
"""The first wait of a start, as a part of the wait while trading."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A read that failed for the `attempt`-th time (from 0) after `spent_s` real seconds, and the end of the ban."""

    error: Transient
    attempt: int
    spent_s: float
    banned_until: datetime | None = None


class Patience:
    """Waits between the attempts of reads, within `retry_attempts` and `retry_backoff_sec`. Thread-safe."""

    def __init__(self, clock: Clock, settings: ExchangeSettings) -> None:
        """Be patient as while trading until told that a start begins."""
        self._clock = clock
        self._attempts = settings.retry_attempts
        self._backoff_s = settings.retry_backoff_sec
        self._longest_pause_s = max(self._backoff_s * 2 ** max(self._attempts - 1, 0), 1.0)
        self.start_s = settings.timeout_ms / 1000 + self._attempts * self._longest_pause_s if self._attempts else 0.0
        """For how long a read is repeated at a start, real seconds: one time-out, and every attempt's longest wait."""
        self._starting = False

    @property
    def is_start(self) -> bool:
        """Whether a start is under way."""
        return self._starting

    def begin_start(self) -> None:
        """Be patient as at a start from here on."""
        self._starting = True

    def end_start(self) -> None:
        """Be as patient as trading allows from here on."""
        self._starting = False

    def wait(self, failure: Failure, *, within_s: float = float("inf")) -> None:
        """Wait before a read is repeated; raises its error when it is not to be, or the wait was told to stop.

        `within_s` is for how long a read is repeated while trading, real seconds.
        """
        if self._starting:
            until = self._at_start(failure)
            log.warning("a read of the start is repeated attempt=%s error=%s", failure.attempt + 1, failure.error)
        else:
            until = self._trading(failure, within_s)
        self._clock.sleep_until(until)
        if self._clock.now() < until:
            raise failure.error

    def _trading(self, failure: Failure, within_s: float) -> datetime:
        is_over = failure.attempt >= self._attempts or failure.spent_s >= within_s
        if is_over or isinstance(failure.error, Unreachable):
            raise failure.error
        return self._clock.now() + timedelta(seconds=self._backoff_s * 2**failure.attempt)

    def _at_start(self, failure: Failure) -> datetime:
        """Give the instant of the next attempt: soon, or at the end of a short ban."""
        now, ban = self._clock.now(), failure.banned_until
        if failure.spent_s >= self.start_s:
            raise failure.error
        if ban is not None and now < ban <= now + SHORT_BAN:
            return ban
        if isinstance(failure.error, Unreachable) or (ban is not None and now < ban):
            raise failure.error
        doubled_s = self._backoff_s * FIRST_PART * 2 ** min(failure.attempt, 10)
        return now + timedelta(seconds=min(doubled_s, self._longest_pause_s))

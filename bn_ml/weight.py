"""This process's share of the venue's request weight, counted per clock minute."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from bn_ml.domain.market import EPOCH, iso
from bn_ml.errors import Unreachable
from bn_ml.ports import Clock

VENUE_WEIGHT_PER_MINUTE = 6000
_MINUTE = timedelta(minutes=1)


class WeightMeter:
    """Counts weight before it is spent and waits for the next minute when the share is used up. Thread-safe."""

    def __init__(self, clock: Clock, share: float, limit: int = VENUE_WEIGHT_PER_MINUTE) -> None:
        """Allow `share` of `limit` in each minute."""
        self.budget = int(share * limit)
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = EPOCH
        self._used = 0
        self._banned_until: datetime | None = None

    @property
    def used(self) -> int:
        """Weight used in the running minute."""
        with self._lock:
            return self._used if self._minute == minute_of(self._clock.now()) else 0

    @property
    def banned_until(self) -> datetime | None:
        """The instant before which nothing is sent, None when the venue never asked for that."""
        with self._lock:
            return self._banned_until

    def spend(self, weight: int) -> None:
        """Count weight about to be sent; waits while none is left. Raises `Unreachable` while banned."""
        while True:
            with self._lock:
                now = self._clock.now()
                if self._banned_until is not None and now < self._banned_until:
                    raise Unreachable(f"the exchange asked to stay away until {iso(self._banned_until)}")
                self._turn(now)
                if self._used + weight <= self.budget or self._used == 0:
                    self._used += weight
                    return
                until = minute_of(now) + _MINUTE
            self._clock.sleep_until(until)

    def observe(self, header: str) -> None:
        """Take the venue's own count, which includes other processes at the same address."""
        if header.isdigit():
            with self._lock:
                self._turn(self._clock.now())
                self._used = max(self._used, int(header))

    def ban(self, until: datetime) -> None:
        """Send nothing before an instant."""
        with self._lock:
            self._banned_until = until

    def _turn(self, now: datetime) -> None:
        minute = minute_of(now)
        if minute != self._minute:
            self._minute, self._used = minute, 0


def minute_of(now: datetime) -> datetime:
    """Give the minute an instant lies in."""
    return now.replace(second=0, microsecond=0)

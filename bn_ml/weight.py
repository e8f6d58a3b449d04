"""This process's share of the venue's request weight, counted per clock minute, and the venue's wish to be left alone.

Part of the share may be kept back for orders and the reads that go with them, so that scans never hold an exit up.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from bn_ml.domain.market import EPOCH, iso
from bn_ml.errors import Unreachable
from bn_ml.ports import Clock

VENUE_WEIGHT_PER_MINUTE = 6000
ORDER_SHARE = 0.2
"""Part of this process's weight that only orders and account reads may use, where orders are sent."""
SINGLE_ORDER = 5
"""The most that a request about one order weighs: sending it, cancelling it, reading it and its trades."""
SINGLE_ORDER_SHARE = 0.05
"""Part of the weight that looks at the whole account leave to such requests: a cancel is never left half done."""
EDGE = timedelta(seconds=2)
"""How far the venue's minute may begin after ours: what is told of a request sent so early may count its last one."""
LONGEST_BAN = timedelta(days=3)
DEFAULT_BAN_S = 60.0
_MINUTE = timedelta(minutes=1)


class WeightMeter:
    """Counts weight before it is spent and waits for the next minute when the share is used up. Thread-safe."""

    def __init__(
        self, clock: Clock, share: float, limit: int = VENUE_WEIGHT_PER_MINUTE, *, kept_back: float = 0.0
    ) -> None:
        """Allow `share` of `limit` in each minute, of which the part `kept_back` is for `spend_on_orders` alone."""
        self.budget = int(share * limit)
        self._open_budget = int(self.budget * (1 - kept_back))
        self._look_budget = int(self.budget * (1 - SINGLE_ORDER_SHARE))
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = EPOCH
        self._own = self._others = 0
        self._told_of = EPOCH
        self._banned_until: datetime | None = None
        self._asked = 0

    @property
    def asked(self) -> int:
        """How often weight was asked for so far: a sign of life of whoever sends requests."""
        return self._asked

    @property
    def used(self) -> int:
        """Weight used in the running minute."""
        with self._lock:
            return self._own + self._others if self._minute == minute_of(self._clock.now()) else 0

    @property
    def banned_until(self) -> datetime | None:
        """The instant before which nothing is sent, None when the venue never asked for that."""
        with self._lock:
            return self._banned_until

    def spend(self, weight: int) -> None:
        """Count weight about to be sent; waits while none is left.

        Raises `Unreachable` while banned, and when the wait was told to stop.
        """
        while (until := self._full_until(weight, self._open_budget)) is not None:
            self._sleep(until)

    def spend_on_orders(self, weight: int, *, patience: timedelta) -> None:
        """Count weight of an order or account read, from the part kept back too; the last of it is for single orders.

        Raises `Unreachable` while banned, and when waiting for weight would take longer than `patience`.
        """
        latest = self._clock.now() + patience
        budget = self.budget if weight <= SINGLE_ORDER else self._look_budget
        while (until := self._full_until(weight, budget)) is not None:
            if until > latest:
                raise Unreachable(f"the request weight of this minute is used up until {iso(until)}")
            self._sleep(until)

    def observe(self, header: str, sent_at: datetime) -> None:
        """Take the venue's own count, which includes other processes at the same address.

        The count told for a request of an earlier minute, or of the first two seconds of this one, says nothing of it.
        Should the clocks be farther apart, the count of the request sent last holds.
        """
        if header.isdigit():
            with self._lock:
                now = self._clock.now()
                self._turn(now)
                if self._minute + EDGE <= sent_at <= now:
                    others = max(int(header) - self._own, 0)
                    is_newest = sent_at >= self._told_of
                    self._others = others if is_newest else max(others, self._others)
                    self._told_of = max(sent_at, self._told_of)

    def ban(self, until: datetime) -> None:
        """Send nothing before an instant; an earlier one never shortens a longer ban."""
        with self._lock:
            self._banned_until = until if self._banned_until is None else max(until, self._banned_until)

    def _full_until(self, weight: int, budget: int) -> datetime | None:
        """Count the weight and give None, or give the instant at which there is room for it again."""
        with self._lock:
            self._asked += 1
            now = self._clock.now()
            if self._banned_until is not None and now < self._banned_until:
                raise Unreachable(f"the exchange asked to stay away until {iso(self._banned_until)}")
            self._turn(now)
            used = self._own + self._others
            if used + weight <= budget or used == 0:
                self._own += weight
                return None
            return minute_of(now) + _MINUTE

    def _sleep(self, until: datetime) -> None:
        self._clock.sleep_until(until)
        if self._clock.now() < until:
            raise Unreachable(f"stopped while waiting for request weight until {iso(until)}")

    def _turn(self, now: datetime) -> None:
        minute = minute_of(now)
        if minute != self._minute:
            self._minute, self._told_of = minute, EPOCH
            self._own = self._others = 0


def minute_of(now: datetime) -> datetime:
    """Give the minute an instant lies in."""
    return now.replace(second=0, microsecond=0)


def retry_after_s(header: str) -> float:
    """Give the seconds of a `Retry-After` header, at least 1 and at most three days; 60 when it cannot be read.

    >>> retry_after_s("17"), retry_after_s("soon"), retry_after_s("1e400")
    (17.0, 60.0, 259200.0)
    """
    try:
        seconds = Decimal(header.strip())
    except InvalidOperation:
        return DEFAULT_BAN_S
    if not seconds.is_finite():
        return DEFAULT_BAN_S
    return float(min(max(seconds, Decimal(1)), Decimal(LONGEST_BAN.total_seconds())))

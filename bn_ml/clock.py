"""The only reader of wall time: a system clock, a simulated one and one that runs faster than the wall.

All instants are aware UTC. A clock with a stop event returns early from `sleep_until` once the event is set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from bn_ml.domain.market import EPOCH, require_utc

LONGEST_NAP_S = 30.0


class SystemClock:
    """Wall time; long sleeps look at the wall again so that a corrected clock is noticed."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        """Keep the event that ends sleeps early."""
        self._stop = stop or threading.Event()

    def now(self) -> datetime:
        """Give the present instant."""
        return datetime.now(timezone.utc)

    def sleep_until(self, instant: datetime) -> None:
        """Return at `instant`, or as soon as the stop event is set."""
        _nap(self._stop, lambda: (instant - self.now()).total_seconds())

    def monotonic(self) -> float:
        """Give seconds that never run backwards."""
        return time.monotonic()


class SimulatedClock:
    """Time that passes only while something sleeps: for replay and backtest.

    With a step, sleeping ends on a whole multiple of the step since 1970, so the clock visits bar boundaries only.
    """

    def __init__(self, start: datetime, step: timedelta | None = None) -> None:
        """Start at an instant; raises `ValueError` for a step that is not positive or a start not in UTC."""
        require_utc(start)
        if step is not None and step <= timedelta(0):
            raise ValueError(f"step must be positive, got {step}")
        self._start = start
        self._now = start
        self._step = step

    def now(self) -> datetime:
        """Give the simulated instant."""
        return self._now

    def sleep_until(self, instant: datetime) -> None:
        """Jump to the first multiple of the step at or after `instant`; never moves backwards."""
        require_utc(instant)
        if instant > self._now:
            self._now = instant if self._step is None else EPOCH + -((EPOCH - instant) // self._step) * self._step

    def monotonic(self) -> float:
        """Give the simulated seconds since the start, so that a replay records the same durations each time."""
        return (self._now - self._start).total_seconds()


class ScaledClock:
    """Market time that runs `speed` seconds per wall second from `start` on."""

    def __init__(
        self,
        start: datetime,
        speed: float,
        *,
        stop: threading.Event | None = None,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start now; `wall` gives monotonic wall seconds. Raises `ValueError` for a speed that is not positive."""
        require_utc(start)
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed must be positive and finite, got {speed}")
        self._start = start
        self._speed = speed
        self._stop = stop or threading.Event()
        self._wall = wall
        self._wall_start = wall()

    def now(self) -> datetime:
        """Give the market instant."""
        return self._start + timedelta(seconds=(self._wall() - self._wall_start) * self._speed)

    def sleep_until(self, instant: datetime) -> None:
        """Return when market time reaches `instant`, or as soon as the stop event is set."""
        _nap(self._stop, lambda: (instant - self.now()).total_seconds() / self._speed)

    def monotonic(self) -> float:
        """Give wall seconds that never run backwards."""
        return self._wall()


def _nap(stop: threading.Event, remaining_s: Callable[[], float]) -> None:
    """Wait on the event until nothing remains."""
    while (left := remaining_s()) > 0 and not stop.wait(min(left, LONGEST_NAP_S)):
        continue

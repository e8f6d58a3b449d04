"""The venue's time: measured against its clock, carried on by a clock that cannot be set.

Between two measurements time is the measured instant plus elapsed monotonic time, so a step of the machine's own
clock changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bn_ml.domain.market import from_ms
from bn_ml.errors import ExchangeError, Transient
from bn_ml.ports import Clock

log = logging.getLogger(__name__)

MEASURE_EVERY_S = 600.0
RETRY_AFTER_S = 10.0
TRIES = 3
STEP_S = 1.0
"""By how much the machine's clock may part from its monotonic one before the venue is asked again."""
AGREEMENT_S = 0.25
"""How far two measurements may be apart beyond their own doubt, real seconds."""
LONGEST_NAP_S = 30.0

ServerTime = Callable[[], int]
"""Asks the venue for its time in ms, once; raises `ExchangeError`."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """One measurement: the venue's instant at a monotonic second, the base clock's instant then, and the doubt."""

    at: datetime
    monotonic: float
    base_at: datetime
    doubt_s: float


class VenueClock:
    """A `Clock` that shows the venue's time. Thread-safe.

    Until the first measurement it shows the base clock's time. It never runs backwards by less than a second; a larger
    correction is taken at once.
    """

    def __init__(
        self,
        base: Clock,
        *,
        speed: float = 1.0,
        stop: threading.Event | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """Run on `base`, whose `now` and `monotonic` tell real seconds; the venue's time runs `speed` times as fast.

        `wait` sleeps so many real seconds and tells whether to stop early; by default it waits on `stop`. Raises
        `ValueError` for a speed that is not positive.
        """
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed must be positive and finite, got {speed}")
        self._base = base
        self._speed = speed
        self._wait = wait or (stop or threading.Event()).wait
        self._lock = threading.Lock()
        self._anchor = Anchor(base.now(), base.monotonic(), base.now(), float("inf"))
        self._last = self._anchor.at
        self._asked_at: float | None = None
        self._trusted = False

    @property
    def is_measured(self) -> bool:
        """Whether the time can be relied on: measured, and neither distrusted nor overdue since."""
        return self._trusted

    @property
    def speed(self) -> float:
        """Seconds of the venue's time per real second."""
        return self._speed

    @property
    def offset_s(self) -> float | None:
        """The venue's time minus the machine's, seconds; None while it is not measured."""
        return (self.now() - self._base.now()).total_seconds() if self.is_measured else None

    @property
    def doubt_s(self) -> float:
        """Half the round trip of the last measurement in market seconds: how far off the time may be."""
        return self._anchor.doubt_s

    @property
    def age_s(self) -> float:
        """Real seconds since the last measurement."""
        return self._base.monotonic() - self._anchor.monotonic

    def now(self) -> datetime:
        """Give the venue's present instant."""
        with self._lock:
            anchor = self._anchor
            elapsed_s = (self._base.monotonic() - anchor.monotonic) * self._speed
            instant = anchor.at + timedelta(seconds=elapsed_s)
            behind_s = (self._last - instant).total_seconds()
            self._last = self._last if 0 < behind_s < STEP_S else instant
            return self._last

    def sleep_until(self, instant: datetime) -> None:
        """Return when the venue's time reaches `instant`, or as soon as the wait was told to stop."""
        while (left_s := (instant - self.now()).total_seconds() / self._speed) > 0:
            if self._wait(min(left_s, LONGEST_NAP_S)):
                return

    def monotonic(self) -> float:
        """Give real seconds that never run backwards."""
        return self._base.monotonic()

    def measure(self, server_time: ServerTime) -> None:
        """Ask the venue three times and keep the quickest answer.

        Raises `ExchangeError` when fewer than two came, and `Transient` when they contradict each other: an instant
        told wrongly must not make an order look overdue.
        """
        samples: list[Anchor] = []
        for _ in range(TRIES):
            try:
                samples.append(self._sample(server_time))
            except ExchangeError as error:
                if len(samples) < 2:
                    raise
                log.warning("a time measurement failed error=%s", error)
        best = min(samples, key=lambda sample: sample.doubt_s)
        for sample in samples:
            self._require_agreement(best, sample)
        with self._lock:
            self._anchor = best
        self._trusted = True

    def distrust(self) -> None:
        """Have the time measured again at the next `keep`."""
        self._trusted = False
        self._asked_at = None

    def keep(self, server_time: ServerTime) -> bool:
        """Measure when ten minutes have passed, the machine's clock was set or the time is distrusted.

        Tells whether the time can be relied on; a failed measurement leaves the last one in force and is repeated after
        ten seconds.
        """
        if not self._is_due():
            return self._trusted
        self._asked_at = self._base.monotonic()
        try:
            self.measure(server_time)
        except ExchangeError as error:
            self._trusted = False
            log.warning("the venue's time could not be measured error=%s", error)
        return self._trusted

    def _require_agreement(self, one: Anchor, other: Anchor) -> None:
        elapsed_s = (other.monotonic - one.monotonic) * self._speed
        apart_s = abs((other.at - one.at).total_seconds() - elapsed_s)
        if apart_s > one.doubt_s + other.doubt_s + AGREEMENT_S * self._speed:
            raise Transient(f"two answers about the venue's time are {apart_s:.3f} s apart")

    def _is_due(self) -> bool:
        now = self._base.monotonic()
        if self._asked_at is not None and now - self._asked_at < RETRY_AFTER_S:
            return False
        return not self._trusted or self.age_s >= MEASURE_EVERY_S or self._was_set()

    def _was_set(self) -> bool:
        wall_s = (self._base.now() - self._anchor.base_at).total_seconds()
        return abs(wall_s - self.age_s) > STEP_S

    def _sample(self, server_time: ServerTime) -> Anchor:
        sent = self._base.monotonic()
        told = from_ms(server_time())
        came = self._base.monotonic()
        half = (came - sent) / 2 * self._speed
        return Anchor(told + timedelta(seconds=half), came, self._base.now(), half)

"""Virtual time: it passes only while the bot sleeps or waits for an answer, and the world acts while it passes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from heapq import heappop, heappush

from bn_ml.domain.market import EPOCH, from_iso, to_ms

START_MS = to_ms(from_iso("2023-06-14T10:00:00Z"))
MS = timedelta(milliseconds=1)


class SimClock:
    """The venue's time in ms. What is on the agenda happens while time passes, in order of time, then of entry.

    `wall_offset_ms` is how far the machine's own clock is off; nothing of the bot may depend on it.
    """

    def __init__(self) -> None:
        self.ms = START_MS
        self.wall_offset_ms = 0
        self.woke_ms = START_MS
        self.before_sleep: Callable[[], None] = lambda: None
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._entries = 0

    def now(self) -> datetime:
        """Give the present instant."""
        return EPOCH + self.ms * MS

    def wall(self) -> datetime:
        """Give what the machine's own clock shows."""
        return EPOCH + (self.ms + self.wall_offset_ms) * MS

    def monotonic(self) -> float:
        """Give seconds since the start."""
        return (self.ms - START_MS) / 1000

    def sleep_until(self, instant: datetime) -> None:
        """Sleep; the world is looked at first, as everything is settled as far as the bot will settle it."""
        self.before_sleep()
        self.advance(to_ms(instant))
        self.woke_ms = self.ms

    def advance(self, until_ms: int) -> None:
        """Let time pass and the world act."""
        while self._agenda and self._agenda[0][0] <= until_ms:
            at_ms, _, act = heappop(self._agenda)
            self.ms = max(self.ms, at_ms)
            act()
        self.ms = max(self.ms, until_ms)

    def at(self, at_ms: int, act: Callable[[], None]) -> None:
        """Put something on the agenda."""
        self._entries += 1
        heappush(self._agenda, (at_ms, self._entries, act))

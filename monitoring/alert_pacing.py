"""How often messages may go out, so that a storm is a handful of messages and a calm day is told at once."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

HOUR = timedelta(hours=1)

CRITICAL_BURST = 4
CRITICAL_FIRST_S, CRITICAL_LONGEST_S = 20.0, 900.0
OTHER_BURST = 4
OTHER_FIRST_S = 10.0
STORM = 3
ROOM = 8
"""From so many critical messages within an hour on (`STORM`), the others leave room for so many."""


class Pacing:
    """Remembers when messages went out during the last hour.

    The first messages of each kind go at once, then the distance between two of them doubles: critical ones are
    never refused, only gathered longer, at most 15 minutes, which makes a dozen an hour. The others also end at
    `most_per_hour` messages of any kind.
    """

    def __init__(self, most_per_hour: int) -> None:
        """Begin without a history."""
        self._most = most_per_hour
        self._critical: deque[datetime] = deque()
        self._other: deque[datetime] = deque()

    def note(self, now: datetime, *, critical: bool) -> None:
        """Remember that a message went out."""
        (self._critical if critical else self._other).append(now)

    def may_send_critical(self, now: datetime) -> bool:
        """Tell whether a message with a critical alert may go."""
        recent = _recent(self._critical, now)
        return _far_enough(recent, now, spacing_s(len(recent), CRITICAL_BURST, CRITICAL_FIRST_S, CRITICAL_LONGEST_S))

    def may_send_other(self, now: datetime) -> bool:
        """Tell whether a message without a critical alert may go."""
        recent = _recent(self._other, now)
        longest_s = 3600.0 / self._most
        spacing = spacing_s(len(recent), OTHER_BURST, min(OTHER_FIRST_S, longest_s), longest_s)
        return self.has_room(now) and _far_enough(recent, now, spacing)

    def has_room(self, now: datetime) -> bool:
        """Tell whether the hour's messages are not used up for alerts that are not critical."""
        critical, other = len(_recent(self._critical, now)), len(_recent(self._other, now))
        most = self._most if critical < STORM else max(self._most - ROOM, 1)
        return critical + other < most


def spacing_s(sent: int, burst: int, first_s: float, longest_s: float) -> float:
    """Give the least distance to the last message after so many in the hour.

    >>> [spacing_s(sent, 4, 20, 900) for sent in (0, 3, 4, 5, 9, 10)]
    [0.0, 0.0, 20.0, 40.0, 640.0, 900.0]
    """
    if sent < burst:
        return 0.0
    return float(min(first_s * 2.0 ** min(sent - burst, 30), longest_s))


def _recent(times: deque[datetime], now: datetime) -> deque[datetime]:
    """Forget what is older than an hour, or lies ahead because the clock was set back."""
    while times and not timedelta(0) <= now - times[0] < HOUR:
        times.popleft()
    while times and times[-1] > now:
        times.pop()
    return times


def _far_enough(times: deque[datetime], now: datetime, spacing: float) -> bool:
    return not times or (now - times[-1]).total_seconds() >= spacing

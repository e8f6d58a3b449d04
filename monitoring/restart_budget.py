"""How often a worker may be started again, and how long to wait before it is."""

from __future__ import annotations

from collections import deque

MOST_RESTARTS = 5
WINDOW_S = 3600.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class RestartBudget:
    """At most `most` restarts within any `window_s` seconds; each of them after a wait twice as long as the last one.

    All instants are monotonic seconds.
    """

    def __init__(
        self, most: int = MOST_RESTARTS, window_s: float = WINDOW_S, *, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        """Begin with the whole budget."""
        self.most = most
        self._window_s = window_s
        self._first_pause_s = first_pause_s
        self._taken: deque[float] = deque()

    def used(self, now_s: float) -> int:
        """Give how many restarts lie within the window that ends now."""
        while self._taken and now_s - self._taken[0] >= self._window_s:
            self._taken.popleft()
        return len(self._taken)

    def is_spent(self, now_s: float) -> bool:
        """Tell whether no restart is left at this instant."""
        return self.used(now_s) >= self.most

    def pause_s(self, now_s: float) -> float:
        """Give how long a worker has to be down before its next restart, seconds."""
        return float(min(self._first_pause_s * 2 ** self.used(now_s), LONGEST_PAUSE_S))

    def take(self, now_s: float) -> bool:
        """Use one restart; False, and nothing used, when none is left."""
        if self.is_spent(now_s):
            return False
        self._taken.append(now_s)
        return True

    def renew(self) -> None:
        """Give the whole budget back."""
        self._taken.clear()

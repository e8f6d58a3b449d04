"""Request weight per address and order counts per account, in clock-aligned windows; bans for those who go on."""

from __future__ import annotations

from dataclasses import dataclass

from public_api.sandbox.answers import Refusal

_SECOND = 1000
_MINUTE = 60 * _SECOND
_DAY = 24 * 60 * _MINUTE
_LONGEST_BAN = 3 * _DAY


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """How much is allowed; `patience` is how many 429 may be ignored before a ban, `first_ban_ms` its first length."""

    weight_per_minute: int = 6000
    orders_per_10s: int = 100
    orders_per_day: int = 200_000
    raw_per_5min: int = 300_000
    patience: int = 5
    first_ban_ms: int = 2 * _MINUTE


class Window:
    """Counts within a stretch of the clock that starts at a multiple of its length."""

    def __init__(self, length_ms: int) -> None:
        """Start at nothing."""
        self.length_ms = length_ms
        self._index = -1
        self._count = 0

    def count(self, now_ms: int) -> int:
        """Give the count of the running window."""
        self._turn(now_ms)
        return self._count

    def add(self, amount: int, now_ms: int) -> None:
        """Count something; a negative amount is given back, never below zero."""
        self._turn(now_ms)
        self._count = max(0, self._count + amount)

    def left_s(self, now_ms: int) -> int:
        """Give whole seconds until the window ends, at least 1."""
        return max(1, -(-(self.length_ms - now_ms % self.length_ms) // _SECOND))

    def holds(self, at_ms: int, now_ms: int) -> bool:
        """Whether an instant lies in the running window."""
        return at_ms // self.length_ms == now_ms // self.length_ms

    def _turn(self, now_ms: int) -> None:
        index = now_ms // self.length_ms
        # An answer that comes late is counted by the clock of its request: one window back is no new window.
        if index not in (self._index, self._index - 1):
            self._index, self._count = index, 0


class WeightMeter:
    """One address's request weight, with what it did after it was told to stop."""

    def __init__(self, settings: LimitSettings) -> None:
        """Start unused."""
        self._settings = settings
        self._weight = Window(_MINUTE)
        self._raw = Window(5 * _MINUTE)
        self._ignored = Window(_MINUTE)
        self._forced_until_ms = -1
        self._banned_until_ms = -1
        self._bans = 0

    def used(self, now_ms: int) -> int:
        """Give the weight used in the running minute."""
        return self._weight.count(now_ms)

    def admit(self, weight: int, now_ms: int) -> None:
        """Count a request of a weight; raises `Refusal` 418 while banned, 429 when there is too little left."""
        if now_ms < self._banned_until_ms:
            raise self._banned(now_ms)
        self._raw.add(1, now_ms)
        over = self._weight.count(now_ms) + weight > self._settings.weight_per_minute
        if now_ms < self._forced_until_ms or over or self._raw.count(now_ms) > self._settings.raw_per_5min:
            raise self._stopped(now_ms)
        self._weight.add(weight, now_ms)

    def charge(self, weight: int, now_ms: int) -> None:
        """Count weight without asking."""
        self._weight.add(weight, now_ms)

    def stop_until(self, until_ms: int) -> None:
        """Answer 429 until an instant, whatever was used."""
        self._forced_until_ms = until_ms

    def ban_until(self, until_ms: int) -> None:
        """Answer 418 until an instant."""
        self._banned_until_ms = until_ms

    def _stopped(self, now_ms: int) -> Refusal:
        self._ignored.add(1, now_ms)
        if self._ignored.count(now_ms) > self._settings.patience:
            self._bans += 1
            length = min(self._settings.first_ban_ms * 2 ** (self._bans - 1), _LONGEST_BAN)
            self._banned_until_ms = now_ms + length
            return self._banned(now_ms)
        forced_s = -(-(self._forced_until_ms - now_ms) // _SECOND)
        wait_s = forced_s if forced_s > 0 else self._weight.left_s(now_ms)
        text = (
            f"Too much request weight used; current limit is {self._settings.weight_per_minute} request weight per "
            "1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API."
        )
        return Refusal(-1003, text, headers={"Retry-After": str(wait_s)})

    def _banned(self, now_ms: int) -> Refusal:
        wait_s = -(-(self._banned_until_ms - now_ms) // _SECOND)
        text = (
            f"Way too much request weight used; IP banned until {self._banned_until_ms}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
        return Refusal(-1003, text, headers={"Retry-After": str(wait_s)}, status=418)


class OrderMeter:
    """The account's orders that were not filled, per 10 seconds and per day."""

    def __init__(self, settings: LimitSettings) -> None:
        """Start unused."""
        self._windows = (
            (Window(10 * _SECOND), settings.orders_per_10s, "10 SECOND", "10S"),
            (Window(_DAY), settings.orders_per_day, "1 DAY", "1D"),
        )

    def admit(self, orders: int, now_ms: int) -> None:
        """Refuse more orders than are left; raises `Refusal` -1015."""
        for window, limit, words, _name in self._windows:
            if window.count(now_ms) + orders > limit:
                raise Refusal(
                    -1015,
                    f"Too many new orders; current limit is {limit} orders per {words}.",
                    headers={"Retry-After": str(window.left_s(now_ms))},
                )

    def add(self, orders: int, now_ms: int) -> None:
        """Count orders."""
        for window, *_rest in self._windows:
            window.add(orders, now_ms)

    def give_back(self, placed_ms: int, now_ms: int) -> None:
        """Take an order placed at an instant out of the windows it was counted in: it has begun to fill."""
        for window, *_rest in self._windows:
            if window.holds(placed_ms, now_ms):
                window.add(-1, now_ms)

    def headers(self, now_ms: int) -> dict[str, str]:
        """Give the counts as headers."""
        return {f"X-MBX-ORDER-COUNT-{name}": str(window.count(now_ms)) for window, _l, _w, name in self._windows}

    def counts(self, now_ms: int) -> tuple[int, ...]:
        """Give the counts per 10 seconds and per day."""
        return tuple(window.count(now_ms) for window, *_rest in self._windows)

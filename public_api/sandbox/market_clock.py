"""The sandbox's own time: it runs at a speed, can be stopped, moved and stepped, and says so to nobody else."""

from __future__ import annotations

from bn_ml.ports import Clock


class MarketClock:
    """Market time in ms since 1970 over the monotonic time of another clock; it never passes `end_ms`."""

    def __init__(self, wall: Clock, start_ms: int, speed: float = 1.0, *, end_ms: int | None = None) -> None:
        """Start at `start_ms`; raises `ValueError` for a speed that is not positive and finite."""
        self._wall = wall
        self._anchor_ms = float(start_ms)
        self._anchor_s = wall.monotonic()
        self._speed = _checked(speed)
        self._frozen = False
        self._end_ms = float("inf") if end_ms is None else end_ms

    @property
    def speed(self) -> float:
        """Market seconds per wall second while it runs."""
        return self._speed

    @property
    def frozen(self) -> bool:
        """Whether time stands still until it is advanced."""
        return self._frozen

    def now_ms(self) -> int:
        """Give the market instant."""
        return int(self._now())

    def freeze(self) -> None:
        """Stop the clock where it is."""
        self._anchor(self._now())
        self._frozen = True

    def run(self, speed: float | None = None) -> None:
        """Let it run on, at another speed if one is given."""
        self._anchor(self._now())
        self._frozen = False
        if speed is not None:
            self._speed = _checked(speed)

    def advance(self, by_ms: int) -> None:
        """Move forward; raises `ValueError` for a step backwards."""
        if by_ms < 0:
            raise ValueError(f"cannot advance by {by_ms} ms")
        self._anchor(self._now() + by_ms)

    def _now(self) -> float:
        passed_s = 0.0 if self._frozen else self._wall.monotonic() - self._anchor_s
        return min(self._anchor_ms + passed_s * 1000 * self._speed, self._end_ms)

    def _anchor(self, at_ms: float) -> None:
        self._anchor_ms = at_ms
        self._anchor_s = self._wall.monotonic()


def _checked(speed: float) -> float:
    if not 0 < speed < float("inf"):
        raise ValueError(f"speed must be positive and finite, got {speed}")
    return speed

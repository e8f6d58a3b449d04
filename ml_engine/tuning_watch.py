"""The watch over one member's search: it says how far it is, now and then, and when its time is up."""

from __future__ import annotations

from collections.abc import Callable

TELL_EVERY_S = 30.0


class Watch:
    """Used by the one thread that runs the member's search."""

    def __init__(
        self, member: str, tell: Callable[[str], None], monotonic: Callable[[], float], *, timeout_s: float = 0.0
    ) -> None:
        """Start the time; without `timeout_s` it never ends. `tell` hears a phase such as `search rf 3/20`."""
        self._member = member
        self._tell = tell
        self._monotonic = monotonic
        self._end = monotonic() + timeout_s if timeout_s > 0.0 else None
        self._told = monotonic()
        tell(f"search {member}")

    def is_over(self, step: str) -> bool:
        """Whether the time is up before a step, such as `3/20`."""
        now = self._monotonic()
        if now - self._told >= TELL_EVERY_S:
            self._told = now
            self._tell(f"search {self._member} {step}")
        return self._end is not None and now >= self._end

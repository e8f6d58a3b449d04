"""When something that was refused for a passing cause may be tried again: after 2 s, then twice as long, up to 10 s."""

from __future__ import annotations

from datetime import datetime, timedelta

from bn_ml.ports import Clock

FIRST = timedelta(seconds=2)
LONGEST = timedelta(seconds=10)


class Pauses:
    """One pause per name, growing with every refusal in a row."""

    def __init__(self, clock: Clock) -> None:
        """Nothing waits yet."""
        self._clock = clock
        self._length: dict[str, timedelta] = {}
        self._begun: dict[str, datetime] = {}

    def waits(self, name: str) -> bool:
        """Tell whether it is too early to try again."""
        begun = self._begun.get(name)
        return begun is not None and self._clock.now() - begun < self._length[name]

    def refused(self, name: str) -> None:
        """Begin a pause, twice as long as the one before."""
        self._length[name] = min(self._length[name] * 2, LONGEST) if name in self._length else FIRST
        self._begun[name] = self._clock.now()

    def accepted(self, name: str) -> None:
        """Forget the refusals."""
        self._length.pop(name, None)
        self._begun.pop(name, None)

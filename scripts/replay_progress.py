"""The progress of a replay on a terminal: share done, date, speed, time left."""

from __future__ import annotations

from typing import TextIO

from bn_ml.clock import SystemClock
from bn_ml.domain.market import to_ms
from bn_ml.settings import Settings
from scripts.worlds import World
from trader.cycle_report import CycleReport

WIDTH = 30
REDRAW_S = 0.5


class ReplayProgress:
    """Redraws one line; silent when the stream is no terminal."""

    def __init__(self, settings: Settings, world: World, stream: TextIO) -> None:
        """Measure from the replay's present instant to its end."""
        self._wall = SystemClock()
        self._stream = stream
        self._begin = to_ms(world.clock.now())
        self._end = to_ms(world.ends_at or world.clock.now())
        self._symbols = len(settings.universe.training_symbols)
        self._started = self._wall.monotonic()
        self._drawn = 0.0

    def watch(self, report: CycleReport) -> None:
        """Redraw when half a second has passed, and at the end."""
        now = self._wall.monotonic()
        done = (to_ms(report.at) - self._begin) / max(self._end - self._begin, 1)
        if not self._stream.isatty() or (now - self._drawn < REDRAW_S and done < 1.0):
            return
        self._drawn = now
        spent = now - self._started
        left = spent / done - spent if done > 0 else 0.0
        filled = "#" * int(WIDTH * min(done, 1.0))
        self._stream.write(
            f"\r[{filled:<{WIDTH}}] {done:6.1%} {report.at:%Y-%m-%d} equity {report.account.equity:.2f} "
            f"open {report.open_positions} ETA {left:4.0f} s "
        )
        self._stream.write("\n" if done >= 1.0 else "")
        self._stream.flush()

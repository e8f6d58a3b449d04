"""The progress of a replay on a terminal: share done, date, speed, time left."""

from __future__ import annotations

from typing import TextIO

from bn_ml.clock import SystemClock
from bn_ml.domain.market import to_ms
from scripts.worlds import World
from trader.cycle_report import CycleReport

WIDTH = 30
REDRAW_S = 0.5


class ReplayProgress:
    """Redraws one line; silent when the stream is no terminal."""

    def __init__(self, world: World, stream: TextIO, *, before: int = 0, runs: int = 1) -> None:
        """Measure from the replay's present instant to its end; `before` of `runs` equal replays are done already."""
        self._wall = SystemClock()
        self._before, self._runs = before, runs
        self._stream = stream
        self._begin = to_ms(world.clock.now())
        self._end = to_ms(world.ends_at or world.clock.now())
        self._started = self._wall.monotonic()
        self._drawn = 0.0

    def watch(self, report: CycleReport) -> None:
        """Redraw when half a second has passed, and at the end."""
        now = self._wall.monotonic()
        mine = (to_ms(report.at) - self._begin) / max(self._end - self._begin, 1)
        done = (self._before + mine) / self._runs
        if not self._stream.isatty() or (now - self._drawn < REDRAW_S and done < 1.0):
            return
        self._drawn = now
        spent = now - self._started
        left = spent / mine * (self._runs - self._before - mine) if mine > 0 else 0.0
        filled = "#" * int(WIDTH * min(done, 1.0))
        self._stream.write(
            f"\r[{filled:<{WIDTH}}] {done:6.1%} {report.at:%Y-%m-%d} equity {report.account.equity:.2f} "
            f"open {report.open_positions} ETA {left:4.0f} s "
        )
        self._stream.write("\n" if done >= 1.0 else "")
        self._stream.flush()

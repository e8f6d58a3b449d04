"""Ends the process when the loop shows no sign of life: what hangs cannot be repaired, a restart recovers."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bn_ml.domain.market import iso
from bn_ml.ports import Clock

log = logging.getLogger(__name__)

STALLED_EXIT = 70
LIMIT_S = 120.0
TURN_S = 1.0
LONGEST_TURNS = 5
"""How many turns' time one look counts at most: a process that stood still as a whole has no stalled loop."""
TELLING_S = 5.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A loop without a sign of life for `idle_s` real seconds since `step`; `dump` is where all threads are written."""

    step: str
    idle_s: float
    dump: str


class IdleTime:
    """Adds up for how long nothing has changed, real seconds, looked at every `turn_s`."""

    def __init__(self, turn_s: float = TURN_S) -> None:
        """Begin without anything seen."""
        self._longest_s = LONGEST_TURNS * turn_s
        self._seen: object = None
        self._before_s: float | None = None
        self._idle_s = 0.0

    def look(self, signs: object, now_s: float) -> float:
        """Give the seconds since `signs` last differed from those of the look before."""
        elapsed_s = 0.0 if self._before_s is None else min(now_s - self._before_s, self._longest_s)
        self._idle_s = self._idle_s + elapsed_s if signs == self._seen else 0.0
        self._seen, self._before_s = signs, now_s
        return self._idle_s


class StallWatchdog:
    """Watches one loop from a thread of its own, which needs nothing of the loop to work.

    When no sign of life came for more than `limit_s`, every thread is written into a file, `on_stall` is told, and the
    process ends with code 70, at the latest 5 s later, whatever `on_stall` does.
    """

    def __init__(
        self,
        clock: Clock,
        folder: Path,
        on_stall: Callable[[Stall], None],
        *,
        limit_s: float = LIMIT_S,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        """Write dumps into `folder`; `clock` measures real seconds with `monotonic`."""
        self._clock = clock
        self._folder = folder
        self._on_stall = on_stall
        self._limit_s = limit_s
        self._leave = leave
        self._turn_s = min(TURN_S, limit_s / 10)
        self._other_signs: Callable[[], object] = lambda: None
        self._beats = 0
        self._step = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def heed(self, other_signs: Callable[[], object]) -> None:
        """Take for a sign of life also each change of what this gives; it must return at once, from any thread."""
        self._other_signs = other_signs

    def beat(self, step: str) -> None:
        """Take note that the loop is alive and at a step."""
        self._beats += 1
        self._step = step

    def start(self) -> None:
        """Begin to watch; without a beat from here on the process ends."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="stall-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer; harmless when it does not."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(TURN_S)

    def _run(self, stop: threading.Event) -> None:
        idle = IdleTime(self._turn_s)
        while not stop.wait(self._turn_s):
            idle_s = idle.look((self._beats, self._other_signs()), self._clock.monotonic())
            if idle_s > self._limit_s and not stop.is_set():
                self._end(idle_s)
                return

    def _end(self, idle_s: float) -> None:
        stall = Stall(self._step, idle_s, self._dumped())
        # Whoever is told may wait for the very lock that the stalled loop holds.
        teller = threading.Thread(target=self._on_stall, args=(stall,), name="stall-teller", daemon=True)
        teller.start()
        teller.join(TELLING_S)
        self._leave(STALLED_EXIT)

    def _dumped(self) -> str:
        path = self._folder / f"stall-{iso(self._clock.now()).replace(':', '')}.txt"
        try:
            with path.open("w", encoding="utf-8") as file:
                faulthandler.dump_traceback(file, all_threads=True)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
            return f"standard error, {path.name} could not be written: {error.strerror}"
        return str(path)

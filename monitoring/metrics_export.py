"""The metrics as a file for the text collector of a node exporter, written beside the loop once per cycle."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from bn_ml.ports import Clock
from bn_ml.state_reader import StateReader
from monitoring.export_files import ExportFiles
from monitoring.metrics import metrics_text

log = logging.getLogger(__name__)

FILE_NAME = "bnml.prom"
STALE_AFTER_S = 60.0
_TURN_S = 1.0
Chore = Callable[[datetime], None]


class MetricsExport:
    """A `Worker`: woken by the loop it reads the database and replaces the file; chores of others follow.

    The loop only sets a flag. Cycles that end while the file is being written are told of by one further writing.
    """

    name = "metrics"
    stale_after_s = STALE_AFTER_S

    def __init__(self, folder: Path, reader: StateReader, clock: Clock, chores: Sequence[Chore] = ()) -> None:
        """Write `bnml.prom` into `folder` from what `reader` reads, then do the chores."""
        self.path = folder / FILE_NAME
        self._reader = reader
        self._clock = clock
        self._chores = tuple(chores)
        self._files = ExportFiles()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat_s = float("-inf")

    def wake(self) -> None:
        """Ask for a writing; returns at once."""
        self._wake.set()

    def start(self) -> None:
        """Begin, or begin again; a thread that still ends is left to do so."""
        self._stop.set()
        self._stop = stop = threading.Event()
        self._beat_s = self._clock.monotonic()
        self._thread = threading.Thread(target=self._run, args=(stop,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread within about `timeout_s` and take the file away: nobody may read it as a bot that lives."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        self._files.remove(self.path)

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def beat_age_s(self) -> float:
        """Give the seconds since the thread last turned, infinite before it was started."""
        return self._clock.monotonic() - self._beat_s

    def write(self) -> None:
        """Write the file now, on the caller's thread; one that cannot be written is told in the log."""
        self._write_at(self._clock.now())

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._beat_s = self._clock.monotonic()
            if self._wake.wait(_TURN_S) and not stop.is_set():
                self._wake.clear()
                self._turn()

    def _turn(self) -> None:
        for step in (self._write_at, *self._chores):
            try:
                step(self._clock.now())
            except Exception:
                # A thread main: whatever went wrong with one step, the others and the next cycle have their turn.
                log.exception("a step beside the metrics failed")

    def _write_at(self, now: datetime) -> None:
        self._files.write(self.path, metrics_text(self._reader, now))

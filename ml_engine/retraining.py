"""Training beside the trading loop: a child process of low priority whose messages the loop collects.

The child's memory, threads and crashes are not the trader's. Nothing here raises into the loop: whatever goes wrong
becomes a `TrainingFinished` with status failed. A child that says nothing for too long is taken for hung and ended.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bn_ml.clock import SystemClock
from ml_engine.training_progress import FAILED, STOPPED, Message, TrainingFinished, TrainingProgress, decode

log = logging.getLogger(__name__)

# By path: with -m, Python would first search the folder the bot was started in.
TRAINER = Path(__file__).resolve().parents[1] / "scripts" / "run_trainer.py"
QUEUE_SIZE = 1_000
STOP_WAIT_S = 3.0
# A search names each of its steps; nothing a training does takes this long between two of them.
SILENT_S = 1800.0


class TrainingSupervisor:
    """Runs at most one training process at a time. Used by one thread; a second one reads the child."""

    def __init__(
        self,
        *,
        nice: int = 15,
        command: Sequence[str] | None = None,
        environ: Mapping[str, str] | None = None,
        silent_s: float = SILENT_S,
    ) -> None:
        """Set the child's priority; `command` replaces the trainer's own command line, `environ` the environment.

        After `silent_s` seconds without a line from the child it is ended.
        """
        own = [sys.executable, str(TRAINER), "--progress-json", "--nice", str(nice)]
        self._command = list(command) if command is not None else own
        self._environ = {
            **(os.environ if environ is None else environ),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        self._messages: queue.Queue[Message] = queue.Queue(QUEUE_SIZE)
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._stopping = threading.Event()
        self._clock = SystemClock()
        self._silent_s = silent_s
        self._heard = 0.0
        self._ended_for = ""

    @property
    def running(self) -> bool:
        """Whether a run has begun whose end has not been read yet."""
        return self._reader is not None and self._reader.is_alive()

    @property
    def silence_s(self) -> float:
        """How long a child under way has said nothing, seconds; 0 without one."""
        return self._clock.monotonic() - self._heard if self.running else 0.0

    @property
    def is_unheard(self) -> bool:
        """Whether a child runs that nobody listens to."""
        child = self._child
        return child is not None and not self.running and child.poll() is None

    def start(self, arguments: Sequence[str] = ()) -> bool:
        """Start a run with trainer flags; False when one is running or it could not be started."""
        if self.running:
            return False
        self._stopping.clear()
        self._heard, self._ended_for = self._clock.monotonic(), ""
        try:
            child = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environ,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            self._put(TrainingFinished(FAILED, error=f"the training process did not start: {error}"))
            return False
        self._child = child
        self._reader = threading.Thread(target=self._read, args=(child,), name="training-reader", daemon=True)
        self._reader.start()
        return True

    def poll(self) -> list[Message]:
        """Give what arrived since the last call, oldest first, and see to a silent child; never waits."""
        self._watch()
        arrived: list[Message] = []
        with suppress(queue.Empty):
            while True:
                arrived.append(self._messages.get_nowait())
        return arrived

    def stop(self, wait_s: float = STOP_WAIT_S) -> None:
        """End a running training, by force after `wait_s`; a half-trained symbol keeps its old bundle."""
        child, reader = self._child, self._reader
        if child is None or reader is None:
            return
        self._stopping.set()
        self._signal(child, signal.SIGTERM)
        reader.join(wait_s)
        if reader.is_alive():
            self._signal(child, signal.SIGKILL)
            reader.join(wait_s)

    def kill(self) -> None:
        """End a running child by force, at once and from any thread; a half-trained symbol keeps its old bundle."""
        child = self._child
        if child is not None:
            self._signal(child, signal.SIGKILL)

    def _watch(self) -> None:
        """Ask a silent child to end, and end it by force when it does not."""
        child, silence = self._child, self._clock.monotonic() - self._heard
        if child is None or not self.running or self._stopping.is_set() or silence <= self._silent_s:
            return
        if not self._ended_for:
            self._ended_for = f"hung: no message for {silence:.0f} s"
            log.warning("the training process is ended, it is %s", self._ended_for)
            self._signal(child, signal.SIGTERM)
        elif silence > self._silent_s + STOP_WAIT_S:
            self._signal(child, signal.SIGKILL)

    def _read(self, child: subprocess.Popen[str]) -> None:
        ended, last_line = False, ""
        with child:
            for line in child.stdout or ():
                self._heard = self._clock.monotonic()
                message = _message(line)
                if message is None:
                    last_line = line.strip() or last_line
                    log.info("trainer: %s", line.rstrip())
                    continue
                ended = ended or isinstance(message, TrainingFinished)
                self._put(message)
        if not ended:
            self._put(self._abrupt_end(child.returncode, last_line))

    def _abrupt_end(self, code: int, last_line: str) -> TrainingFinished:
        if self._stopping.is_set():
            return TrainingFinished(STOPPED)
        if self._ended_for:
            return TrainingFinished(FAILED, error=f"the training process was ended, {self._ended_for}")
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        return TrainingFinished(FAILED, error=f"the training process ended by {cause}: {last_line}".rstrip(": "))

    def _put(self, message: Message) -> None:
        """Keep a message; when nobody collects, the oldest progress makes room, outcomes stay as long as they fit."""
        while True:
            try:
                self._messages.put_nowait(message)
            except queue.Full:
                if isinstance(message, TrainingProgress):
                    return
                with suppress(queue.Empty):
                    self._messages.get_nowait()
            else:
                return

    @staticmethod
    def _signal(child: subprocess.Popen[str], number: signal.Signals) -> None:
        """Signal the child and its own workers; a child that has ended is left alone."""
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)


def _message(line: str) -> Message | None:
    """Read a line of the child; None for a line that is only log text."""
    try:
        return decode(line)
    except ValueError:
        return None

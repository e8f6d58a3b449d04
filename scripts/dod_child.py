"""The paper bot as a child process: started, started again with growing pauses when it dies, and ended in order."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from bn_ml.ports import Clock
from scripts import cli

log = logging.getLogger(__name__)

PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""How long to wait before the next start, by how often in a row it died early; the last one repeats."""

STEADY_S = 600.0
"""A bot that ran this long had a good start: the pauses begin anew."""

ENDS_WITHIN_S = 15.0
STDERR = 2
BOT = ("-m", "scripts.run_bot")


@dataclass
class BotProcess:
    """Runs `command`; `restarts` counts the starts after the first. What it prints goes where errors go."""

    command: Sequence[str]
    clock: Clock
    ends_within_s: float = ENDS_WITHIN_S
    restarts: int = 0
    _child: subprocess.Popen[bytes] | None = None
    _began: float = 0.0
    _failures: int = 0
    _not_before: float = field(default=float("-inf"))
    _started_once: bool = False

    def tend(self) -> str:
        """Start the bot when it does not run and its pause is over; gives why starting again is of no use, else ''."""
        code = None if self._child is None else self._child.poll()
        if self._child is not None and code is None:
            return ""
        if code is not None:
            self._child = None
            if code == cli.USAGE:
                return "its configuration or flags were refused (exit 2), see its message above"
            self._note_end(code)
        if self.clock.monotonic() >= self._not_before:
            self._start()
        return ""

    def stop(self) -> None:
        """Ask the bot to end and wait for it; what does not end in time is ended at once."""
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(self.ends_within_s)
        except subprocess.TimeoutExpired:
            log.error("the bot did not end within %.0f s and was ended at once", self.ends_within_s)
            child.kill()
            child.wait()

    def end_at_once(self) -> None:
        """Kill the bot if it runs; its stops rest at the exchange."""
        if self._child is not None:
            self._child.kill()

    def _start(self) -> None:
        self.restarts += self._started_once
        self._started_once = True
        self._began = self.clock.monotonic()
        self._child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=STDERR)
        log.info("bot started pid=%s", self._child.pid)

    def _note_end(self, code: int) -> None:
        """Reckon the pause before the next start from how long the bot ran."""
        now = self.clock.monotonic()
        self._failures = 0 if now - self._began >= STEADY_S else self._failures + 1
        pause = PAUSES_S[min(max(self._failures - 1, 0), len(PAUSES_S) - 1)]
        self._not_before = now + pause
        what = "another process holds its book (exit 75)" if code == cli.LOCKED else f"exit {code}"
        log.warning("bot ended (%s) after %.0f s, next start in %.0f s", what, now - self._began, pause)


def bot_command(flags: Sequence[str]) -> tuple[str, ...]:
    """Give the command that runs the bot on paper with live prices."""
    return (sys.executable, *BOT, "--paper", "--market-data", "live", *flags)

"""Other processes as the system shows them: whether one lives, is stopped, holds a file, and how to end exactly it."""

from __future__ import annotations

import os
import signal
from enum import Enum
from pathlib import Path

PROC = Path("/proc")
_STATE, _START = 0, 19
"""Places in `/proc/<pid>/stat` after the name: the state's letter, and when the process began in clock ticks."""


class ProcessState(Enum):
    """What a process does. A stopped one and a zombie run no more code by themselves."""

    GONE = "gone"
    RUNNING = "running"
    STOPPED = "stopped"
    ZOMBIE = "zombie"


def process_state(pid: int) -> ProcessState:
    """Tell what a process does; without `/proc` a process that can be signalled counts as running."""
    fields = _stat(pid)
    if fields:
        return {"T": ProcessState.STOPPED, "t": ProcessState.STOPPED, "Z": ProcessState.ZOMBIE}.get(
            fields[_STATE], ProcessState.RUNNING
        )
    if pid <= 0 or PROC.joinpath("self").exists():
        return ProcessState.GONE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ProcessState.GONE
    except PermissionError:
        return ProcessState.RUNNING
    return ProcessState.RUNNING


def born(pid: int) -> int:
    """Give when a process began, in clock ticks since the system's start; 0 when nobody can say."""
    fields = _stat(pid)
    return int(fields[_START]) if fields else 0


def has_open(pid: int, path: Path) -> bool | None:
    """Tell whether a process has a file open; None where the system does not let us look."""
    try:
        links = list(PROC.joinpath(str(pid), "fd").iterdir())
    except OSError:
        return None
    target = str(path.resolve())
    return any(_target(link) == target for link in links)


def end_process(pid: int) -> None:
    """End a process at once, as a power cut would; raises `OSError` when it is not ours to end."""
    os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    try:
        text = PROC.joinpath(str(pid), "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    # The name stands in parentheses and may hold blanks and parentheses of its own.
    return text.rpartition(")")[2].split()


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""

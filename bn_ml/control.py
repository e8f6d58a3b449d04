"""What each control state permits, and the lock that keeps a second bot from one database."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

from bn_ml.domain.account import ControlState
from bn_ml.domain.market import iso
from bn_ml.domain.orders import Purpose
from bn_ml.errors import LockHeld, StateError
from bn_ml.processes import born

_PERMITTED = {
    ControlState.NORMAL: frozenset(Purpose),
    ControlState.REDUCE_ONLY: frozenset(Purpose) - {Purpose.ENTRY},
    ControlState.HALTED: frozenset({Purpose.EXIT}),
}
_STRICTNESS = {ControlState.NORMAL: 0, ControlState.REDUCE_ONLY: 1, ControlState.HALTED: 2}


def permits(state: ControlState, purpose: Purpose) -> bool:
    """Whether an order of a purpose may be sent: all; all but entries; exits only."""
    return purpose in _PERMITTED[state]


def is_tighter(state: ControlState, than: ControlState) -> bool:
    """Whether a state permits less than another."""
    return _STRICTNESS[state] > _STRICTNESS[than]


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds, or last held, a lock; `pid` 0 when the file does not say.

    `born` is the system's own mark of when the process began, so that a reused number is told from it; 0 when unknown.
    """

    pid: int
    started: str
    born: int = 0


class ProcessLock:
    """An exclusive lock beside a database, freed by the system when the process dies.

    The lock file is `<path>.lock` and is never deleted. Programs started with `exec` do not inherit the lock; bare
    forks would keep it.
    """

    def __init__(self, path: str | Path) -> None:
        """Name the database to lock; nothing is locked yet."""
        self.path = Path(f"{Path(path).absolute()}.lock")
        self._descriptor: int | None = None

    def acquire(self, at: datetime) -> ProcessLock:
        """Take the lock and write who holds it; raises `LockHeld` naming the present holder."""
        descriptor = _opened(self.path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self.holder()
            os.close(descriptor)
            raise LockHeld(
                f"{self.path}: held by process {holder.pid} started {holder.started}; "
                "stop that bot or use another storage.sqlite_path"
            ) from None
        pid = os.getpid()
        _write(descriptor, json.dumps({"pid": pid, "started": iso(at), "born": born(pid)}))
        self._descriptor = descriptor
        return self

    def holder(self) -> Holder:
        """Give the process written in the lock file, whether it still lives or not."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return Holder(int(content["pid"]), str(content["started"]), int(content.get("born", 0)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Holder(0, "unknown")

    def is_held(self) -> bool:
        """Whether any process, this one included, holds the lock at this instant."""
        if self._descriptor is not None:
            return True
        if not self.path.exists():
            return False
        descriptor = _opened(self.path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> ProcessLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateError(
            f"{path}: cannot be created or written ({error.strerror}); give the bot's user access to {path.parent}"
        ) from error


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    os.fsync(descriptor)

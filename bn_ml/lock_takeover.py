"""Taking the lock of a book from the process that holds it: looked at, proven to be the holder, then ended."""

from __future__ import annotations

import os
from datetime import timedelta

from bn_ml.control import Holder, ProcessLock
from bn_ml.errors import LockHeld
from bn_ml.ports import Clock
from bn_ml.processes import ProcessState, born, end_process, has_open, process_state

LET_GO_S = 5.0
"""How long the system may take to free the lock of a process that was ended."""


def holder_state(lock: ProcessLock) -> ProcessState:
    """Tell what the holder does; GONE when nobody holds the lock, or a process that cannot be seen from here."""
    return process_state(lock.holder().pid) if lock.is_held() else ProcessState.GONE


def end_holder(lock: ProcessLock, clock: Clock) -> Holder:
    """End exactly the process that holds the lock, and wait until it is free; gives who it was.

    Raises `LockHeld` when the recorded process cannot be proven to be the holder, is this one, may not be ended, or
    does not let go.
    """
    holder = lock.holder()
    if not is_proven(lock, holder):
        raise LockHeld(
            f"{lock.path}: held by a process that cannot be told for sure (recorded: {holder.pid} started "
            f"{holder.started}); stop the bot where it runs"
        )
    try:
        end_process(holder.pid)
    except OSError as error:
        raise LockHeld(
            f"process {holder.pid} cannot be ended ({error.strerror}); run this as the bot's user"
        ) from error
    until = clock.monotonic() + LET_GO_S
    while lock.is_held():
        if clock.monotonic() > until:
            raise LockHeld(f"process {holder.pid} was ended and still holds {lock.path}")
        clock.sleep_until(clock.now() + timedelta(milliseconds=5))
    return holder


def is_proven(lock: ProcessLock, holder: Holder) -> bool:
    """Tell whether the recorded process lives, is another one, began when recorded and has the lock file open."""
    if holder.pid in (0, os.getpid()) or process_state(holder.pid) is ProcessState.GONE:
        return False
    if holder.born and born(holder.pid) != holder.born:
        return False
    opened = has_open(holder.pid, lock.path)
    return opened or (opened is None and holder.born > 0)

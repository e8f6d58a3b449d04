"""Disk space kept for the worst hour: a file beside the book that is given up when the disk is full."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

RESERVE_BYTES = 16 * 1024 * 1024
LOW_BYTES = 4 * 1024 * 1024
"""With less than this free the reserve is given up before a transaction begins, not after it has failed."""

ROOM_BYTES = 2 * RESERVE_BYTES
"""How much must be free besides for the reserve to be made anew."""


class DiskReserve:
    """`<database>.reserve`, real blocks on the disk. Nothing here raises: without a reserve the bot works as well."""

    def __init__(self, database: Path) -> None:
        """Name the database; one that lies there from before counts, none is made yet."""
        self.path = Path(f"{database.absolute()}.reserve")
        # Unlike a path, this never raises: a folder that may not be read holds no reserve.
        self._is_held = os.path.exists(self.path)

    @property
    def is_held(self) -> bool:
        """Whether there is something to give up."""
        return self._is_held

    def ensure(self) -> bool:
        """Keep 16 MiB when there is room for them and for as much again; give whether they are kept."""
        if self._is_held or free_bytes(self.path.parent) < RESERVE_BYTES + ROOM_BYTES:
            return self._is_held
        try:
            self._fill()
        except OSError as error:
            log.warning("no disk space can be kept in reserve path=%s reason=%s", self.path, error.strerror)
            with contextlib.suppress(OSError):
                Path(f"{self.path}.part").unlink()
        else:
            self._is_held = True
        return self._is_held

    def release_when_low(self) -> None:
        """Give the reserve up when the disk is nearly full."""
        if self._is_held and free_bytes(self.path.parent) < LOW_BYTES:
            self.release()

    def release(self) -> bool:
        """Give the space back to the disk; False when there was none to give."""
        if not self._is_held:
            return False
        self._is_held = False
        try:
            self.path.unlink()
        except OSError as error:
            log.error("the reserve cannot be given up path=%s reason=%s", self.path, error.strerror)
            return False
        log.critical("the disk is full: the reserve of 16 MB was given up, free space now path=%s", self.path.parent)
        return True

    def _fill(self) -> None:
        draft = Path(f"{self.path}.part")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _allocate(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(self.path)


def free_bytes(folder: Path) -> int:
    """Give what an ordinary user may still write to the disk of a folder; boundless where it cannot be told."""
    try:
        facts = os.statvfs(folder)
    except OSError:
        return 1 << 62
    return facts.f_bavail * facts.f_frsize


def _allocate(descriptor: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        return
    # Zeros could be stored as a hole, which holds no space.
    block = os.urandom(1 << 16)
    for _ in range(RESERVE_BYTES // len(block)):
        os.write(descriptor, block)

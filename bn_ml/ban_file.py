"""Keeps the end of the venue's ban in a small file, so that a restart does not call where it is not wanted.

The file tells the machine's time: the venue's own is unknown to a process that may not ask for it yet.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.domain.market import from_iso, iso
from bn_ml.errors import StateError
from bn_ml.ports import Clock
from bn_ml.weight import LONGEST_BAN


class BanFile:
    """The end of the last ban in `path`; an unreadable file counts as none."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self._path = path

    def remember(self, until: datetime) -> None:
        """Keep the end of a ban, on disk before this returns; raises `StateError` when it cannot be written."""
        draft = self._path.with_name(f".{self._path.name}.new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, iso(until).encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            draft.replace(self._path)
        except OSError as error:
            raise StateError(f"{self._path}: cannot be written ({error.strerror})") from error

    def recall(self) -> datetime | None:
        """Give the kept end, None when there is none."""
        try:
            return from_iso(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None


class TranslatedBans:
    """A ban file for a caller that lives in the venue's time."""

    def __init__(self, file: BanFile, machine: Clock, venue: Clock, *, speed: float = 1.0) -> None:
        """`venue` may be unmeasured still; its time runs `speed` times as fast as the machine's."""
        self._file = file
        self._machine = machine
        self._venue = venue
        self._speed = speed

    @property
    def ends_at(self) -> datetime | None:
        """The end of a ban in force, in the machine's time; no venue bans for longer than three days."""
        until = self._file.recall()
        if until is None or not timedelta(0) < until - self._machine.now() <= LONGEST_BAN:
            return None
        return until

    def remember(self, until: datetime) -> None:
        """Keep the end of a ban told in the venue's time; raises `StateError` when it cannot be written."""
        self._file.remember(self._machine.now() + (until - self._venue.now()) / self._speed)

    def recall(self) -> datetime | None:
        """Give the end of the ban in force in the venue's time, None when there is none."""
        until = self.ends_at
        return None if until is None else self._venue.now() + (until - self._machine.now()) * self._speed

"""Keeps the end of the venue's ban in a small file, so that a restart does not call where it is not wanted.

The file tells the machine's time: the venue's own is unknown to a process that may not ask for it yet.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.domain.market import from_iso, iso
from bn_ml.errors import StateError
from bn_ml.ports import Clock
from bn_ml.weight import LONGEST_BAN


@dataclass(frozen=True, slots=True)
class Ban:
    """The end of a ban, and when it was told."""

    until: datetime
    told_at: datetime


class BanFile:
    """The last ban in `path`; an unreadable file counts as none."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self._path = path

    def remember(self, ban: Ban) -> None:
        """Keep a ban, on disk before this returns; raises `StateError` when it cannot be written."""
        draft = self._path.with_name(f".{self._path.name}.new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, f"{iso(ban.until)} {iso(ban.told_at)}".encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            draft.replace(self._path)
        except OSError as error:
            raise StateError(f"{self._path}: cannot be written ({error.strerror})") from error

    def recall(self) -> Ban | None:
        """Give the kept ban, None when there is none."""
        try:
            until, told_at = self._path.read_text(encoding="ascii").split()
            return Ban(from_iso(until), from_iso(told_at))
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
        """The end of a ban in force, in the machine's time; no venue bans for longer than three days.

        A machine whose clock was set back since does not know how much of a ban is left: the whole of it, at most, is
        waited for once more. Raises `StateError` when that cannot be written.
        """
        ban, now = self._file.recall(), self._machine.now()
        if ban is not None and now < ban.told_at:
            ban = Ban(now + (ban.until - ban.told_at), now)
            self._file.remember(ban)
        if ban is None or not timedelta(0) < ban.until - now <= LONGEST_BAN:
            return None
        return ban.until

    def remember(self, until: datetime) -> None:
        """Keep the end of a ban told in the venue's time; raises `StateError` when it cannot be written."""
        now = self._machine.now()
        self._file.remember(Ban(now + (until - self._venue.now()) / self._speed, now))

    def recall(self) -> datetime | None:
        """Give the end of the ban in force in the venue's time, None when there is none."""
        until = self.ends_at
        return None if until is None else self._venue.now() + (until - self._machine.now()) * self._speed

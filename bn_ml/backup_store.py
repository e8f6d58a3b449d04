"""The folder of backups: which there are, whether they are whole, and which have had their time.

`<base>/<UTC stamp>/` is one complete backup; a folder whose name begins with a dot is unfinished. `<base>/.lock` keeps
whoever makes or deletes backups from those who read or make others.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from bn_ml.backup_manifest import Manifest, problems_of, read_manifest
from bn_ml.durable_files import PRIVATE_FILE, make_private, sync
from bn_ml.errors import StateError

log = logging.getLogger(__name__)

_ID = re.compile(r"\d{8}T\d{6}Z(-\d+)?")
_DRAFT = re.compile(r"\.\d{8}T\d{6}Z(-\d+)?\.(part|gone)")
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Backup:
    """One complete backup on disk."""

    folder: Path
    manifest: Manifest

    @property
    def backup_id(self) -> str:
        """Its name: the instant it was begun."""
        return self.folder.name


class BackupsBusy(StateError):
    """Another process is making or deleting backups."""


class BackupStore:
    """Lists, verifies and rotates the backups below `base`. Raises `StateError` when the folder cannot be used."""

    def __init__(self, base: Path | str) -> None:
        """Name the folder; nothing is read or made yet."""
        self.base = Path(base).absolute()

    def backups(self) -> tuple[Backup, ...]:
        """Give the backups whose manifest can be read, oldest first; the others are told and left out."""
        found: list[Backup] = []
        for folder in self._folders():
            try:
                found.append(Backup(folder, read_manifest(folder)))
            except StateError as error:
                log.warning("a backup cannot be used: %s", error)
        return tuple(sorted(found, key=lambda backup: (backup.manifest.made_at, backup.backup_id)))

    def find(self, backup_id: str) -> Backup:
        """Give one backup; raises `StateError` naming those there are."""
        if not (_ID.fullmatch(backup_id) and (self.base / backup_id).is_dir()):
            known = ", ".join(folder.name for folder in self._folders()[-5:]) or "none"
            raise StateError(f"{self.base}: there is no backup {backup_id!r}; the newest are {known}")
        folder = self.base / backup_id
        return Backup(folder, read_manifest(folder))

    def problems(self, backup: Backup) -> tuple[str, ...]:
        """Read a backup byte by byte and give what is wrong with it; empty when it is whole."""
        return problems_of(backup.folder, backup.manifest)

    def folder_for(self, at: datetime) -> Path:
        """Give a name no backup has yet, of the instant in UTC."""
        stamp = at.strftime("%Y%m%dT%H%M%SZ")
        names = [stamp, *(f"{stamp}-{number}" for number in range(1, 1000))]
        free = [name for name in names if not (self.base / name).exists()]
        if not free:
            raise StateError(f"{self.base}: a thousand backups of {stamp} exist already")
        return self.base / free[0]

    def remove_unfinished(self) -> int:
        """Delete what a crash left half made or half deleted and give how many; only under the lock for writing."""
        drafts = [path for path in self._entries() if _DRAFT.fullmatch(path.name)]
        for path in drafts:
            log.warning("an unfinished backup is deleted folder=%s", path)
            shutil.rmtree(path)
        return len(drafts)

    def prune(self, *, keep_last: int, keep_daily: int, spare: str = "") -> tuple[str, ...]:
        """Delete the backups that have had their time and give their ids; only under the lock for writing.

        The one named `spare` stays: a clock that was set back makes the newest look old.
        """
        outdated = superseded(self.backups(), keep_last=keep_last, keep_daily=keep_daily)
        outdated = tuple(backup for backup in outdated if backup.backup_id != spare)
        for backup in outdated:
            # Out of sight in one step, so that no reader finds a backup with some of its files gone.
            gone = backup.folder.with_name(f".{backup.backup_id}.gone")
            backup.folder.rename(gone)
            shutil.rmtree(gone)
        if outdated:
            sync(self.base)
        return tuple(backup.backup_id for backup in outdated)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be alone with the folder, which is made when needed; raises `BackupsBusy` when somebody else uses it."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep backups from being deleted meanwhile; raises `BackupsBusy` while one is being made."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        try:
            make_private(self.base)
            descriptor = os.open(self.base / _LOCK, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        except OSError as error:
            raise StateError(
                f"{self.base}: cannot be written ({error.strerror}); correct storage.backup.base_dir"
            ) from error
        try:
            self._lock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int, kind: int) -> None:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupsBusy(
                f"{self.base}: another process is making or reading backups; try again in a minute"
            ) from None

    def _folders(self) -> Sequence[Path]:
        return [path for path in self._entries() if _ID.fullmatch(path.name) and path.is_dir()]

    def _entries(self) -> Sequence[Path]:
        try:
            return sorted(self.base.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(
                f"{self.base}: cannot be read ({error.strerror}); correct storage.backup.base_dir"
            ) from error


def superseded(backups: Iterable[Backup], *, keep_last: int, keep_daily: int) -> tuple[Backup, ...]:
    """Give the backups that may go, oldest first.

    Kept are, of each book apart, the newest `keep_last` and the newest of each of the last `keep_daily` UTC days that
    have any. Books are those of one environment and account, so that a paper bot never rotates a live book away.
    """
    going: list[Backup] = []
    books: dict[tuple[str, str], list[Backup]] = {}
    for backup in backups:
        books.setdefault(_owner(backup), []).append(backup)
    for own in books.values():
        newest_first = sorted(own, key=lambda item: (item.manifest.made_at, item.backup_id), reverse=True)
        newest_of: dict[date, str] = {}
        for backup in newest_first:
            newest_of.setdefault(backup.manifest.made_at.date(), backup.backup_id)
        days = sorted(newest_of, reverse=True)[:keep_daily]
        kept = {newest_of[day] for day in days} | {backup.backup_id for backup in newest_first[:keep_last]}
        going.extend(backup for backup in newest_first if backup.backup_id not in kept)
    return tuple(sorted(going, key=lambda item: (item.manifest.made_at, item.backup_id)))


def _owner(backup: Backup) -> tuple[str, str]:
    book = backup.manifest.book
    identity = book.identity if book else None
    return (identity.mode, identity.account) if identity else ("", "")

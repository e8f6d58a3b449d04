"""Whether there is a backup worth restoring: how old the newest is, and whether it is whole where it is small."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from bn_ml.backup_store import Backup, BackupsBusy, BackupStore
from bn_ml.domain.market import EPOCH
from bn_ml.errors import StateError
from scripts.doctor_findings import Check, Diagnosis, bad, doubtful, good
from scripts.doctor_situation import Situation

READ_THROUGH_BYTES = 200_000_000
"""Larger backups are not read byte by byte here: it takes longer than a check may."""
_MAKE = "bnml-doctor backups create"


def checks(situation: Situation) -> list[Check]:
    """Give what is asked of the backups."""
    return [Check("backups", partial(backups, situation))]


def backups(situation: Situation) -> Iterator[Diagnosis]:
    """Tell what could be restored."""
    wanted = situation.settings.storage.backup
    if not wanted.enabled:
        yield doubtful("backups", "storage.backup.enabled is false, a lost disk loses the book", "set it to true")
        return
    store = BackupStore(wanted.base_dir)
    kept = store.backups()
    if not kept:
        yield _none(situation, store.base)
        return
    damage = _damage(store, kept[-1])
    if damage:
        fix = f"make another: {_MAKE}, and look at the disk; older ones: bnml-doctor backups list"
        yield bad("backups", f"the newest, {kept[-1].backup_id}, cannot be restored: {damage}", fix)
    else:
        yield _aged(situation, kept)


def _none(situation: Situation, base: Path) -> Diagnosis:
    if situation.database.exists():
        return doubtful("backups", f"{base}: none of a book that exists", f"let the bot run, or make one: {_MAKE}")
    return good("backups", f"{base}: none yet, nor a book")


def _aged(situation: Situation, kept: tuple[Backup, ...]) -> Diagnosis:
    newest = kept[-1]
    age = situation.clock.now() - newest.manifest.made_at
    seen = f"{len(kept)} kept, the newest, {newest.backup_id}, is {age.total_seconds() / 3600:.1f} h old"
    overdue = age > 2 * timedelta(minutes=situation.settings.storage.backup.interval_minutes)
    if overdue and _changed_at(situation.database) > newest.manifest.made_at:
        fix = f"see in the log why the bot makes none, or make one: {_MAKE}"
        return doubtful("backups", f"{seen} and the book has changed since", fix)
    return good("backups", f"{seen} and {'whole' if _is_small(newest) else 'was verified when it was made'}")


def _damage(store: BackupStore, backup: Backup) -> str:
    """Give what is wrong with a backup that can be read through in time; empty when it is whole."""
    if not _is_small(backup):
        return ""
    try:
        with store.reading():
            return "; ".join(store.problems(backup))
    except BackupsBusy:
        # One is being made at this moment: what is there can be read at the next look.
        return ""
    except StateError as error:
        return str(error)


def _is_small(backup: Backup) -> bool:
    return backup.manifest.size_bytes <= READ_THROUGH_BYTES


def _changed_at(database: Path) -> datetime:
    """Give when the database was last written, its log of changes included; 1970 without one."""
    return max(_written_at(file) for file in (database, database.with_name(f"{database.name}-wal")))


def _written_at(file: Path) -> datetime:
    try:
        return EPOCH + timedelta(seconds=file.stat().st_mtime)
    except OSError:
        return EPOCH

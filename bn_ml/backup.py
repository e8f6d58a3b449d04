"""Making one backup: a consistent copy of the running book, exports and bundles, verified before it counts.

Everything is written into a hidden folder beside, checked there, flushed, and renamed in one step: a backup that can be
seen is whole. The book is read by a connection of its own, which never holds up its writer.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.backup_manifest import BOOK, BookFacts, FileFact, Manifest, book_facts
from bn_ml.backup_models import MODELS, copied_bytes, copy_models, plan_models
from bn_ml.backup_store import Backup, BackupStore
from bn_ml.database import BUSY_TIMEOUT_MS, naming
from bn_ml.disk_reserve import free_bytes
from bn_ml.durable_files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    copy_durably,
    files_below,
    make_private,
    sha256_of,
    sync,
    sync_folders,
)
from bn_ml.errors import StateError
from bn_ml.settings import Settings

log = logging.getLogger(__name__)

STATE, METRICS, LOGS = "state_db", "metrics", "logs"
MEGABYTE = 1024 * 1024

Tell = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """What goes into a backup; None leaves a part out. `spare_bytes` of the disk must stay free beside it."""

    database: Path | None
    metrics: Path | None = None
    logs: Path | None = None
    models: Path | None = None
    spare_bytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Sources:
        """Give what the settings want."""
        wanted = settings.storage.backup
        return cls(
            database=Path(settings.storage.sqlite_path).absolute() if wanted.include_state_db else None,
            metrics=Path(settings.monitoring.metrics_dir).absolute() if wanted.include_metrics else None,
            logs=Path(settings.monitoring.logs_dir).absolute() if wanted.include_logs else None,
            models=Path(settings.model.models_dir).absolute() if wanted.include_models else None,
            spare_bytes=int(settings.storage.min_free_disk_mb * MEGABYTE),
        )


def make_backup(sources: Sources, store: BackupStore, at: datetime, tell: Tell = lambda: None) -> Backup:
    """Make, verify and keep one backup; `tell` is called while it goes on.

    Raises `BackupsBusy` while another process makes one, `StateError` when the book cannot be read, is damaged, or the
    disk has no room. Nothing half made stays behind.
    """
    with store.writing(), _naming_disk(store.base):
        store.remove_unfinished()
        before = next((item for item in reversed(store.backups()) if MODELS in item.manifest.included), None)
        _require_room(sources, store.base, before)
        target = store.folder_for(at)
        draft = target.with_name(f".{target.name}.part")
        draft.mkdir(mode=PRIVATE_FOLDER)
        try:
            manifest = _fill(draft, sources, (target.name, at), before, tell)
            manifest.write(draft)
            sync_folders(draft)
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        sync(store.base)
    log.info("backup made id=%s bytes=%s", target.name, manifest.size_bytes)
    return Backup(target, manifest)


def _fill(draft: Path, sources: Sources, name: tuple[str, datetime], before: Backup | None, tell: Tell) -> Manifest:
    """Put every wanted part into the folder and give what it holds."""
    files: list[FileFact] = []
    included: list[str] = []
    signers: tuple[str, ...] = ()
    book: BookFacts | None = None
    if sources.database is not None:
        fact, book = _copy_book(sources.database, draft / BOOK)
        files.append(fact)
        included.append(STATE)
        tell()
    for part, folder in ((METRICS, sources.metrics), (LOGS, sources.logs)):
        if folder is not None and folder.is_dir():
            files.extend(_copy_folder(folder, draft / part, draft.parent, tell))
            included.append(part)
    if sources.models is not None and sources.models.is_dir():
        bundles, signers = copy_models(sources.models, draft, before, tell)
        files.extend(bundles)
        included.append(MODELS)
    backup_id, at = name
    return Manifest(
        backup_id=backup_id,
        made_at=at,
        source=str(sources.database or ""),
        included=tuple(included),
        files=tuple(files),
        book=book,
        signers=signers,
    )


def _copy_book(source: Path, target: Path) -> tuple[FileFact, BookFacts]:
    """Copy one committed instant of a database that may be written to meanwhile, and check the copy thoroughly."""
    if not source.exists():
        raise StateError(f"{source}: no database yet; start the bot (bnml-bot) or correct storage.sqlite_path")
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
    wait_s = BUSY_TIMEOUT_MS / 1000
    with (
        naming(source),
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=wait_s)) as read,
        closing(sqlite3.connect(target, isolation_level=None)) as written,
    ):
        written.execute("PRAGMA synchronous = OFF")
        # In one step: in several, every commit of the bot would begin the copy anew.
        read.backup(written)
        # One file that opens without leaving others beside it.
        written.execute("PRAGMA journal_mode = DELETE").fetchone()
    sync(target)
    facts = book_facts(target)
    return FileFact(BOOK, *sha256_of(target)), facts


def _copy_folder(folder: Path, target: Path, left_out: Path, tell: Tell) -> list[FileFact]:
    """Copy the files of a folder that are there now, the backups themselves left out."""
    facts: list[FileFact] = []
    for source in files_below(folder):
        if left_out in source.parents or source.name.endswith(".part"):
            continue
        copy = target / source.relative_to(folder)
        make_private(copy.parent)
        try:
            size, digest = copy_durably(source, copy)
        except FileNotFoundError:
            log.debug("gone before it was copied file=%s", source)
            continue
        facts.append(FileFact(str(copy.relative_to(target.parent)), size, digest))
        tell()
    return facts


def _require_room(sources: Sources, base: Path, before: Backup | None) -> None:
    """Refuse a backup that would take from the disk what the bot itself needs."""
    needed = 0
    if sources.database is not None:
        parts = [Path(f"{sources.database}{suffix}") for suffix in ("", "-wal")]
        needed += sum(part.stat().st_size for part in parts if part.exists())
    for folder in (sources.metrics, sources.logs):
        needed += sum(path.stat().st_size for path in files_below(folder)) if folder is not None else 0
    if sources.models is not None:
        needed += copied_bytes(plan_models(sources.models, before))
    free = free_bytes(base)
    if free - needed < sources.spare_bytes:
        raise StateError(
            f"{base}: the backup needs {needed / MEGABYTE:.0f} MB and {sources.spare_bytes / MEGABYTE:.0f} MB are to "
            f"stay free, {free / MEGABYTE:.0f} MB are; free disk space or lower storage.backup.keep_last"
        )


@contextmanager
def _naming_disk(base: Path) -> Iterator[None]:
    """Turn disk errors inside the block into `StateError` that names the file."""
    try:
        yield
    except OSError as error:
        raise StateError(f"{error.filename or base}: {error.strerror or error}; the backup was not made") from error

"""Putting the bundles of a backup back, whole symbols at a time; those they replace and the keys stay."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from bn_ml.backup_models import MODELS, VERSIONS
from bn_ml.backup_store import Backup
from bn_ml.durable_files import sync, sync_folders
from bn_ml.errors import StateError

REPLACED = ".replaced"
_DRAFT = ".restoring"
_LOCK = ".lock"


def has_bundles(models: Path) -> bool:
    """Whether a models folder holds any bundle."""
    return models.is_dir() and any(item.is_dir() and not item.name.startswith(".") for item in models.iterdir())


def restore_models(backup: Backup, models: Path, at: datetime) -> Path | None:
    """Put all bundles of a backup, earlier versions included, into a models folder.

    Gives the folder that keeps what was replaced, None when there was nothing. Waits for a bundle that is being saved.
    Raises `StateError` when the backup holds no bundles or the disk refuses.
    """
    files = backup.manifest.below(MODELS)
    if not files:
        raise StateError(
            f"{backup.folder}: holds no bundles (storage.backup.include_models was off, or there were none)"
        )
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _alone(models):
            draft = models / _DRAFT
            shutil.rmtree(draft, ignore_errors=True)
            for fact in files:
                target = draft / Path(fact.path).relative_to(MODELS)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(backup.folder / fact.path, target)
                sync(target)
            sync_folders(draft)
            return _swap(draft, models, models / REPLACED / at.strftime("%Y%m%dT%H%M%SZ"))
    except OSError as error:
        raise StateError(f"{error.filename or models}: {error.strerror or error}; bundles were not restored") from error


def _swap(draft: Path, models: Path, aside: Path) -> Path | None:
    """Put the draft's folders in place of the present ones, one symbol after the other, the earlier versions first."""
    pairs = [(path, Path(VERSIONS) / path.name) for path in _folders(draft / VERSIONS)]
    pairs += [(path, Path(path.name)) for path in _folders(draft) if path.name != VERSIONS]
    for fresh, name in pairs:
        present = models / name
        if present.exists():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            present.rename(aside / name)
        present.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(present)
        sync(present.parent)
    shutil.rmtree(draft)
    return aside if aside.is_dir() else None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


@contextmanager
def _alone(models: Path) -> Iterator[None]:
    """Hold the lock under which bundles are saved."""
    descriptor = os.open(models / _LOCK, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

"""Switching the book when the bot starts in another environment: archive the present one, restore the other's own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.domain.identity import BookIdentity
from bn_ml.errors import StateError
from bn_ml.state_store import StateStore

PAPER = "paper"
ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class BookSwitch:
    """What a switch did: where the former book went and where the present one came from; None when neither."""

    archived: Path | None = None
    restored: Path | None = None


def switch_book(path: str | Path, mode: str, account: str, at: datetime) -> BookSwitch:
    """Put the book of an environment and account in place; bind it afterwards with `StateStore.bind_book`.

    Call it while holding the process lock and before the store is opened. Idempotent, and a crash in the middle is
    mended by the next call. Raises `StateError` while a live book has open positions or unresolved orders.
    """
    file = Path(path).absolute()
    archived = _archive_other(file, mode, account, at) if file.exists() else None
    restored = None if file.exists() else _restore(file, mode, account)
    return BookSwitch(archived, restored)


def archive_folder(path: str | Path) -> Path:
    """Give the folder that keeps the books of other environments."""
    return Path(path).absolute().parent / ARCHIVE


def archived_book(path: str | Path, mode: str, account: str) -> Path | None:
    """Give the newest archived book of an environment and account, None when there is none."""
    own = sorted(archive_folder(path).glob(f"{_slug(mode, account)}-*.db"))
    return own[-1] if own else None


def _archive_other(file: Path, mode: str, account: str, at: datetime) -> Path | None:
    store = StateStore(file)
    try:
        present = store.identity()
        if present is None or (present.mode, present.account) == (mode, account):
            return None
        _require_settled(store, present)
        store.session.checkpoint()
    finally:
        store.close()
    for suffix in ("-wal", "-shm"):
        if (leftover := Path(f"{file}{suffix}")).exists():
            raise StateError(f"{leftover}: another process still uses the database; stop it and start again")
    target = archive_folder(file) / f"{_slug(present.mode, present.account)}-{at.strftime('%Y%m%dT%H%M%S%fZ')}.db"
    _move(file, target)
    return target


def _require_settled(store: StateStore, present: BookIdentity) -> None:
    if present.mode == PAPER:
        return
    positions, intents = store.open_positions(), store.open_intents()
    if positions or intents:
        held = ", ".join(str(item.symbol) for item in positions) or "none"
        raise StateError(
            f"{store.path}: the {present.mode} book of {present.account} has open positions ({held}) and "
            f"{len(intents)} unresolved orders; close them in {present.mode} mode first (bnml-kill-switch) "
            "or point storage.sqlite_path elsewhere"
        )


def _restore(file: Path, mode: str, account: str) -> Path | None:
    own = archived_book(file, mode, account)
    if own is not None:
        _move(own, file)
    return own


def _move(source: Path, target: Path) -> None:
    if target.exists():
        raise StateError(f"{target}: exists already; move it away and start again")
    _naming_target(target, lambda: target.parent.mkdir(mode=0o700, parents=True, exist_ok=True))
    _naming_target(target, lambda: source.rename(target))
    for folder in (source.parent, target.parent):
        _sync(folder)


def _naming_target(target: Path, action: Callable[[], object]) -> None:
    try:
        action()
    except OSError as error:
        raise StateError(
            f"{target}: the book cannot be moved there ({error.strerror}); give the bot's user write access"
        ) from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _slug(mode: str, account: str) -> str:
    digest = hashlib.sha256(f"{mode}|{account}".encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', mode)}-{digest}"

"""Putting a backup in the place of the book, in one step that a crash can only delay.

The copy is prepared beside the book as `<database>.restoring.part`: upgraded, halted where it has to be, its client ids
moved on. From the moment it is renamed to `<database>.restoring` the restore is decided, and whoever opens the book
next completes it. The files it replaces are kept in `replaced/` beside the book; nothing is ever deleted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bn_ml.backup_manifest import BOOK, BookFacts, identity_in, problems_of
from bn_ml.backup_store import Backup
from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.events import BookRestored, ControlChanged
from bn_ml.domain.identity import BookIdentity
from bn_ml.domain.market import from_ms, iso, to_ms
from bn_ml.durable_files import copy_durably, make_private, sync
from bn_ml.errors import StateError
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from bn_ml.state_watch import BookWatch

log = logging.getLogger(__name__)

RESTORED = "restored_book"
"""The keyed value that tells of the last restore."""

BOOKS_RESTORED = "books_restored"
"""The word at the head of a halt that a restore has asked for."""

OPERATOR, RECOVERY = "restore", "recovery"
"""Who restored: a person, or the start of a bot that found its book damaged."""

_HALTED_BY_RESTORE = (OPERATOR, "reconciliation")
PAPER = "paper"
SKIPPED_IDS = 1_000_000
"""More client ids than a book gives in years: none that was given after the backup is ever given again."""

_BESIDE = ("-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Restoration:
    """What is kept in a restored book about its coming.

    `resumes` is the control state that comes back by itself once books and exchange are equal, None when only a person
    ends the halt or there is none. `missing` are lines about what the damaged book held beyond the backup.
    """

    backup_id: str
    made_at: datetime
    newest: datetime | None
    at: datetime
    set_by: str
    resumes: Control | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did: the book that lies there, its control state, and where the replaced files went."""

    told: Restoration
    book: BookFacts
    control: Control
    replaced: Path | None


def restore_book(
    path: Path, backup: Backup, *, at: datetime, set_by: str = OPERATOR, missing: tuple[str, ...] = ()
) -> Restored:
    """Put the database of a backup in place; call it while holding the process lock of the book.

    A book that trades with real money starts HALTED until it equals the exchange. One put in the place of a damaged
    book stays HALTED until a person resumes. A paper book asked for by a person keeps the present control state.
    Raises `StateError`, with nothing changed, when the backup is not whole or of another environment or account.
    """
    book = _checked(backup)
    present = _present(path)
    _require_same_book(path, present, book.identity)
    draft, ready = Path(f"{path}.restoring.part"), _ready(path)
    # As exact as the control table keeps instants, so that the halt is known again by its own.
    at = from_ms(to_ms(at))
    told = Restoration(backup.backup_id, backup.manifest.made_at, book.newest, at, set_by, missing=missing)
    try:
        make_private(path.parent)
        _clear(draft)
        copy_durably(backup.folder / BOOK, draft)
        told, control = _amend(draft, told, book.identity, present[1] if present else None)
        sync(draft)
        draft.rename(ready)
        sync(path.parent)
        replaced = finish_restore(path)
    except OSError as error:
        raise StateError(f"{error.filename or draft}: {error.strerror or error}; nothing was restored") from error
    log.warning("book restored backup=%s made_at=%s state=%s", backup.backup_id, iso(told.made_at), control.state.value)
    return Restored(told, book, control, replaced)


def finish_restore(path: Path) -> Path | None:
    """Complete a restore that was decided; give where the replaced files are, None when there were none.

    Does nothing when none was decided. Lets `OSError` out; calling it again goes on where it ended.
    """
    ready = _ready(path)
    if not ready.exists():
        return None
    # Named by the restore, not by the clock: a second attempt keeps what is replaced in the same folder.
    stamp = from_ms(ready.stat().st_mtime_ns // 1_000_000).strftime("%Y%m%dT%H%M%S%fZ")
    aside = path.parent / "replaced" / stamp
    # The log first: it must never lie beside a database it does not belong to.
    present = [file for file in (*(Path(f"{path}{end}") for end in _BESIDE), path) if file.exists()]
    if present:
        make_private(aside)
    for file in present:
        file.rename(aside / file.name)
    if present:
        sync(aside)
        sync(aside.parent)
    ready.rename(path)
    sync(path.parent)
    return aside if aside.is_dir() else None


def _checked(backup: Backup) -> BookFacts:
    if backup.manifest.book is None:
        raise StateError(f"{backup.folder}: holds no database (storage.backup.include_state_db was off)")
    problems = problems_of(backup.folder, backup.manifest)
    if problems:
        raise StateError(f"{backup.folder}: the backup is damaged: {'; '.join(problems[:3])}; choose another one")
    return backup.manifest.book


def _present(path: Path) -> tuple[BookIdentity | None, Control | None] | None:
    """Give whose the present book is and its control state, as far as either can be read; None when there is none."""
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        view = BookWatch(path).look()
    except StateError as error:
        log.warning("the present book cannot be read: %s", error)
        return identity_of(path), None
    return view.identity, _before_restores(path, view.control)


def _before_restores(path: Path, control: Control) -> Control:
    """Give what an earlier restore would have given back: to restore twice asks for no more than to restore once."""
    if not control.reason.startswith(BOOKS_RESTORED) or control.set_by not in _HALTED_BY_RESTORE:
        return control
    kept = StateReader(path).kv(RESTORED)
    told = None if kept is None else from_plain(Restoration, kept)
    return told.resumes if told is not None and told.resumes is not None else control


def identity_of(path: Path) -> BookIdentity | None:
    """Give whose a damaged book is, None when that cannot be read any more."""
    try:
        return identity_in(path)
    except StateError as error:
        log.debug("it cannot be told whose book it is: %s", error)
        return None


def _require_same_book(
    path: Path, present: tuple[BookIdentity | None, Control | None] | None, wanted: BookIdentity | None
) -> None:
    owner = present[0] if present else None
    if owner and wanted and (owner.mode, owner.account) != (wanted.mode, wanted.account):
        raise StateError(
            f"{path}: is the {owner.mode} book of {owner.account}, the backup is the {wanted.mode} book of "
            f"{wanted.account}; start the bot once in {wanted.mode} mode, which puts this one aside, or move it away"
        )


def _amend(
    draft: Path, told: Restoration, identity: BookIdentity | None, present: Control | None
) -> tuple[Restoration, Control]:
    """Prepare the copy for its start: newest schema, ids nobody has used, the control state, and the journal."""
    store = StateStore(draft)
    try:
        # The present book has heard an operator last.
        before = present or store.control()
        control, told = _wanted(before, told, identity)
        with store.transaction():
            store.skip_client_ids(SKIPPED_IDS)
            if (control.state, control.reason) != (store.control().state, store.control().reason):
                control = store.set_control(control.state, control.reason, control.set_by, told.at)
            store.put(RESTORED, to_plain(told), told.at)
            cause = f"{told.set_by}, found {control.state.value}"
            store.add_event(BookRestored(told.at, told.backup_id, told.made_at, told.newest, cause), 0)
            changed = ControlChanged(told.at, control.state.value, control.reason, control.set_by, control.epoch)
            store.add_event(changed, 0)
        store.session.checkpoint()
    finally:
        store.close()
    for copy in draft.parent.glob(f"{draft.name}.v*.bak"):
        # Left by an upgrade of the schema; the backup itself is that copy.
        copy.unlink()
    return told, control


def _wanted(before: Control, told: Restoration, identity: BookIdentity | None) -> tuple[Control, Restoration]:
    """Give the control state the restored book starts in, and what is to be kept about it."""
    is_damage = told.set_by == RECOVERY
    is_live = identity is not None and identity.mode != PAPER
    if not (is_damage or is_live):
        return before, told
    why = "the book was damaged, " if is_damage else ""
    causes = [f"{BOOKS_RESTORED}: {why}backup {told.backup_id} of {iso(told.made_at)} is in its place"]
    if before.state is not ControlState.NORMAL:
        causes.append(before.reason)
    halted = Control(before.epoch, ControlState.HALTED, ", ".join(causes), told.at, told.set_by, before.owner)
    ends_itself = is_live and not is_damage and before.state is not ControlState.HALTED
    return halted, replace(told, resumes=before if ends_itself else None)


def _ready(path: Path) -> Path:
    return Path(f"{path}.restoring")


def _clear(draft: Path) -> None:
    """Remove what an interrupted preparation left."""
    for end in ("", *_BESIDE):
        Path(f"{draft}{end}").unlink(missing_ok=True)

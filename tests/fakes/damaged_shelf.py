"""A bot's book with one open position, and its backups, to be damaged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from bn_ml.backup import Sources, make_backup
from bn_ml.backup_store import Backup, BackupStore
from bn_ml.book_opening import open_book
from bn_ml.domain.events import CycleStarted
from bn_ml.domain.orders import IntentState
from bn_ml.settings import Settings
from bn_ml.settings_ops import StorageSettings
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import AT, LATER, a_fill, a_position, an_intent

MUCH_LATER = LATER + timedelta(days=1)


@dataclass
class Shelf:
    """A bot's book and its backups."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "state" / "bn_ml.db"

    @property
    def backups(self) -> BackupStore:
        return BackupStore(self.folder / "backups")

    @property
    def storage(self) -> StorageSettings:
        tree: dict[str, Any] = {"sqlite_path": str(self.path), "backup": {"base_dir": str(self.folder / "backups")}}
        return Settings.from_mapping({"storage": tree}).storage

    def open(self, mode: str = "live", account: str = "main") -> StateStore:
        """Open the book as the start of a bot does."""
        return open_book(self.storage, mode, account, MUCH_LATER)

    def begin(self, mode: str = "live") -> None:
        """Write a book with one open position."""
        store = open_book(self.storage, mode, "main", AT)
        store.start_epoch(AT, "start")
        client_id = store.next_client_id()
        store.add_intent(an_intent(client_id), store.control().owner)
        with store.transaction():
            store.add_fill(a_fill(client_id=client_id))
            store.update_intent(client_id, IntentState.FILLED, at=AT)
            store.save_position(a_position())
            store.add_event(CycleStarted(AT, 1), 1)
        store.close()

    def go_on(self) -> str:
        """Send one more order after the backup and give its id."""
        store = StateStore(self.path)
        client_id = store.next_client_id()
        store.add_intent(replace(an_intent(client_id), created_at=LATER), store.control().owner)
        store.close()
        return client_id

    def backup(self, hours: float = 0) -> Backup:
        """Make a backup some hours after the book began."""
        return make_backup(Sources(self.path), self.backups, AT + timedelta(hours=hours))

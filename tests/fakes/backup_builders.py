"""A folder with a book, exports, logs and bundles, and the backups of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from bn_ml.backup import Sources, make_backup
from bn_ml.backup_store import Backup, BackupStore
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import a_story

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)
BUNDLE_FILES = ("ensemble.bin", "metadata.json", "manifest.json", "manifest.sig")


@dataclass
class Office:
    """Everything that is backed up, below one folder."""

    folder: Path
    backups: BackupStore = field(init=False)

    def __post_init__(self) -> None:
        self.backups = BackupStore(self.folder / "backups")

    @property
    def book(self) -> Path:
        return self.folder / "state" / "bn_ml.db"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def sources(self) -> Sources:
        return Sources(self.book, self.folder / "metrics", self.folder / "logs", self.models)

    def backup(self, hours: float = 0) -> Backup:
        """Make one some hours after noon."""
        return make_backup(self.sources, self.backups, NOW + timedelta(hours=hours))

    def publish(self, key: str, version: int, *, ensemble: str = "trees") -> None:
        """Swap a bundle in as the store of bundles does: the one before becomes an earlier version."""
        current = self.models / key
        if current.exists():
            earlier = self.models / ".versions" / key / str(version - 1)
            earlier.parent.mkdir(parents=True, exist_ok=True)
            current.rename(earlier)
        draft = self.models / ".incoming" / f"{key}.part"
        draft.mkdir(parents=True)
        for name in BUNDLE_FILES:
            (draft / name).write_text(f"{key} {version} {ensemble} {name}")
        (draft / "manifest.sig").write_text("PUBLICKEY= SIGNATURE=\n")
        draft.rename(current)
        (self.models / ".versions" / key).mkdir(parents=True, exist_ok=True)
        (self.models / ".versions" / key / "newest").write_text(f"{version}\n")


def an_office(folder: Path) -> Office:
    """A paper book with one open position, one export, one log, one bundle, a private key and a training's files."""
    office = Office(folder)
    store = StateStore(office.book)
    store.start_epoch(NOW, "test")
    a_story(store)
    store.close()
    for name, text in (("metrics/latest_scan.csv", "symbol\n"), ("logs/bnml.log", "a line\n")):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)
    office.publish("BTC_USDC", 1)
    for name in (".keys/signing.key", ".training/BTC_USDC.lock", ".training/status.json", ".lock"):
        (office.models / name).parent.mkdir(exist_ok=True)
        (office.models / name).write_text("private")
    return office


def blocks(path: Path) -> int:
    """How many names a file on disk has."""
    return os.stat(path).st_nlink

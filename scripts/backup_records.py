"""What the loop keeps of the backups made beside it: their state for readers, and the facts for the journal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bn_ml.backup_worker import BackupWorker
from bn_ml.domain.events import BackupMade, Event
from bn_ml.restore import RESTORED
from bn_ml.state_store import StateStore

BACKUP_STATUS = "backup_status"


class BackupRecords:
    """Writes the keyed value `backup_status` when it has changed; what the worker did goes into the journal."""

    def __init__(self, store: StateStore, worker: BackupWorker) -> None:
        """Keep in `store` what `worker` tells."""
        self._store = store
        self._worker = worker
        self._kept: dict[str, object] = {}

    def collect(self, now: datetime) -> Sequence[Event]:
        """Take over what has happened since the last call; disk space given up is kept in reserve again."""
        status = {**self._worker.status().as_dict(), "last_restore": self._store.get(RESTORED)}
        if status != self._kept:
            self._store.put(BACKUP_STATUS, status, now)
            self._kept = status
        news = self._worker.news()
        if any(isinstance(event, BackupMade) for event in news):
            self._store.session.reserve.ensure()
        return news

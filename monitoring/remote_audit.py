"""The record of everything asked for from afar: one JSON line each, on the disk before anything else happens."""

from __future__ import annotations

import json
import logging
import os
from datetime import datetime
from pathlib import Path

from bn_ml.domain.market import iso

log = logging.getLogger(__name__)

FILE_NAME = "remote_control.jsonl"
LARGEST = 4_000_000
"""At this many bytes the file is set aside as `.1` and a new one begun."""


class RemoteAudit:
    """Appends lines; a line that cannot be written goes to the log and hinders nobody."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made by the first line."""
        self.path = path

    def note(self, at: datetime, who: str, what: str, outcome: str, detail: str = "") -> None:
        """Keep who asked for what, when, and what came of it."""
        line = json.dumps({"at": iso(at), "who": who, "what": what, "outcome": outcome, "detail": detail})
        log.warning("remote control what=%s outcome=%s who=%r detail=%r", what, outcome, who, detail)
        try:
            self._append(f"{line}\n".encode())
        except OSError as error:
            log.error("remote control record not written path=%s error=%s line=%s", self.path, error.strerror, line)

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size >= LARGEST:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # A line cut off by an earlier end of the power must not swallow this one.
            before = os.fstat(descriptor).st_size
            cut = before > 0 and not self._ends_well(before)
            os.write(descriptor, b"\n" + line if cut else line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _ends_well(self, size: int) -> bool:
        with self.path.open("rb") as file:
            file.seek(size - 1)
            return file.read(1) == b"\n"

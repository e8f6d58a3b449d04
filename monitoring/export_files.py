"""Files written for readers: replaced in one step; one that cannot be written is told once and disturbs nobody."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


class ExportFiles:
    """Writes files; a failure is logged once until it changes or passes."""

    def __init__(self) -> None:
        """Start without a failure told."""
        self._told: dict[Path, str] = {}

    def write(self, path: Path, text: str) -> None:
        """Write a file, its folder made when needed."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        except OSError as error:
            if self._told.get(path) != str(error):
                self._told[path] = str(error)
                log.warning("export not written path=%s error=%s", path, error)
        else:
            self._told.pop(path, None)

    def remove(self, path: Path) -> None:
        """Delete a file, if there is one."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("export not removed path=%s error=%s", path, error)

"""The `training_status` record: how a run stands, followed from what the trainer says.

A run that the bot did not begin keeps its record in the models folder, where the bot finds it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bn_ml.codecs import from_plain
from bn_ml.domain.market import iso
from bn_ml.errors import StateError
from bn_ml.ports import Clock
from ml_engine.training_locks import training_folder
from ml_engine.training_progress import (
    FAILED,
    KEPT,
    TRAINED,
    Message,
    SymbolOutcome,
    TrainingFinished,
    TrainingProgress,
)

log = logging.getLogger(__name__)

RUNNING = "running"
_FILE = "status.json"


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """The `training_status` record."""

    status: str = "idle"
    phase: str = ""
    trigger: str = ""
    started_at: str | None = None
    updated_at: str | None = None
    current_symbol: str = ""
    current_index: int = 0
    symbols_requested: int = 0
    symbols_queued: int = 0
    symbols_completed: int = 0
    symbols_trained: int = 0
    symbols_errors: int = 0
    symbols_skipped_up_to_date: int = 0
    symbols_kept_champion: int = 0
    progress_pct: float = 0.0
    eta_s: float | None = None
    last_error: str = ""
    hpo_enabled: bool = False
    models_reloaded_at: str | None = None
    reload_reason: str = ""


def begun(trigger: str, symbols: int, now: datetime, *, hpo: bool) -> TrainingStatus:
    """Give the record of a run that begins."""
    return TrainingStatus(
        status=RUNNING,
        phase="start",
        trigger=trigger,
        started_at=iso(now),
        updated_at=iso(now),
        symbols_requested=symbols,
        symbols_queued=symbols,
        hpo_enabled=hpo,
    )


def followed(status: TrainingStatus, message: Message, now: datetime) -> TrainingStatus:
    """Give the record after a message of the run."""
    status = replace(status, updated_at=iso(now))
    if isinstance(message, TrainingProgress):
        return replace(
            status,
            phase=message.phase,
            current_symbol=message.symbol,
            current_index=message.index,
            symbols_completed=message.completed,
            symbols_queued=max(message.total - message.completed, 0),
            progress_pct=round(100.0 * message.completed / max(message.total, 1), 1),
            eta_s=status.eta_s if message.eta_s is None else message.eta_s,
        )
    if isinstance(message, SymbolOutcome):
        return _counted(status, message)
    return _ended(status, message)


def fields_of(status: TrainingStatus) -> dict[str, object]:
    """Give the record as users read it."""
    return {name: getattr(status, name) for name in TrainingStatus.__slots__}


def stored(content: object) -> TrainingStatus:
    """Read a stored record; one that cannot be read is as good as none."""
    try:
        return from_plain(TrainingStatus, content or {})
    except StateError as error:
        log.warning("the stored training status is not readable: %s", error)
        return TrainingStatus()


class SharedStatus:
    """Keeps the record of a run in the models folder; one that cannot be written is told once and goes without."""

    def __init__(self, models_dir: Path, status: TrainingStatus, clock: Clock) -> None:
        """Begin with a record."""
        self._path = training_folder(models_dir) / _FILE
        self._clock = clock
        self._status = status
        self._told = False
        self._write()

    def hear(self, message: Message) -> None:
        """Follow a message of the run."""
        self._status = followed(self._status, message, self._clock.now())
        self._write()

    def _write(self) -> None:
        fresh = self._path.with_name(f"{_FILE}.part")
        try:
            fresh.write_text(json.dumps(fields_of(self._status)), encoding="utf-8")
            fresh.replace(self._path)
        except OSError as error:
            if not self._told:
                log.warning("the progress of this run is not shown elsewhere: %s", error)
            self._told = True


def shared_status(models_dir: Path) -> TrainingStatus | None:
    """Give the record of the last run begun outside the bot, None without one."""
    try:
        return stored(json.loads((training_folder(models_dir) / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _counted(status: TrainingStatus, outcome: SymbolOutcome) -> TrainingStatus:
    if outcome.result == TRAINED:
        return replace(status, symbols_trained=status.symbols_trained + 1)
    if outcome.result == KEPT:
        return replace(status, symbols_kept_champion=status.symbols_kept_champion + 1)
    if outcome.result == FAILED:
        error = f"{outcome.symbol}: {'; '.join(outcome.reasons)}"
        return replace(status, symbols_errors=status.symbols_errors + 1, last_error=error)
    return replace(status, symbols_skipped_up_to_date=status.symbols_skipped_up_to_date + 1)


def _ended(status: TrainingStatus, message: TrainingFinished) -> TrainingStatus:
    done = status.progress_pct if message.error else 100.0
    error = message.error or status.last_error
    return replace(status, status=message.status, phase="", progress_pct=done, eta_s=None, last_error=error)

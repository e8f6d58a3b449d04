"""What the daily digest says of models and backups, as the book has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from bn_ml.ports import Clock
from bn_ml.state_reader import StateReader
from monitoring.alert_text import duration
from monitoring.bot_facts import read_facts
from monitoring.plain_values import instant, mapping


class DigestNotes:
    """Reads the book when called; a book that cannot be read gives no notes."""

    def __init__(self, reader: StateReader, clock: Clock) -> None:
        """Ages are counted by the clock the book is kept by."""
        self._reader = reader
        self._clock = clock

    def __call__(self) -> Sequence[str]:
        """Give one part for the models and one for the backups."""
        now = self._clock.now()
        facts = read_facts(self._reader, now)
        if facts.problem:
            return ()
        return (models_note(facts.models, now), backup_note(facts.value("backup_status"), now))


def models_note(models: Mapping[str, Mapping[str, object]], now: datetime) -> str:
    """Say how many bundles may be traded on, and how old the oldest is."""
    if not models:
        return "no bundle yet"
    tradable = sum(bool(mapping(model.get("tradable")).get("verdict")) for model in models.values())
    trained = [at for model in models.values() if (at := instant(model.get("trained_at"))) is not None]
    oldest = f", oldest bundle {_age(min(trained), now)}" if trained else ""
    return f"tradable {tradable}/{len(models)}{oldest}"


def backup_note(status: Mapping[str, object], now: datetime) -> str:
    """Say when the last backup was made, whether the newest attempt failed, and when one was last restored."""
    made = instant(status.get("last_backup_at"))
    if made is None:
        return "no backup yet" if status.get("enabled", True) else "backups off"
    failed = f", newest failed: {status['last_error']}" if status.get("last_error") else ""
    restored = instant(mapping(status.get("last_restore")).get("at"))
    checked = f", restored {_age(restored, now)} ago" if restored else ""
    return f"backup {_age(made, now)} ago{failed}{checked}"


def _age(at: datetime, now: datetime) -> str:
    return duration(max((now - at).total_seconds(), 0.0))

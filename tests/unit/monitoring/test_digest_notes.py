"""What the daily digest says of models and backups."""

from __future__ import annotations

from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from monitoring.digest_notes import DigestNotes, backup_note, models_note
from tests.fakes.alert_builders import START, at

DAY_S = 86_400


def a_model(tradable: bool, age_s: float) -> dict[str, object]:
    return {"tradable": {"verdict": tradable}, "trained_at": at(-age_s).isoformat()}


def test_models_are_counted_and_the_oldest_is_named() -> None:
    models = {"BTC/USDC": a_model(True, 4 * DAY_S), "ETH/USDC": a_model(False, DAY_S)}
    assert models_note(models, START) == "tradable 1/2, oldest bundle 4.0 d"


@pytest.mark.parametrize("odd", [{}, {"trained_at": "soon"}, {"tradable": None, "trained_at": 3}])
def test_odd_records_are_counted_as_not_tradable(odd: dict[str, object]) -> None:
    assert models_note({"BTC/USDC": odd}, START) == "tradable 0/1"


@pytest.mark.parametrize(
    ("status", "note"),
    [
        ({}, "no backup yet"),
        ({"enabled": False}, "backups off"),
        ({"last_backup_at": at(-3600).isoformat()}, "backup 60 min ago"),
        (
            {"last_backup_at": at(-3600).isoformat(), "last_error": "disk full", "last_restore": None},
            "backup 60 min ago, newest failed: disk full",
        ),
        (
            {"last_backup_at": at(-3600).isoformat(), "last_restore": {"at": at(-2 * DAY_S).isoformat()}},
            "backup 60 min ago, restored 2.0 d ago",
        ),
    ],
)
def test_backups_are_told_with_their_age(status: dict[str, object], note: str) -> None:
    assert backup_note(status, START) == note


def test_a_book_gives_its_notes_and_an_absent_one_none(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    assert DigestNotes(StateReader(tmp_path / "none.db"), clock)() == ()
    store = StateStore(tmp_path / "bn_ml.db")
    store.close()
    assert DigestNotes(StateReader(tmp_path / "bn_ml.db"), clock)() == ("no bundle yet", "no backup yet")

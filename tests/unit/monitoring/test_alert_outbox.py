"""The file that keeps critical alerts."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol
from monitoring.alert_outbox import AlertOutbox
from tests.fakes.alert_builders import CRITICAL, an_alert

OPENED: list[AlertOutbox] = []


@pytest.fixture(autouse=True)
def _closes() -> Iterator[None]:
    """Close what a test opened."""
    yield
    while OPENED:
        OPENED.pop().close()


def an_outbox(folder: Path, *channels: str) -> AlertOutbox:
    OPENED.append(AlertOutbox(folder / "alerts.db", channels or ("webhook", "email")))
    return OPENED[-1]


def keys(outbox: AlertOutbox) -> list[str]:
    return [kept.alert.key for kept in outbox.waiting()]


def test_what_was_kept_is_found_by_the_next_life(tmp_path: Path) -> None:
    alert = an_alert("fire", CRITICAL, why="w", next_action="n", symbol=Symbol("BTC/USDC"))
    first = an_outbox(tmp_path)
    assert [first.keep(alert, "c41f"), first.keep(alert, "c41f")] == [1, 2]
    (kept,) = an_outbox(tmp_path).waiting()
    assert (kept.alert, kept.id, kept.count, kept.told) == (alert, "c41f", 2, {})


@pytest.mark.parametrize(
    ("told", "waits"),
    [
        ({"webhook": 2}, True),
        ({"webhook": 2, "email": 1}, True),
        ({"webhook": 2, "email": 2}, False),
        ({"webhook": 0, "email": 2}, True),
    ],
)
def test_an_alert_waits_until_every_channel_has_told_all_of_it(
    tmp_path: Path, told: dict[str, int], waits: bool
) -> None:
    outbox = an_outbox(tmp_path)
    for _ in range(2):
        outbox.keep(an_alert("fire", CRITICAL), "c41f")
    for channel, count in told.items():
        outbox.note_told(channel, {"fire": count})
    assert (keys(outbox) == ["fire"]) is waits


def test_a_repeat_after_it_was_told_waits_again(tmp_path: Path) -> None:
    outbox = an_outbox(tmp_path, "webhook")
    outbox.keep(an_alert("fire", CRITICAL), "c41f")
    outbox.note_told("webhook", {"fire": 1})
    assert outbox.keep(an_alert("fire", CRITICAL), "c41f") == 1
    assert keys(outbox) == ["fire"]


def test_a_channel_that_is_gone_keeps_nothing_waiting(tmp_path: Path) -> None:
    outbox = an_outbox(tmp_path, "webhook", "email")
    outbox.keep(an_alert("fire", CRITICAL), "c41f")
    outbox.note_told("webhook", {"fire": 1})
    assert keys(an_outbox(tmp_path, "webhook")) == []


def test_more_than_it_can_hold_is_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.alert_outbox.CAPACITY", 3)
    outbox = an_outbox(tmp_path)
    assert [outbox.keep(an_alert(f"fire {n}", CRITICAL), "c41f") for n in range(6)] == [1, 1, 1, 0, 0, 0]
    assert outbox.keep(an_alert("fire 0", CRITICAL), "c41f") == 2
    assert {kept.alert.key: kept.count for kept in outbox.waiting()}["more"] == 3


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 2000])
def test_a_damaged_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "alerts.db"
    path.write_bytes(content)
    outbox = an_outbox(tmp_path)
    assert outbox.keep(an_alert("fire", CRITICAL), "c41f") == 1
    assert (tmp_path / "alerts.db.damaged").exists()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_foreign_database_is_set_aside(tmp_path: Path) -> None:
    foreign = sqlite3.connect(tmp_path / "alerts.db")
    foreign.execute("CREATE TABLE critical(other TEXT)")
    foreign.close()
    assert an_outbox(tmp_path).keep(an_alert("fire", CRITICAL), "c41f") == 1


def test_a_file_that_is_locked_refuses_soon_and_works_again_later(tmp_path: Path) -> None:
    outbox = an_outbox(tmp_path)
    outbox.keep(an_alert("fire", CRITICAL), "c41f")
    other = sqlite3.connect(tmp_path / "alerts.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert outbox.keep(an_alert("fire", CRITICAL), "c41f") is None
    other.execute("ROLLBACK")
    other.close()
    assert outbox.keep(an_alert("fire", CRITICAL), "c41f") == 2


def test_notes_are_kept(tmp_path: Path) -> None:
    an_outbox(tmp_path).put_note("tally", "text")
    assert [an_outbox(tmp_path).note(name) for name in ("tally", "other")] == ["text", ""]

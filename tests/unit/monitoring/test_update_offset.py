"""The mark of taken updates: durable, of one bot, and forgotten after a quiet week."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from monitoring.update_offset import FORGOTTEN_AFTER, UpdateOffset
from tests.fakes.book_builders import AT

BOT = "7654321"


def mark(folder: Path, bot: str = BOT, *, later: timedelta = timedelta(0)) -> UpdateOffset:
    return UpdateOffset(folder / "telegram_offset.json", bot, SimulatedClock(AT + later))


def test_what_was_taken_is_known_after_a_restart(tmp_path: Path) -> None:
    first = mark(tmp_path)
    assert first.next() is None
    assert not first.is_taken(0)
    first.take(41)
    again = mark(tmp_path)
    assert again.next() == 42
    assert [again.is_taken(number) for number in (40, 41, 42)] == [True, True, False]
    assert stat.S_IMODE(again.path.stat().st_mode) == 0o600
    assert BOT not in again.path.read_text()


def test_the_mark_of_another_bot_counts_for_nothing(tmp_path: Path) -> None:
    mark(tmp_path).take(41)
    assert mark(tmp_path, "1234567").next() is None


@pytest.mark.parametrize(("later", "kept"), [(timedelta(seconds=-1), True), (timedelta(0), False)])
def test_after_a_quiet_week_numbers_begin_anew(tmp_path: Path, later: timedelta, *, kept: bool) -> None:
    mark(tmp_path).take(41)
    again = mark(tmp_path, later=FORGOTTEN_AFTER + later)
    assert (again.next() == 42) is kept
    assert again.is_taken(7) is kept


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b"7", json.dumps({"bot": "x", "offset": 1, "at": "y"}).encode()],
)
def test_a_damaged_mark_is_told_and_counts_for_nothing(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "telegram_offset.json").write_bytes(content)
    made = mark(tmp_path)
    assert made.next() is None
    made.take(3)
    assert mark(tmp_path).next() == 4


def test_a_mark_that_cannot_be_written_lives_in_memory_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    made = mark(tmp_path / "file")
    made.take(1)
    made.take(2)
    assert made.next() == 3
    assert caplog.text.count("mark of taken updates not written") == 1

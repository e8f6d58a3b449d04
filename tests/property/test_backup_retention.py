"""Which backups have had their time, over all histories."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bn_ml.backup_manifest import BookFacts, Manifest
from bn_ml.backup_store import Backup, superseded
from bn_ml.domain.account import ControlState
from bn_ml.domain.identity import BookIdentity

FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
MODES = ("paper", "live")


def a_backup(number: int, minutes: int, mode: str) -> Backup:
    made_at = FIRST + timedelta(minutes=minutes)
    identity = BookIdentity(mode, "main", FIRST + timedelta(seconds=number))
    book = BookFacts(2, identity, ControlState.NORMAL, None, 0, 0, 0)
    name = f"{made_at:%Y%m%dT%H%M%SZ}-{number}"
    return Backup(Path(name), Manifest(name, made_at, "", ("state_db",), (), book))


MINUTES = st.integers(0, 60 * 24 * 12)
HISTORIES = st.lists(st.tuples(MINUTES, st.sampled_from(MODES)), max_size=60).map(
    lambda rows: [a_backup(number, *row) for number, row in enumerate(rows)]
)


@given(HISTORIES, st.integers(1, 6), st.integers(0, 6))
def test_the_newest_and_one_of_each_recent_day_stay_of_each_book(history: list[Backup], last: int, daily: int) -> None:
    going = {backup.backup_id for backup in superseded(history, keep_last=last, keep_daily=daily)}
    for mode in MODES:
        own = [item for item in history if item.manifest.book and item.manifest.book.identity.mode == mode]  # type: ignore[union-attr]
        own.sort(key=lambda item: (item.manifest.made_at, item.backup_id))
        staying = [item for item in own if item.backup_id not in going]
        assert staying[len(staying) - min(last, len(own)) :] == own[len(own) - min(last, len(own)) :]
        days = sorted({item.manifest.made_at.date() for item in own})[-daily:] if daily else []
        newest = [[item for item in own if item.manifest.made_at.date() == day][-1] for day in days]
        assert all(item in staying for item in newest)
        assert len(staying) <= last + daily
        assert set(map(id, staying)) == {*map(id, own[-last:]), *map(id, newest)}


@given(HISTORIES, st.integers(1, 6), st.integers(0, 6))
def test_a_second_look_finds_nothing_more_to_delete(history: list[Backup], last: int, daily: int) -> None:
    going = superseded(history, keep_last=last, keep_daily=daily)
    staying = [item for item in history if item not in going]
    assert superseded(staying, keep_last=last, keep_daily=daily) == ()
    assert list(going) == sorted(going, key=lambda item: (item.manifest.made_at, item.backup_id))

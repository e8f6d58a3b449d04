"""Where a book's story ends, so that generated or recorded time goes on there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from bn_ml.domain.events import CycleStarted
from bn_ml.journal import Journal
from bn_ml.state_store import StateStore
from scripts.worlds import last_recorded
from tests.fakes.bar_builders import START


def test_a_book_that_does_not_exist_has_no_last_fact_and_is_not_made(tmp_path: Path) -> None:
    assert last_recorded(tmp_path / "bn_ml.db") is None
    assert not (tmp_path / "bn_ml.db").exists()


def test_an_empty_book_has_no_last_fact(tmp_path: Path) -> None:
    StateStore(tmp_path / "bn_ml.db").close()
    assert last_recorded(tmp_path / "bn_ml.db") is None


def test_the_newest_fact_counts_whatever_was_written_last(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "bn_ml.db")
    store.bind_book("paper", "tests", START)
    journal = Journal(store)
    journal.emit(CycleStarted(START + timedelta(minutes=15), 1))
    journal.emit(CycleStarted(START + timedelta(minutes=5), 2))
    assert last_recorded(tmp_path / "bn_ml.db") == START + timedelta(minutes=15)
    store.close()
    assert last_recorded(tmp_path / "bn_ml.db") == START + timedelta(minutes=15)


def test_a_file_that_is_no_book_is_left_to_the_store_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "torn.db").write_bytes(b"not a database" * 100)
    (tmp_path / "blank.db").write_bytes(b"")
    assert last_recorded(tmp_path / "torn.db") is None
    assert last_recorded(tmp_path / "blank.db") is None

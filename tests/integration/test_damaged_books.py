"""A book found damaged, half restored or gone at the start of a bot: mended from a backup, or refused with the fix."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from bn_ml.book_opening import damage_of
from bn_ml.disk_reserve import RESERVE_BYTES
from bn_ml.domain.account import ControlState
from bn_ml.errors import StateError
from bn_ml.restore import restore_book
from tests.fakes.damaged_shelf import MUCH_LATER, Shelf

NORMAL, HALTED = ControlState.NORMAL, ControlState.HALTED


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    made = Shelf(tmp_path)
    made.begin()
    return made


def overwrite_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = b"\xff" * 64
    path.write_bytes(content)


def overwrite_head(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\x00" * 100)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def fill_with_noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 400)


DAMAGES: tuple[Callable[[Path], None], ...] = (overwrite_pages, overwrite_head, cut_in_half, fill_with_noise)


@pytest.mark.parametrize("mode", ["paper", "live"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_book_is_replaced_by_the_last_backup_and_halted(
    tmp_path: Path, damage: Callable[[Path], None], mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf(tmp_path)
    shelf.begin(mode)
    shelf.backup()
    newest = shelf.backup(1)
    damage(shelf.path)
    damaged = shelf.path.read_bytes()
    store = shelf.open(mode)
    control = store.control()
    assert (control.state, control.set_by) == (HALTED, "recovery")
    assert control.reason.startswith(f"books_restored: the book was damaged, backup {newest.backup_id} of ")
    assert [position.position_id for position in store.open_positions()] == ["p-1"]
    store.close()
    (kept,) = (shelf.path.parent / "replaced").glob("*/bn_ml.db")
    assert kept.read_bytes() == damaged
    assert "the book is damaged" in caplog.text
    assert "bnml-kill-switch --resume --reason TEXT" in caplog.text


def test_the_report_names_what_the_damaged_book_still_shows_of_the_time_after(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    backup = shelf.backup()
    client_id = shelf.go_on()
    unused = sqlite3.connect(shelf.path)
    (page,) = unused.execute("SELECT rootpage FROM sqlite_master WHERE name = 'model_metrics'").fetchone()
    unused.close()
    with shelf.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 64)
    store = shelf.open()
    kept = store.get("restored_book")
    store.close()
    assert isinstance(kept, dict)
    assert kept["missing"] == [
        "everything after 2023-06-10T12:00:00.000Z",
        f"order BTC/USDC BUY {client_id} SENT",
    ]
    assert f"may be missing: order BTC/USDC BUY {client_id} SENT" in caplog.text
    assert kept["backup_id"] == backup.backup_id


def test_a_damaged_backup_is_passed_over_for_the_one_before(shelf: Shelf) -> None:
    whole = shelf.backup()
    overwrite_pages(shelf.backup(1).folder / "bn_ml.db")
    overwrite_pages(shelf.path)
    store = shelf.open()
    assert whole.backup_id in store.control().reason
    store.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_whole_backup_a_damaged_book_is_refused_again_and_again(
    shelf: Shelf, damage: Callable[[Path], None]
) -> None:
    damage(shelf.path)
    damaged = shelf.path.read_bytes()
    for _ in range(2):
        with pytest.raises(StateError, match=r"is damaged .*no whole backup.*bnml-doctor backups restore"):
            shelf.open()
        assert shelf.path.read_bytes() == damaged


def test_the_backup_of_another_account_never_takes_the_place_of_a_damaged_book(shelf: Shelf) -> None:
    shelf.backup()
    fill_with_noise(shelf.path)
    with pytest.raises(StateError, match="no whole backup of this book"):
        shelf.open(account="another")


def test_a_damaged_book_known_to_be_of_another_environment_is_left_alone(shelf: Shelf) -> None:
    shelf.backup()
    connection = sqlite3.connect(shelf.path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'model_metrics'").fetchone()
    connection.close()
    with shelf.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 64)
    with pytest.raises(StateError, match="not known to be the paper book of main"):
        shelf.open("paper")


def test_a_damaged_book_beside_an_archived_one_of_the_same_account_is_left_to_a_person(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.begin("paper")
    shelf.backup()
    shelf.open("live").close()
    fill_with_noise(shelf.path)
    with pytest.raises(StateError, match="not known to be the paper book"):
        shelf.open("paper")


def test_locked_foreign_and_newer_files_are_not_called_damaged(shelf: Shelf, tmp_path: Path) -> None:
    shelf.backup()
    holder = sqlite3.connect(shelf.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert damage_of(shelf.path) == ""
    holder.execute("ROLLBACK")
    holder.execute("PRAGMA user_version = 99")
    holder.close()
    with pytest.raises(StateError, match="version 99 is newer"):
        shelf.open()
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE notes(text TEXT)")
    foreign.close()
    assert damage_of(tmp_path / "foreign.db") == ""
    assert damage_of(tmp_path / "absent.db") == ""


def test_a_damaged_log_beside_a_whole_book_is_no_damage(shelf: Shelf) -> None:
    Path(f"{shelf.path}-wal").write_bytes(b"\xff" * 5000)
    shelf.open().close()


@pytest.mark.parametrize("remains", ["nothing", "an empty file"])
def test_an_empty_live_book_never_begins_where_backups_hold_ours(shelf: Shelf, remains: str) -> None:
    newest = shelf.backup()
    shelf.path.unlink()
    if remains == "an empty file":
        shelf.path.touch()
    for _ in range(2):
        with pytest.raises(StateError, match=f"holds 1 open positions.*bnml-doctor backups restore {newest.backup_id}"):
            shelf.open()
    restore_book(shelf.path, newest, at=MUCH_LATER)
    store = shelf.open()
    assert len(store.open_positions()) == 1
    store.close()


def test_a_new_paper_book_may_begin_beside_old_backups_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf(tmp_path)
    shelf.begin("paper")
    shelf.backup()
    shelf.path.unlink()
    store = shelf.open("paper")
    assert (store.open_positions(), store.control().state) == ((), NORMAL)
    store.close()
    assert "a new paper book begins although backup" in caplog.text


def test_a_backup_folder_that_cannot_be_read_holds_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf(tmp_path)
    shelf.backups.base.write_text("a file")
    shelf.open().close()
    assert "no backup can be read" in caplog.text


def test_a_new_account_and_a_first_start_begin_an_empty_book(shelf: Shelf) -> None:
    shelf.backup()
    shelf.path.unlink()
    store = shelf.open(account="another")
    assert store.open_positions() == ()
    store.close()


def test_a_restore_that_was_cut_off_is_completed_by_the_next_start(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backup = shelf.backup()
    shelf.go_on()
    with monkeypatch.context() as patched:
        patched.setattr("bn_ml.restore.finish_restore", lambda path: None)
        restore_book(shelf.path, backup, at=MUCH_LATER)
    store = shelf.open()
    assert len(store.recent_intents(10)) == 1
    assert store.control().reason.startswith("books_restored: backup")
    store.close()
    assert "an interrupted restore was completed" in caplog.text


def test_books_are_switched_and_disk_space_is_kept_in_reserve(shelf: Shelf, tmp_path: Path) -> None:
    store = Shelf(tmp_path / "new").open("paper")
    identity = store.identity()
    assert identity is not None
    assert identity.mode == "paper"
    store.close()
    assert Path(f"{tmp_path / 'new'}/state/bn_ml.db.reserve").stat().st_size == RESERVE_BYTES
    with pytest.raises(StateError, match="has open positions"):
        shelf.open("paper")

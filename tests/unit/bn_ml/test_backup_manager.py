"""One backup after the other: what is in them, that they are whole, what they share, and which go."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml import backup as backup_module
from bn_ml.backup import Sources, make_backup
from bn_ml.backup_manifest import read_manifest
from bn_ml.backup_store import BackupsBusy, BackupStore
from bn_ml.domain.account import ControlState
from bn_ml.errors import StateError
from bn_ml.settings import Settings
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from tests.fakes.backup_builders import NOW, Office, an_office, blocks
from tests.fakes.book_builders import AT


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return an_office(tmp_path)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_backup_holds_the_book_the_exports_the_logs_and_every_version_of_a_bundle(office: Office) -> None:
    office.publish("BTC_USDC", 2)
    made = office.backup()
    assert made.backup_id == "20260302T120000Z"
    bundle = ["ensemble.bin", "manifest.json", "manifest.sig", "metadata.json"]
    assert names(made.folder) == sorted(
        [
            "bn_ml.db",
            "logs/bnml.log",
            "manifest.json",
            "metrics/latest_scan.csv",
            "models/.versions/BTC_USDC/newest",
            *(f"models/.versions/BTC_USDC/1/{name}" for name in bundle),
            *(f"models/BTC_USDC/{name}" for name in bundle),
        ]
    )
    assert made.manifest.included == ("state_db", "metrics", "logs", "models")
    assert made.manifest.signers == ("PUBLICKEY=",)


def test_the_manifest_tells_whose_book_it_is_and_what_it_holds(office: Office) -> None:
    made = office.backup()
    book = made.manifest.book
    assert book is not None
    assert book.identity is not None
    assert (book.identity.mode, book.identity.account, book.state) == ("paper", "main", ControlState.NORMAL)
    assert (book.positions, book.orders, book.fills) == (1, 0, 1)
    assert (book.newest, made.manifest.made_at) == (AT, NOW)
    assert read_manifest(made.folder) == made.manifest
    plain = json.loads((made.folder / "manifest.json").read_text())
    assert {file["path"] for file in plain["files"]} == set(names(made.folder)) - {"manifest.json"}


def test_private_keys_locks_and_unfinished_trainings_stay_out(office: Office) -> None:
    made = office.backup()
    assert not [name for name in names(made.folder) if "signing" in name or ".training" in name or "lock" in name]


def test_a_copied_book_reads_like_the_one_it_was_copied_from(office: Office) -> None:
    made = office.backup()
    assert (StateReader(made.folder / "bn_ml.db").summary()) == StateReader(office.book).summary()


def test_only_the_owner_may_read_a_backup(office: Office) -> None:
    made = office.backup()
    for path in (made.folder, *made.folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_commits_still_in_the_log_are_copied_and_later_ones_are_not(office: Office) -> None:
    store = StateStore(office.book)
    store.put("word", "before", NOW)
    made = office.backup()
    store.put("word", "after", NOW)
    store.close()
    copy = sqlite3.connect(made.folder / "bn_ml.db")
    assert copy.execute("SELECT value_json FROM kv_state WHERE key = 'word'").fetchone() == ('"before"',)
    copy.close()


def test_a_writer_in_the_middle_of_a_transaction_is_neither_disturbed_nor_copied(office: Office) -> None:
    store = StateStore(office.book)
    with store.transaction():
        store.put("half", 1, NOW)
        made = office.backup()
    store.close()
    assert StateReader(office.book).kv("half") == 1
    assert StateReader(made.folder / "bn_ml.db").kv("half") is None


def test_every_copy_made_beside_a_busy_writer_is_one_committed_instant(office: Office) -> None:
    store = StateStore(office.book)
    ending, made = threading.Event(), []

    def copy() -> None:
        while not ending.is_set():
            made.append(office.backup(len(made)))

    thread = threading.Thread(target=copy)
    thread.start()
    for number in range(120):
        with store.transaction():
            store.put("left", number, NOW)
            store.put("right", -number, NOW)
    ending.set()
    thread.join()
    store.close()
    assert made
    for backup in made:
        reader = StateReader(backup.folder / "bn_ml.db")
        left, right = reader.kv("left"), reader.kv("right")
        assert (left is None and right is None) or left == -right  # type: ignore[operator]


def test_files_the_backup_before_has_are_not_copied_again(office: Office) -> None:
    office.publish("BTC_USDC", 2)
    first = office.backup()
    office.publish("BTC_USDC", 3)
    second = office.backup(1)
    assert blocks(second.folder / "models/.versions/BTC_USDC/1/ensemble.bin") == 2
    assert blocks(second.folder / "models/.versions/BTC_USDC/2/ensemble.bin") == 2, "set aside, the same file"
    assert blocks(second.folder / "models/BTC_USDC/ensemble.bin") == 1
    assert office.backups.problems(second) == ()
    assert office.backups.problems(first) == ()


def test_a_deleted_backup_takes_no_file_from_the_one_that_shares_it(office: Office) -> None:
    office.backup()
    second = office.backup(1)
    assert office.backups.prune(keep_last=1, keep_daily=0) == ("20260302T120000Z",)
    assert office.backups.problems(second) == ()
    assert office.backups.backups() == (second,)


def test_a_bundle_about_to_be_swapped_in_counts_where_none_serves(office: Office) -> None:
    (office.models / "BTC_USDC").rename(office.models / ".incoming" / "BTC_USDC")
    made = office.backup()
    assert "models/BTC_USDC/ensemble.bin" in names(made.folder)
    assert office.backups.problems(made) == ()


def test_a_bundle_replaced_while_it_is_copied_comes_along_whole(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[None] = []

    def tell() -> None:
        told.append(None)
        if len(told) == 5:
            office.publish("BTC_USDC", 2, ensemble="other")

    made = make_backup(office.sources, office.backups, NOW, tell)
    texts = {
        (made.folder / f"models/BTC_USDC/{name}").read_text().split()[1] for name in ("ensemble.bin", "metadata.json")
    }
    assert texts == {"2"}
    assert office.backups.problems(made) == ()


@pytest.mark.parametrize("name", ["bn_ml.db", "metrics/latest_scan.csv", "models/BTC_USDC/ensemble.bin"])
def test_a_changed_byte_a_lost_and_a_strange_file_are_found(office: Office, name: str) -> None:
    made = office.backup()
    path = made.folder / name
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert name in office.backups.problems(made)[0]
    path.unlink()
    assert f"{name}: cannot be read" in office.backups.problems(made)[0]
    path.write_bytes(content)
    (made.folder / "note.txt").write_text("x")
    assert office.backups.problems(made) == ("note.txt: is not in the manifest",)


def test_a_manifest_that_names_files_outside_is_refused(office: Office) -> None:
    made = office.backup()
    path = made.folder / "manifest.json"
    path.write_text(path.read_text().replace("logs/bnml.log", "../../state/bn_ml.db"))
    with pytest.raises(StateError, match="outside the backup"):
        read_manifest(made.folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "not json"])
def test_a_backup_without_a_readable_manifest_is_told_and_left_out(
    office: Office, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = office.backup()
    (made.folder / "manifest.json").write_text(text)
    assert office.backups.backups() == ()
    assert "a backup cannot be used" in caplog.text


def test_what_a_crash_left_half_made_is_no_backup_and_goes_with_the_next(office: Office) -> None:
    for name in (".20260302T110000Z.part", ".20260301T110000Z-3.gone"):
        (office.backups.base / name / "models").mkdir(parents=True)
        (office.backups.base / name / "bn_ml.db").write_text("half")
    (office.backups.base / "notes").mkdir()
    assert office.backups.backups() == ()
    made = office.backup()
    assert sorted(path.name for path in office.backups.base.iterdir()) == [".lock", made.backup_id, "notes"]


def test_a_failed_backup_leaves_nothing_behind(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise StateError("corrupt")

    monkeypatch.setattr(backup_module, "book_facts", refuse)
    with pytest.raises(StateError, match="corrupt"):
        office.backup()
    assert [path.name for path in office.backups.base.iterdir()] == [".lock"]


def test_a_damaged_book_is_never_kept_as_a_backup(office: Office) -> None:
    content = bytearray(office.book.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = b"\xff" * 64
    office.book.write_bytes(bytes(content))
    with pytest.raises(StateError, match=r"corrupt|malformed"):
        office.backup()
    assert office.backups.backups() == ()


def test_a_row_without_its_parent_is_never_kept_as_a_backup(office: Office) -> None:
    book = sqlite3.connect(office.book)
    book.execute(
        "INSERT INTO ledger(at_ms, asset, amount, reason, symbol, trade_id, note) VALUES (1,'A',1,'fee','X','9','')"
    )
    book.commit()
    book.close()
    with pytest.raises(StateError, match="lack the row they belong to"):
        office.backup()


def test_no_backup_is_made_of_an_absent_book_or_a_strange_one(office: Office, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no database yet"):
        make_backup(Sources(tmp_path / "none.db"), office.backups, NOW)
    strange = sqlite3.connect(tmp_path / "strange.db")
    strange.execute("CREATE TABLE notes(text TEXT)")
    strange.close()
    with pytest.raises(StateError, match="another program"):
        make_backup(Sources(tmp_path / "strange.db"), office.backups, NOW)


def test_a_backup_never_takes_the_disk_space_the_bot_needs(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 3 * 1024 * 1024
    sources = Sources(office.book, spare_bytes=needed)
    size = sum(path.stat().st_size for path in office.book.parent.glob("bn_ml.db*") if path.suffix != ".lock")
    monkeypatch.setattr(backup_module, "free_bytes", lambda folder: needed + size - 1)
    with pytest.raises(StateError, match=r"3 MB are to stay free.*keep_last"):
        make_backup(sources, office.backups, NOW)
    monkeypatch.setattr(backup_module, "free_bytes", lambda folder: needed + size)
    make_backup(sources, office.backups, NOW)


def test_two_backups_of_one_second_have_two_names(office: Office) -> None:
    assert [office.backup().backup_id for _ in range(3)] == [
        "20260302T120000Z",
        "20260302T120000Z-1",
        "20260302T120000Z-2",
    ]
    assert [backup.backup_id for backup in office.backups.backups()][-1] == "20260302T120000Z-2"


def test_whoever_reads_backups_keeps_others_from_making_or_deleting_them(office: Office) -> None:
    office.backup()
    other = BackupStore(office.backups.base)
    with other.reading(), pytest.raises(BackupsBusy, match="try again"):
        office.backup(1)
    with other.reading(), other.reading():
        pass
    with other.writing(), pytest.raises(BackupsBusy), other.reading():
        pass
    office.backup(1)


def test_a_folder_that_cannot_be_used_is_named(office: Office, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for base in (tmp_path / "file", tmp_path / "file" / "backups"):
        with pytest.raises(StateError, match=r"correct storage\.backup\.base_dir"):
            make_backup(office.sources, BackupStore(base), NOW)


def test_an_unknown_backup_is_refused_with_those_there_are(office: Office) -> None:
    office.backup()
    for name in ("20260302T130000Z", "../state", "", ".lock"):
        with pytest.raises(StateError, match="the newest are 20260302T120000Z"):
            office.backups.find(name)


def test_the_settings_say_what_goes_into_a_backup() -> None:
    settings = Settings.from_mapping({"storage": {"min_free_disk_mb": 2}})
    sources = Sources.of(settings)
    assert sources.logs is None
    assert sources.spare_bytes == 2 * 1024 * 1024
    assert [path.is_absolute() for path in (sources.database, sources.metrics, sources.models) if path] == [True] * 3
    none = {f"include_{part}": False for part in ("state_db", "metrics", "models")}
    assert Sources.of(Settings.from_mapping({"storage": {"backup": none}})) == Sources(
        None, spare_bytes=500 * 1024 * 1024
    )


def test_backups_inside_a_folder_that_is_backed_up_do_not_swallow_themselves(office: Office) -> None:
    store = BackupStore(office.folder / "metrics" / "backups")
    for hours in range(3):
        made = make_backup(office.sources, store, NOW + timedelta(hours=hours))
    assert [name for name in names(made.folder) if name.startswith("metrics")] == ["metrics/latest_scan.csv"]


def test_where_no_link_can_be_made_files_are_copied(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    office.backup()
    monkeypatch.setattr(os, "link", refuse)
    second = office.backup(1)
    assert blocks(second.folder / "models/BTC_USDC/ensemble.bin") == 1
    assert office.backups.problems(second) == ()


def test_a_file_of_the_backup_before_that_was_cut_short_is_copied_anew(office: Office) -> None:
    first = office.backup()
    (first.folder / "models/BTC_USDC/ensemble.bin").write_text("x")
    (first.folder / "models/BTC_USDC/metadata.json").unlink()
    second = office.backup(1)
    assert office.backups.problems(second) == ()


def test_an_export_that_goes_while_it_is_copied_is_left_out(office: Office) -> None:
    (office.folder / "metrics" / "a_first.csv").write_text("1")

    def tell() -> None:
        (office.folder / "metrics" / "latest_scan.csv").unlink(missing_ok=True)

    made = make_backup(office.sources, office.backups, NOW, tell)
    assert [fact.path for fact in made.manifest.below("metrics")] == ["metrics/a_first.csv"]
    assert office.backups.problems(made) == ()


def test_bundles_that_never_hold_still_fail_the_backup(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = iter(range(2, 1000))
    monkeypatch.setattr("bn_ml.backup_models._ATTEMPTS", 2)

    def tell() -> None:
        office.publish("BTC_USDC", next(versions))

    with pytest.raises(StateError, match="bundles are being replaced all the time"):
        make_backup(Sources(None, models=office.models), office.backups, NOW, tell)
    assert [path.name for path in office.backups.base.iterdir()] == [".lock"]


def test_a_manifest_of_a_later_format_is_refused(office: Office) -> None:
    made = office.backup()
    path = made.folder / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(StateError, match="format 2 is not known; upgrade"):
        read_manifest(made.folder)


def test_a_book_that_is_not_the_one_the_manifest_tells_of_is_found(office: Office) -> None:
    made = office.backup()
    assert made.manifest.book is not None
    other = replace(made.manifest, book=replace(made.manifest.book, fills=7))
    other.write(made.folder)
    assert office.backups.problems(office.backups.find(made.backup_id)) == (
        "bn_ml.db: holds something else than the manifest says",
    )


def test_a_disk_that_refuses_a_backup_is_named(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    monkeypatch.setattr(backup_module, "sync_folders", refuse)
    with pytest.raises(StateError, match="somewhere: No space left on device; the backup was not made"):
        office.backup()
    assert [path.name for path in office.backups.base.iterdir()] == [".lock"]

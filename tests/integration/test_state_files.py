"""What the state database does with real files: broken, foreign, newer, locked, full and killed ones."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bn_ml.control import ProcessLock
from bn_ml.database import reading
from bn_ml.errors import StateError
from bn_ml.schema import MIGRATIONS, Migration
from bn_ml.state_reader import StateReader
from bn_ml.state_session import Session
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import AT, a_story

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "bn_ml.db"


@pytest.fixture
def store(path: Path) -> Iterator[StateStore]:
    store = StateStore(path)
    store.start_epoch(AT, "test")
    yield store
    store.close()


def corrupted(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 64] = b"\xff" * 64
    path.write_bytes(bytes(content))


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("hello " * 1000)
    for opened in (StateStore, lambda file: StateReader(file).summary()):
        with pytest.raises(StateError, match=r"bn_ml\.db: file is not a database; it is no SQLite file"):
            opened(path)


def test_a_corrupt_file_is_named_with_its_fix(store: StateStore, path: Path) -> None:
    a_story(store)
    store.close()
    corrupted(path)
    with pytest.raises(StateError, match=r"bn_ml\.db: .*restore a backup"):
        StateStore(path)
    with pytest.raises(StateError, match=r"bn_ml\.db: .*restore a backup"):
        StateReader(path).summary()


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE notes(text TEXT)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="belongs to another program"):
        StateStore(path)
    assert path.read_bytes() == before


def test_a_newer_database_is_refused(store: StateStore, path: Path) -> None:
    store.session.execute("PRAGMA user_version = 99")
    store.close()
    for opened in (StateStore, lambda file: StateReader(file).control()):
        with pytest.raises(StateError, match="version 99 is newer"):
            opened(path)


def test_an_older_database_is_copied_before_it_is_migrated(store: StateStore, path: Path) -> None:
    a_story(store)
    store.close()
    longer = (*MIGRATIONS, Migration(3, ("CREATE TABLE later(x INTEGER) STRICT",)))
    session = Session(path, longer)
    assert session.rows("PRAGMA user_version")[0][0] == 3
    assert session.rows("SELECT count(*) FROM later")[0][0] == 0
    session.close()
    copy = path.with_name("bn_ml.db.v2.bak")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert StateReader(copy).summary().open_positions == 1


def test_a_failed_migration_changes_nothing(store: StateStore, path: Path) -> None:
    store.close()
    broken = (*MIGRATIONS, Migration(3, ("CREATE TABLE later(x INTEGER) STRICT", "CREATE NONSENSE")))
    with pytest.raises(StateError, match="syntax error"):
        Session(path, broken)
    again = StateStore(path)
    assert again.session.rows("SELECT count(*) FROM sqlite_master WHERE name = 'later'")[0][0] == 0
    again.close()


def test_a_reader_of_an_unfinished_or_absent_database_says_what_to_do(path: Path) -> None:
    with pytest.raises(StateError, match="no database yet; start the bot"):
        StateReader(path).summary()
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StateError, match="schema version 0 is older"):
        StateReader(path).summary()


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for bad in (tmp_path, tmp_path / "file" / "bn_ml.db"):
        with pytest.raises(StateError, match="cannot be created or written"):
            StateStore(bad)
    with pytest.raises(StateError, match="cannot be created or written"):
        ProcessLock(tmp_path / "file" / "bn_ml.db").acquire(AT)


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.getuid() != 0, reason="needs root to become somebody else")
def test_a_read_only_folder_is_named(store: StateStore, path: Path) -> None:
    store.close()
    program = (
        "import os, sys\nfrom bn_ml.state_store import StateStore\nfrom bn_ml.errors import StateError\n"
        "os.seteuid(65534)\n"
        "try:\n    StateStore(sys.argv[1])\nexcept StateError as error:\n    print(error)"
    )
    path.chmod(0o644)
    path.parent.chmod(0o755)
    answer = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "cannot be created or written" in answer.stdout


def test_a_database_another_process_writes_is_named_as_locked(store: StateStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.session.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(StateError, match="locked; another process is writing"):
        store.put("x", 1, AT)
    other.execute("ROLLBACK")
    other.close()
    store.put("x", 1, AT)
    assert store.get("x") == 1


def test_a_full_disk_loses_the_transaction_and_nothing_else(store: StateStore) -> None:
    store.put("kept", 1, AT)
    pages = store.session.rows("PRAGMA page_count")[0][0]
    store.session.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match="free disk space"):
        _put_both(store)
    store.session.execute("PRAGMA max_page_count = 1000000")
    assert (store.get("kept"), store.get("small"), store.get("large")) == (1, None, None)
    store.put("large", "x" * 1_000_000, AT)


def _put_both(store: StateStore) -> None:
    with store.transaction():
        store.put("small", 1, AT)
        store.put("large", "x" * 1_000_000, AT)


def test_closed_databases_refuse_work_and_closing_twice_is_harmless(store: StateStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StateError, match="closed"):
        store.put("x", 1, AT)


_WRITER = """
import sys
from datetime import datetime, timezone
from decimal import Decimal
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, OrderIntent, OrderType, Purpose, Side
from bn_ml.state_store import StateStore
at = datetime(2023, 6, 10, tzinfo=timezone.utc)
store = StateStore(sys.argv[1])
symbol, one = Symbol("BTC/USDC"), Decimal(1)
for number in range(100000):
    with store.transaction():
        name = store.next_client_id()
        store.add_intent(OrderIntent(name, symbol, Side.BUY, OrderType.MARKET, one, Purpose.ENTRY, "p", at), 0)
        store.add_fill(Fill(name, name, symbol, Side.BUY, one, one, one, one, "BNB", at))
    print(name, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 40, 173])
def test_a_killed_writer_loses_no_acknowledged_row(path: Path, acknowledged: int) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert writer.stdout is not None
    names = [writer.stdout.readline().strip() for _ in range(acknowledged)]
    writer.send_signal(signal.SIGKILL)
    names += [line.strip() for line in writer.stdout.readlines() if line.endswith("\n")]
    writer.stdout.close()
    writer.wait()
    store = StateStore(path)
    known = [record.intent.client_id for record in reversed(store.recent_intents(10**6))]
    assert known[: len(names)] == names
    assert len(known) <= len(names) + 1
    assert store.ledger_balances() == {asset: sign * len(known) for asset, sign in _ONE_EACH}
    assert store.next_client_id() not in known
    store.close()
    assert all(check.passed for check in StateReader(path).checks())


_ONE_EACH = (("BNB", -1), ("BTC", 1), ("USDC", -1))


def test_the_log_cannot_be_emptied_while_a_reader_holds_an_old_instant(store: StateStore, path: Path) -> None:
    store.session.execute("PRAGMA busy_timeout = 1")
    with reading(path) as connection:
        connection.execute("SELECT count(*) FROM kv_state").fetchone()
        store.put("x", 1, AT)
        with pytest.raises(StateError, match="another process is reading"):
            store.session.checkpoint()
    store.session.checkpoint()
    assert Path(f"{path}-wal").stat().st_size == 0

"""A disk that fails under the book: at every single write, full for real, and with the space kept for that hour."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.disk_reserve import LOW_BYTES, RESERVE_BYTES, ROOM_BYTES, DiskReserve, free_bytes
from bn_ml.errors import StateError
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import AT

ROOT = Path(__file__).resolve().parents[2]

_FAULTS = """
import json, os, resource, shutil, signal, sys
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, OrderIntent, OrderType, Purpose, Side
from bn_ml.errors import StateError
from bn_ml.state_store import StateStore

AT, SYMBOL, ONE = datetime(2023, 6, 10, tzinfo=timezone.utc), Symbol("BTC/USDC"), Decimal(1)

def one_order(store):
    with store.transaction():
        name = store.next_client_id()
        store.add_intent(OrderIntent(name, SYMBOL, Side.BUY, OrderType.MARKET, ONE, Purpose.ENTRY, "p", AT), 0)
        store.add_fill(Fill(name, name, SYMBOL, Side.BUY, ONE, ONE, ONE, ONE, "BNB", AT))
    return name

def life(path, limit, deadly, acknowledged):
    # The kernel refuses what would make a file longer than the limit, or ends the process right there.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if deadly else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    store = StateStore(path)
    if into_book:
        store.session.execute("PRAGMA wal_autocheckpoint = 1")
        # A process that dies loses nothing the kernel has, flushed or not, and this is twenty times as fast.
        store.session.execute("PRAGMA synchronous = OFF")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for _ in range(150 if into_book else 12):
        try:
            name = one_order(store)
        except StateError:
            break
        os.write(acknowledged, f"{name}\\n".encode())
    os._exit(0)

folder, deadly, into_book = Path(sys.argv[1]), "deadly" in sys.argv[2], "into book" in sys.argv[2]
first = folder / "first.db"
StateStore(first).close()
results = {}
for number in range(int(sys.argv[3])):
    path = folder / f"{number}.db"
    shutil.copyfile(first, path)
    # Log frames are 24 bytes and a page: the limit falls before, into and after each of them.
    limit = 32 + number * 4120 + (number % 3) * 1373
    if into_book:
        # Every commit is moved into the book itself, which outgrows the limit where the emptied log does not.
        limit = first.stat().st_size + number * 5461
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        life(path, limit, deadly, write)
    os.close(write)
    with os.fdopen(read) as names:
        told = names.read().split()
    _, status = os.waitpid(child, 0)
    results[path.name] = {"told": told, "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}
print(json.dumps(results))
"""


@pytest.mark.parametrize(("kind", "count"), [("deadly", 60), ("survived", 60), ("deadly into book", 14)])
def test_a_fault_at_any_write_of_log_and_book_loses_no_acknowledged_row(tmp_path: Path, kind: str, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, str(tmp_path), kind, str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    results = json.loads(done.stdout)
    assert {len(life["told"]) for life in results.values()} >= ({0, 1, 2} if "book" not in kind else set())
    assert (signal.SIGXFSZ in {life["signal"] for life in results.values()}) == ("deadly" in kind)
    for name, life in results.items():
        path = tmp_path / name
        store = StateStore(path)
        known = [record.intent.client_id for record in reversed(store.recent_intents(10**6))]
        assert known[: len(life["told"])] == life["told"], name
        assert len(known) <= len(life["told"]) + 1
        assert store.ledger_balances() == {asset: sign * len(known) for asset, sign in _ONE_EACH if known}
        assert store.next_client_id() not in known
        store.close()
        assert all(check.passed for check in StateReader(path).checks())
        path.unlink()


_ONE_EACH = (("BNB", -1), ("BTC", 1), ("USDC", -1))


def fill_up(session: StateStore) -> None:
    pages = session.session.rows("PRAGMA page_count")[0][0]
    session.session.execute(f"PRAGMA max_page_count = {pages}")


def test_a_reserve_is_kept_where_there_is_room_and_survives_a_restart(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path / "bn_ml.db")
    assert not reserve.is_held
    assert reserve.ensure()
    assert reserve.ensure()
    facts = reserve.path.stat()
    assert (facts.st_size, facts.st_mode & 0o777) == (RESERVE_BYTES, 0o600)
    assert facts.st_blocks * 512 >= RESERVE_BYTES, "real blocks, no hole"
    again = DiskReserve(tmp_path / "bn_ml.db")
    assert again.is_held
    assert again.release()
    assert not again.release()
    assert not reserve.path.exists()


@pytest.mark.parametrize("short_by", [0, 1])
def test_no_reserve_is_made_that_would_itself_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_by: int
) -> None:
    monkeypatch.setattr("bn_ml.disk_reserve.free_bytes", lambda folder: RESERVE_BYTES + ROOM_BYTES - short_by)
    assert DiskReserve(tmp_path / "bn_ml.db").ensure() == (not short_by)


@pytest.mark.parametrize("short_by", [0, 1])
def test_the_reserve_is_given_up_before_a_transaction_when_the_disk_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_by: int
) -> None:
    store = StateStore(tmp_path / "bn_ml.db")
    store.session.reserve.ensure()
    monkeypatch.setattr("bn_ml.disk_reserve.free_bytes", lambda folder: LOW_BYTES - short_by)
    store.put("word", 1, AT)
    assert store.session.reserve.is_held == (not short_by)
    store.close()


def test_a_transaction_that_fails_for_want_of_space_gives_the_reserve_up_for_the_next(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "bn_ml.db")
    store.session.reserve.ensure()
    fill_up(store)
    with pytest.raises(StateError, match="free disk space"), store.transaction():
        store.deposit("USDC", Decimal(1), AT, "x" * 1_000_000)
    assert not store.session.reserve.is_held
    assert store.ledger_entries() == ()
    store.close()


def test_a_lone_statement_is_tried_again_once_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = StateStore(tmp_path / "bn_ml.db")
    store.session.reserve.ensure()
    fill_up(store)
    real = DiskReserve.release

    def release(self: DiskReserve) -> bool:
        store.session._connection.execute("PRAGMA max_page_count = 1000000")
        return real(self)

    monkeypatch.setattr(DiskReserve, "release", release)
    store.session.execute("INSERT INTO kv_state VALUES ('large', ?, '')", ("x" * 1_000_000,))
    assert store.session.rows("SELECT count(*) FROM kv_state")[0][0] == 1
    assert not store.session.reserve.is_held
    store.close()


def test_a_reserve_that_cannot_be_kept_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bn_ml.db.reserve.part").mkdir()
    reserve = DiskReserve(tmp_path / "bn_ml.db")
    assert not reserve.ensure()
    assert "no disk space can be kept in reserve" in caplog.text


def test_where_space_cannot_be_claimed_at_once_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    reserve = DiskReserve(tmp_path / "bn_ml.db")
    assert reserve.ensure()
    assert reserve.path.stat().st_blocks * 512 >= RESERVE_BYTES


def test_a_reserve_that_is_gone_already_gives_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reserve = DiskReserve(tmp_path / "bn_ml.db")
    reserve.ensure()
    reserve.path.unlink()
    assert not reserve.release()
    assert "the reserve cannot be given up" in caplog.text
    assert free_bytes(tmp_path / "absent") > 1 << 60


_FULL = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from bn_ml.disk_reserve import free_bytes
from bn_ml.domain.market import Symbol
from bn_ml.errors import StateError
from bn_ml.state_store import StateStore
from decimal import Decimal
AT = datetime(2023, 6, 10, tzinfo=timezone.utc)
folder = Path(sys.argv[1])
store = StateStore(folder / "bn_ml.db")
print("kept", store.session.reserve.ensure())
greedy = (folder / "greedy").open("wb", buffering=0)
try:
    while True:
        greedy.write(b"x" * 65536)
except OSError as error:
    print("full", error.errno, free_bytes(folder) < 65536)
lost = 0
for number in range(1200):
    try:
        with store.transaction():
            store.deposit("USDC", Decimal(1), AT, "n" * 3000)
    except StateError:
        lost += 1
print("deposits", len(store.ledger_entries()), "lost", lost, "reserve", store.session.reserve.is_held)
store.close()
"""


@pytest.mark.skipif(not shutil.which("unshare") or sys.platform != "linux", reason="needs a file system of its own")
@pytest.mark.parametrize("kept", [True, False])
def test_on_a_disk_that_is_really_full_exits_are_still_booked(tmp_path: Path, kept: bool) -> None:
    size = 60 if kept else 40
    script = f'mount -t tmpfs -o size={size}m none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", str(tmp_path), sys.executable, _FULL],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no file system of its own may be mounted here: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    assert lines[0] == f"kept {kept}", done.stderr
    assert lines[1] == "full 28 True"
    if kept:
        assert lines[2] == "deposits 1200 lost 0 reserve False"
        assert "the reserve of 16 MB was given up" in done.stderr
    else:
        assert lines[2].startswith("deposits 0 lost 1200"), "without it not one is"

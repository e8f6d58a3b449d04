"""A backup in the place of the book: what comes back, in which state, and what a crash in the middle leaves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.backup import Sources, make_backup
from bn_ml.client_ids import is_client_id, make_client_id
from bn_ml.domain.account import ControlState
from bn_ml.domain.events import CycleStarted
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side, TimeInForce
from bn_ml.errors import Refused, StateError
from bn_ml.halting import commit_halt
from bn_ml.restore import RESTORED, SKIPPED_IDS, finish_restore, restore_book
from bn_ml.schema import MIGRATIONS
from bn_ml.state_session import Session
from bn_ml.state_store import StateStore
from tests.fakes.backup_builders import NOW, Office, an_office
from tests.fakes.book_builders import AT, a_story
from tests.fakes.money_world import AAA, BBB
from tests.fakes.outside_world import OutsideWorld
from trader.restored_book import end_strays, explain_halt, missing_since, resume_when_equal, symbols_bought

LATER = NOW + timedelta(hours=2)
NORMAL, REDUCE_ONLY, HALTED = ControlState.NORMAL, ControlState.REDUCE_ONLY, ControlState.HALTED


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return an_office(tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OutsideWorld]:
    made = OutsideWorld(tmp_path)
    made.start()
    yield made
    made.close()


def told(path: Path) -> tuple[list[str], object]:
    """The kinds of facts in a book, oldest first, and what it says of its restore."""
    store = StateStore(path)
    kinds = [row["kind"] for row in store.session.rows("SELECT kind FROM journal ORDER BY id")]
    kept = store.get(RESTORED)
    store.close()
    return kinds, kept


def test_the_book_of_the_backup_is_in_place_and_the_former_one_is_kept_whole(office: Office) -> None:
    backup = office.backup()
    store = StateStore(office.book)
    store.put("after", 1, NOW)
    store.add_event(CycleStarted(NOW, 2), 2)
    store.close()
    done = restore_book(office.book, backup, at=LATER)
    kinds, kept = told(office.book)
    assert kinds == ["CycleStarted", "BookRestored", "ControlChanged"]
    assert isinstance(kept, dict)
    assert (kept["backup_id"], kept["set_by"]) == (backup.backup_id, "restore")
    assert done.replaced is not None
    assert done.replaced.parent == office.book.parent / "replaced"
    former = StateStore(done.replaced / "bn_ml.db")
    assert former.get("after") == 1
    former.close()


def test_what_was_still_in_the_log_of_the_former_book_is_kept_with_it(office: Office) -> None:
    backup = office.backup()
    store = StateStore(office.book)
    store.put("only in the log", 1, NOW)
    copies = {end: Path(f"{office.book}{end}").read_bytes() for end in ("", "-wal")}
    store.close()
    for end, content in copies.items():
        Path(f"{office.book}{end}").write_bytes(content)
    done = restore_book(office.book, backup, at=LATER)
    assert not Path(f"{office.book}-wal").exists()
    assert done.replaced is not None
    former = StateStore(done.replaced / "bn_ml.db")
    assert former.get("only in the log") == 1
    former.close()


def test_a_lost_book_comes_back_and_nothing_was_replaced(office: Office) -> None:
    backup = office.backup()
    for path in office.book.parent.iterdir():
        path.unlink()
    done = restore_book(office.book, backup, at=LATER)
    assert done.replaced is None
    store = StateStore(office.book)
    assert [position.symbol.base for position in store.open_positions()] == ["BTC"]
    store.close()


def test_no_client_id_given_after_the_backup_is_ever_given_again(office: Office) -> None:
    backup = office.backup()
    store = StateStore(office.book)
    later = {store.next_client_id() for _ in range(50)}
    store.close()
    restore_book(office.book, backup, at=LATER)
    store = StateStore(office.book)
    fresh = {store.next_client_id() for _ in range(50)}
    assert not fresh & later
    assert all(is_client_id(name) for name in fresh)
    assert store.session.rows("SELECT value FROM sequences")[0][0] > SKIPPED_IDS
    store.close()


def test_a_paper_book_goes_on_in_the_state_it_was_in(office: Office) -> None:
    backup = office.backup()
    done = restore_book(office.book, backup, at=LATER)
    assert (done.control.state, done.told.resumes) == (NORMAL, None)


def test_a_halt_of_the_present_book_is_never_lost_by_a_restore(office: Office) -> None:
    backup = office.backup()
    commit_halt(office.book, "operator", NOW)
    done = restore_book(office.book, backup, at=LATER)
    assert (done.control.state, done.control.reason) == (HALTED, "kill_switch: operator")
    store = StateStore(office.book)
    assert store.control().state is HALTED
    store.close()


def test_an_old_kill_switch_in_the_backup_does_not_sell_what_was_resumed_since(office: Office) -> None:
    commit_halt(office.book, "operator", NOW)
    backup = office.backup()
    store = StateStore(office.book)
    store.set_control(NORMAL, "resumed: looked at it", "operator", NOW)
    store.close()
    done = restore_book(office.book, backup, at=LATER)
    assert (done.control.state, done.control.reason) == (NORMAL, "resumed: looked at it")


def test_a_damaged_backup_is_refused_and_nothing_changes(office: Office) -> None:
    backup = office.backup()
    content = bytearray((backup.folder / "bn_ml.db").read_bytes())
    content[5000] ^= 1
    (backup.folder / "bn_ml.db").write_bytes(content)
    before = {path.name: path.read_bytes() for path in office.book.parent.iterdir() if path.is_file()}
    with pytest.raises(StateError, match="the backup is damaged"):
        restore_book(office.book, backup, at=LATER)
    assert {path.name: path.read_bytes() for path in office.book.parent.iterdir() if path.is_file()} == before


def test_a_backup_without_a_database_is_refused(office: Office) -> None:
    backup = make_backup(Sources(None, office.folder / "metrics"), office.backups, NOW)
    with pytest.raises(StateError, match="holds no database"):
        restore_book(office.book, backup, at=LATER)


def test_the_book_of_another_account_is_never_replaced(office: Office, tmp_path: Path) -> None:
    other = OutsideWorld(tmp_path / "other")
    backup = other.backup()
    other.close()
    with pytest.raises(StateError, match=r"is the paper book of main, the backup is the live book of tests"):
        restore_book(office.book, backup, at=LATER)


def test_a_backup_of_an_older_schema_is_upgraded_on_the_way_and_stays_as_it_is(tmp_path: Path) -> None:
    office = Office(tmp_path)
    session = Session(office.book, MIGRATIONS[:1])
    session.execute(
        "INSERT INTO control(epoch, state, reason, since_ms, set_by, at_ms) VALUES (1, 'NORMAL', 'x', 1, 'x', 1)"
    )
    session.execute("INSERT INTO kv_state VALUES ('book_identity', ?, '')", (_IDENTITY,))
    session.close()
    backup = office.backup()
    assert backup.manifest.book is not None
    assert backup.manifest.book.schema_version == 1
    restore_book(office.book, backup, at=LATER)
    store = StateStore(office.book)
    assert store.session.rows("PRAGMA user_version")[0][0] == MIGRATIONS[-1].version
    store.close()
    assert office.backups.problems(backup) == ()
    assert not [path for path in office.book.parent.iterdir() if path.name.endswith(".bak")]


_IDENTITY = '{"mode":"paper","account":"main","since":"2026-03-02T12:00:00.000000Z"}'


class Death(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(6))
def test_a_crash_in_the_middle_only_delays_a_restore(
    office: Office, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = office.backup()
    store = StateStore(office.book)
    store.put("after", 1, NOW)
    copies = {end: Path(f"{office.book}{end}").read_bytes() for end in ("", "-wal", "-shm")}
    store.close()
    for end, content in copies.items():
        Path(f"{office.book}{end}").write_bytes(content)
    real, left = Path.rename, [step]

    def rename(self: Path, target: Path) -> Path:
        if not left[0]:
            raise Death
        left[0] -= 1
        return real(self, target)

    died = False
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        try:
            restore_book(office.book, backup, at=LATER)
        except Death:
            died = True
    assert died == (step < 5)
    finish_restore(office.book)
    finish_restore(office.book)
    store = StateStore(office.book)
    assert (store.get("after") is None) == (step > 0), "decided from the first rename on"
    store.close()
    kept = list((office.book.parent / "replaced").glob("*/bn_ml.db")) if step else [office.book]
    assert len(kept) == 1
    former = StateStore(kept[0])
    assert former.get("after") == 1
    former.close()


def test_a_restore_after_an_interrupted_preparation_begins_anew(office: Office) -> None:
    backup = office.backup()
    for end in ("", "-wal"):
        Path(f"{office.book}.restoring.part{end}").write_text("half")
    restore_book(office.book, backup, at=LATER)
    assert not list(office.book.parent.glob("*.part*"))


def test_a_live_book_is_halted_until_it_equals_the_exchange(world: OutsideWorld) -> None:
    world.buy(AAA, BBB)
    world.look(20)
    backup = world.backup()
    world.bot.store.close()
    done = restore_book(world.path, backup, at=world.clock.now())
    assert (done.control.state, done.control.set_by) == (HALTED, "restore")
    assert done.control.reason.startswith(f"books_restored: backup {backup.backup_id}")
    assert done.told.resumes is not None
    world.bot = world._open()
    world.start()
    control = world.bot.store.control()
    assert (control.state, world.differences()) == (NORMAL, {})
    assert control.reason == "books equal the exchange after a backup was restored"
    assert world.covered(AAA)
    assert world.covered(BBB)
    assert world.never_sent_twice()


def test_stops_that_filled_after_the_backup_are_booked_before_trading_goes_on(world: OutsideWorld) -> None:
    world.buy(AAA)
    world.look(20)
    backup = world.backup()
    world.move("80")
    assert world.bot.positions.open_positions() == ()
    sold = world.bot.store.ledger_balances()
    world.look(30)
    world.restore(backup)
    assert world.bot.positions.open_positions() == ()
    assert (world.bot.store.control().state, world.differences()) == (NORMAL, {})
    assert world.bot.store.ledger_balances() == sold
    assert [type(row).__name__ for row in world.bot.store.closed_positions()] == ["Position"]


def test_a_stop_moved_after_the_backup_is_ended_and_the_book_rests_its_own(world: OutsideWorld) -> None:
    world.buy(AAA)
    world.look(20)
    backup = world.backup()
    known = {record.intent.client_id for record in world.live()}
    for price in ("101", "102", "103"):
        world.move(price, seconds=30)
    assert {order.client_id for order in world.bot.venue.open_orders(AAA)} - known, "the stop was given anew"
    still_whole = world.held().remaining_quantity
    world.restore(backup)
    world.look(30)
    assert (world.bot.store.control().state, world.differences()) == (NORMAL, {})
    assert world.covered(AAA)
    assert world.held().remaining_quantity == still_whole
    assert world.never_sent_twice()


def test_an_order_of_another_book_is_never_cancelled_for_a_restore(world: OutsideWorld) -> None:
    world.buy(AAA)
    world.look(20)
    backup = world.backup()
    name = make_client_id("bnml", "zzzzzz", 1)
    place(world, name)
    world.restore(backup)
    control = world.bot.store.control()
    assert (control.state, f"orphan_order: {name}" in control.reason) == (HALTED, True)
    assert name in {order.client_id for order in world.bot.venue.open_orders(AAA)}


def test_a_stray_order_that_will_not_be_cancelled_keeps_the_halt(world: OutsideWorld) -> None:
    world.buy(AAA)
    world.look(20)
    backup = world.backup()
    for price in ("101", "102", "103"):
        world.move(price, seconds=30)
    world.bot.store.close()
    restore_book(world.path, backup, at=world.clock.now())
    world.bot = world._open()
    refusing = world.bot.desk.exchange
    refusing.cancel_order = _refuse  # type: ignore[method-assign]
    world.start()
    assert world.bot.store.control().state is HALTED
    assert "orphan_order" in world.bot.store.control().reason


def _refuse(symbol: Symbol, client_id: str) -> None:
    raise Refused(f"{client_id}: not now")


def place(world: OutsideWorld, client_id: str) -> None:
    """Rest a buy order under an id of our kind."""
    intent = OrderIntent(
        client_id,
        AAA,
        Side.BUY,
        OrderType.LIMIT,
        Decimal("0.2"),
        Purpose.ENTRY,
        "nobody",
        world.clock.now(),
        limit_price=Decimal(90),
        time_in_force=TimeInForce.GTC,
    )
    world.bot.paper.create_order(intent)


def test_what_was_bought_after_the_backup_halts_with_a_table_and_a_person_settles_it(world: OutsideWorld) -> None:
    backup = world.backup()
    world.buy(AAA)
    world.look(20)
    bought = world.held().remaining_quantity
    world.restore(backup)
    control = world.bot.store.control()
    assert (control.state, control.set_by) == (HALTED, "reconciliation")
    assert control.reason.startswith("books_restored: ")
    assert "orphan_order: " in control.reason
    assert f"unexplained_balance: exchange minus ledger AAA +{bought:f}" in control.reason
    verdict = world.bot.store.get("reconciliation")
    assert isinstance(verdict, dict)
    assert {row["asset"] for row in verdict["differences"]} == {"AAA", "USDC"}
    (trade,) = verdict["differences"][0]["unknown_trades"]
    assert trade.startswith("AAA/USDC ")
    assert " BUY 0.119 @ 100" in trade
    world.look(60)
    world.bot.reconciler.check()
    assert world.bot.store.control().reason == control.reason, "told once"
    world.reopen()
    assert world.bot.store.control().state is HALTED


def test_a_drawdown_halt_from_before_a_live_restore_needs_a_person(world: OutsideWorld) -> None:
    backup = world.backup()
    world.bot.store.set_control(HALTED, "breaker_drawdown", "engine", world.clock.now())
    done = world.restore(backup)
    assert done.told.resumes is None
    control = world.bot.store.control()
    assert control.state is HALTED
    assert control.reason.endswith(", breaker_drawdown")
    world.look(60)
    world.bot.reconciler.check()
    assert world.bot.store.control().state is HALTED


def test_entries_forbidden_before_a_live_restore_stay_forbidden_after_it(world: OutsideWorld) -> None:
    backup = world.backup()
    world.bot.store.set_control(REDUCE_ONLY, "paused over lunch", "operator", world.clock.now())
    world.restore(backup)
    control = world.bot.store.control()
    assert (control.state, control.reason, control.set_by) == (REDUCE_ONLY, "paused over lunch", "operator")


def test_a_kill_switch_pulled_after_a_live_restore_is_not_given_back(world: OutsideWorld) -> None:
    backup = world.backup()
    world.bot.store.close()
    restore_book(world.path, backup, at=world.clock.now())
    commit_halt(world.path, "operator", world.clock.now())
    world.bot = world._open()
    world.start()
    control = world.bot.store.control()
    assert control.state is HALTED
    assert "kill_switch" in control.reason


def test_coins_that_left_the_account_meanwhile_keep_the_halt(world: OutsideWorld) -> None:
    world.buy(AAA)
    world.look(20)
    backup = world.backup()
    world.bot.store.deposit("USDC", Decimal(5), world.clock.now(), "came in by hand")
    late = world.backup()
    world.restore(late)
    assert world.differences() == {"USDC": Decimal(-5)}
    assert world.bot.store.control().state is HALTED
    world.restore(backup)
    assert world.differences() == {}


def test_another_cause_is_neither_explained_nor_ended_by_a_comparison(world: OutsideWorld) -> None:
    world.buy(AAA)
    world.look(20)
    backup = world.backup()
    name = make_client_id("bnml", "zzzzzz", 1)
    world.bot.store.close()
    restore_book(world.path, backup, at=world.clock.now())
    commit_halt(world.path, "operator", world.clock.now())
    world.bot = world._open()
    place(world, name)
    world.start()
    control = world.bot.store.control()
    assert control.reason.endswith("kill_switch: operator")
    assert "it differs" not in control.reason
    assert not resume_when_equal(world.bot.desk, world.clock.now())
    assert not end_strays(world.bot.desk, (name,))
    world.bot.store.set_control(NORMAL, "resumed", "operator", world.clock.now())
    assert not explain_halt(world.bot.desk, "orphan_order: x", world.clock.now())
    assert symbols_bought(world.bot.desk, ("AAA", "???", "USDC", "ZZZ")) == (AAA,)
    assert missing_since(world.bot.desk) is None


def test_a_disk_that_refuses_a_restore_changes_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = office.backup()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("bn_ml.restore.copy_durably", refuse)
    with pytest.raises(StateError, match="somewhere: No space left on device; nothing was restored"):
        restore_book(office.book, backup, at=LATER)
    assert told(office.book)[0] == ["CycleStarted"]


def test_the_story_of_a_book_is_not_told_twice(tmp_path: Path) -> None:
    office = Office(tmp_path)
    store = StateStore(office.book)
    store.start_epoch(AT, "test")
    a_story(store)
    store.close()
    first = office.backup()
    restore_book(office.book, first, at=LATER)
    second = office.backup(3)
    restore_book(office.book, second, at=LATER + timedelta(hours=2))
    kinds, kept = told(office.book)
    assert kinds.count("BookRestored") == 2
    assert isinstance(kept, dict)
    assert kept["backup_id"] == second.backup_id

"""The turns a pull may take besides the usual ones: old books, unseen bots, races for the lock, a line that is down."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bn_ml import database
from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.account import ControlState
from bn_ml.errors import LockHeld, StateError
from bn_ml.halting import HaltMarker, commit_halt, is_outdated
from bn_ml.schema import MIGRATIONS
from bn_ml.state_reader import StateReader
from bn_ml.state_session import Session
from bn_ml.state_store import StateStore
from bn_ml.state_watch import BookWatch
from scripts import kill_switch_session
from scripts.kill_switch_request import Request
from scripts.kill_switch_session import Pull
from tests.fakes.book_builders import AT
from tests.fakes.loopback_account import LoopbackAccount, Reply
from tests.fakes.money_world import AAA, BTC, MoneyWorld, money_settings

CLOCK = SystemClock()
KEYS = {"BINANCE_API_KEY": "k", "BINANCE_API_SECRET": "s"}
NOWHERE = "http://127.0.0.1:9"


def a_request(folder: Path, *, live: bool = False, base_url: str = NOWHERE, **changes: Any) -> Request:
    settings = money_settings(
        storage={"sqlite_path": str(folder / "bn_ml.db")},
        exchange={"base_url": base_url, "timeout_ms": 1000, "retry_attempts": 0},
    )
    plain: dict[str, Any] = {"timeout_s": 0.3, "patience_s": 0.1, "live": live or None}
    return Request(settings, KEYS, "tests", **{**plain, **changes})


def a_book(folder: Path, mode: str = "live") -> Path:
    store = StateStore(folder / "bn_ml.db")
    store.bind_book(mode, "tests", AT)
    store.start_epoch(AT, "start")
    store.close()
    return folder / "bn_ml.db"


def holding(folder: Path) -> MoneyWorld:
    world = MoneyWorld(folder)
    world.start()
    world.buy(AAA)
    world.close()
    return world


def test_a_book_of_an_older_program_is_brought_up_to_date_first(tmp_path: Path) -> None:
    path = tmp_path / "bn_ml.db"
    assert not is_outdated(path)
    Session(path, MIGRATIONS[:1]).close()
    assert is_outdated(path)
    with pytest.raises(StateError, match="is older than"):
        commit_halt(path, "me", AT)
    assert Pull(a_request(tmp_path)).run().code == 0
    assert not is_outdated(path)
    assert BookWatch(path).look().control.state is ControlState.HALTED


def test_what_is_no_book_is_not_outdated(tmp_path: Path) -> None:
    (tmp_path / "bn_ml.db").write_bytes(b"garbage" * 1000)
    assert not is_outdated(tmp_path / "bn_ml.db")


def test_a_bot_that_needs_longer_than_we_wait_goes_on_alone(tmp_path: Path) -> None:
    world = holding(tmp_path)
    with ProcessLock(world.path).acquire(AT):
        outcome = Pull(a_request(tmp_path, patience_s=9.0)).run()
    assert (outcome.code, outcome.done_by) == (4, "nobody")
    assert "still at it" in outcome.notes[0]


def test_an_old_book_whose_holder_cannot_be_ended_is_left(tmp_path: Path) -> None:
    Session(tmp_path / "bn_ml.db", MIGRATIONS[:1]).close()
    with ProcessLock(tmp_path / "bn_ml.db").acquire(AT):
        outcome = Pull(a_request(tmp_path)).run()
    assert outcome.code == 4
    assert "cannot be told for sure" in outcome.notes[0]


def test_a_lock_that_somebody_was_quicker_to_take_is_waited_for(tmp_path: Path) -> None:
    path = a_book(tmp_path)
    pull = Pull(a_request(tmp_path, timeout_s=5.0))
    with ProcessLock(path).acquire(AT):
        assert not pull._is_mine()
        pull._until_s = CLOCK.monotonic()
        with pytest.raises(LockHeld):
            pull._is_mine()
    assert pull._is_mine()


@pytest.mark.parametrize("yes", [False, True])
def test_a_book_that_another_program_has_to_itself_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yes: bool
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    world = holding(tmp_path)
    with closing(sqlite3.connect(world.path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        outcome = Pull(a_request(tmp_path, yes=yes)).run()
        assert (outcome.code, outcome.results) == (4, ())
        assert "database is locked" in outcome.notes[0]
    assert Pull(a_request(tmp_path, timeout_s=5.0)).run().code == 3


def test_a_symbol_that_is_not_held_is_said_to_be_so(tmp_path: Path) -> None:
    holding(tmp_path)
    outcome = Pull(a_request(tmp_path, symbol=BTC)).run()
    assert (outcome.code, outcome.notes) == (0, ("nothing of BTC/USDC was held or ordered",))


def test_whether_the_exchange_is_there_is_asked_while_nothing_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_switch_session, "PROBE_AFTER_S", 0.0)
    world = holding(tmp_path)
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute(
            "UPDATE kv_state SET value_json = replace(value_json, 'paper', 'live') WHERE key = 'book_identity'"
        )
        connection.commit()
    with LoopbackAccount() as account, ProcessLock(world.path).acquire(AT):
        account.otherwise = lambda _: Reply({})
        Pull(a_request(tmp_path, base_url=account.url)).run()
        assert {sent.path for sent in account.sent} == {"/api/v3/ping"}
        before = len(account.sent)
        Pull(a_request(tmp_path)).run()
        assert len(account.sent) == before


def test_a_lost_book_whose_holder_cannot_be_ended_is_not_worked_without(tmp_path: Path) -> None:
    (tmp_path / "bn_ml.db").write_bytes(b"garbage" * 1000)
    with ProcessLock(tmp_path / "bn_ml.db").acquire(AT):
        outcome = Pull(a_request(tmp_path, live=True, yes=True)).run()
    assert outcome.code == 4
    assert "cannot be told for sure" in outcome.notes[1]
    assert not HaltMarker.beside(tmp_path / "bn_ml.db").path.exists()


def test_a_lost_book_and_an_exchange_that_is_away_leave_the_order_to_start_halted(tmp_path: Path) -> None:
    outcome = Pull(a_request(tmp_path, live=True, yes=True)).run()
    assert outcome.code == 4
    assert "there is no" in outcome.notes[0] or "no database" in outcome.notes[0]
    assert "start HALTED" in outcome.notes[1]
    assert "cannot be reached" in outcome.notes[-1]
    assert HaltMarker.beside(tmp_path / "bn_ml.db").reason() is not None


def test_a_lost_book_without_keys_names_them(tmp_path: Path) -> None:
    outcome = Pull(replace(a_request(tmp_path, live=True, yes=True), environ={})).run()
    assert outcome.code == 4
    assert "BINANCE_API_KEY" in outcome.notes[-1]


def test_with_discovery_whatever_is_held_in_the_quote_asset_is_looked_at(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(sent: Any) -> Reply:
        asked.append(f"{sent.path} {sent.params.get('symbol', '')}".strip())
        if sent.path == "/api/v3/account":
            held = [{"asset": name, "free": "1.0", "locked": "0.0"} for name in ("USDC", "PEPE")]
            return Reply({"balances": held})
        if sent.path == "/api/v3/time":
            return Reply({"serverTime": 1686369600000})
        if sent.params.get("symbol") == "PEPEUSDC":
            return Reply({"code": -1121, "msg": "Invalid symbol."}, 400)
        if sent.path == "/api/v3/exchangeInfo":
            return Reply({"symbols": []})
        return Reply([])

    with LoopbackAccount() as account:
        account.otherwise = answer
        request = a_request(tmp_path, live=True, yes=True, base_url=account.url)
        discovery = request.settings.universe.discovery.model_copy(update={"enabled": True})
        universe = request.settings.universe.model_copy(
            update={"discovery": discovery, "training_symbols": ("BTC/USDC",)}
        )
        settings = request.settings.model_copy(update={"universe": universe})
        outcome = Pull(replace(request, settings=settings)).run()
    assert "/api/v3/allOrders PEPEUSDC" in asked
    assert "/api/v3/allOrders BTCUSDC" in asked
    assert not [line for line in asked if "exchangeInfo" in line]
    assert (outcome.code, outcome.results) == (0, ())


def test_a_marker_that_cannot_be_written_is_told_and_the_selling_goes_on(tmp_path: Path) -> None:
    (tmp_path / "bn_ml.db.halt.part").mkdir()
    outcome = Pull(a_request(tmp_path, live=True, yes=True)).run()
    assert "bn_ml.db.halt: cannot be written" in outcome.notes[1]
    assert "cannot be reached" in outcome.notes[-1]


def test_a_paper_book_on_live_prices_is_closed_at_the_price_of_the_moment(tmp_path: Path) -> None:
    world = holding(tmp_path)
    changed = "UPDATE cycles SET data_json = replace(data_json, '\"test\"', '\"binance\"')"
    with closing(sqlite3.connect(world.path)) as connection:
        assert connection.execute(changed).rowcount > 0
        connection.commit()
    with LoopbackAccount() as account:
        account.otherwise = lambda _: Reply({"bidPrice": "99.50", "askPrice": "99.60"})
        assert Pull(a_request(tmp_path, base_url=account.url, timeout_s=5.0)).run().code == 3
        assert [sent.target for sent in account.sent] == ["/api/v3/ticker/bookTicker?symbol=AAAUSDC"]
    (sale,) = StateReader(world.path).trades(limit=1)
    assert (sale.extra["reason"], round(sale.price, 1)) == ("kill_switch", 99.5)


def test_a_stored_value_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = a_book(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO kv_state VALUES ('loop_beat', 'half a li', '')")
        connection.commit()
    with pytest.raises(StateError, match="is not JSON"):
        BookWatch(path).look()

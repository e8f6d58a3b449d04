"""Positions, records, keyed values, identity and what a simulated exchange remembers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.client_ids import is_client_id, make_client_id
from bn_ml.domain.orders import Side
from bn_ml.errors import StateError
from bn_ml.state_store import StateStore
from bn_ml.venue_store import VenueStore
from tests.fakes.book_builders import AT, BTC, LATER, a_position, closed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore(tmp_path / "state" / "bn_ml.db")
    store.start_epoch(AT, "test")
    yield store
    store.close()


def test_a_position_is_written_exactly_and_readably(store: StateStore) -> None:
    store.save_position(a_position())
    assert store.position("p-1") == a_position()
    assert store.open_positions() == (a_position(),)
    row = store.session.rows("SELECT * FROM positions")[0]
    assert tuple(row)[:4] == ("BTC/USDC", "LONG", 12987.0, 26000.0)
    assert '"stop_order_id":"bnml-2"' in row["extra_json"]
    assert store.position("p-9") is None


def test_a_symbol_has_one_open_position(store: StateStore) -> None:
    store.save_position(a_position())
    with pytest.raises(StateError, match="UNIQUE"):
        store.save_position(a_position("p-2"))


def test_a_closed_position_never_reopens(store: StateStore) -> None:
    store.save_position(closed(a_position()))
    with pytest.raises(StateError, match="never reopens"):
        store.save_position(a_position())


def test_the_readable_row_is_the_last_position_of_the_symbol(store: StateStore) -> None:
    store.save_position(closed(a_position()))
    store.save_position(a_position("p-2", opened_at=LATER))
    store.save_position(closed(a_position()))
    assert [row["status"] for row in store.session.rows("SELECT status FROM positions")] == ["OPEN"]


def test_closed_positions_come_oldest_first_within_their_limits(store: StateStore) -> None:
    for number in range(3):
        at = AT + timedelta(hours=number)
        store.save_position(closed(a_position(f"p-{number}", opened_at=at), at))
    assert [item.position_id for item in store.closed_positions()] == ["p-0", "p-1", "p-2"]
    assert [item.position_id for item in store.closed_positions(limit=2)] == ["p-1", "p-2"]
    assert [item.position_id for item in store.closed_positions(since=AT + timedelta(hours=2))] == ["p-2"]


def test_client_ids_are_never_given_twice(store: StateStore, tmp_path: Path) -> None:
    store.bind_book("paper", "main", AT)
    first = store.next_client_id()
    store.skip_client_ids(1000)
    second = store.next_client_id("bnml-l")
    store.close()
    again = StateStore(store.path)
    ids = {first, second, again.next_client_id()}
    again.close()
    assert len(ids) == 3
    assert all(is_client_id(item) for item in ids)
    twin = StateStore(tmp_path / "twin.db")
    twin.bind_book("paper", "main", AT)
    assert twin.next_client_id() == first
    twin.close()


def test_client_ids_too_long_or_ill_spelt_are_refused() -> None:
    for prefix in ("x" * 30, "a b", ""):
        with pytest.raises(StateError, match="client id"):
            make_client_id(prefix, "abc123", 1)


def test_records_are_readable_and_pruned_by_age(store: StateStore) -> None:
    old = AT - timedelta(days=181)
    for at in (old, AT):
        store.add_cycle(
            at=at, opportunities=3, opened_positions=1, data={"equity": Decimal("1.5"), "drawdown": float("nan")}
        )
        store.add_model_metrics(at, {"skill": 0.1})
    number = store.add_trade(
        at=AT,
        symbol=BTC,
        side=Side.BUY,
        size_quote=Decimal(10),
        price=Decimal(26000),
        mode="paper",
        extra={"fee": Decimal("0.1")},
    )
    assert number == 1
    assert store.prune(now=AT, cycles_days=180, metrics_days=365) == 1
    rows = store.session.rows("SELECT * FROM cycles")
    assert [row["data_json"] for row in rows] == ['{"drawdown":null,"equity":1.5}']
    trade = store.session.rows("SELECT * FROM trades")[0]
    assert tuple(trade)[1:] == ("2023-06-10T12:00:00.000Z", "BTC/USDC", "BUY", 10.0, 26000.0, "paper", '{"fee":0.1}')


def test_keyed_values_are_replaced_and_broken_ones_are_named(store: StateStore) -> None:
    store.put("heartbeat", {"step": "scan"}, AT)
    store.put("heartbeat", {"step": "exits"}, LATER)
    assert store.get("heartbeat") == {"step": "exits"}
    store.session.execute("UPDATE kv_state SET value_json = '{'")
    with pytest.raises(StateError, match="heartbeat is not JSON"):
        store.get("heartbeat")
    with pytest.raises(StateError, match="JSON"):
        store.put("heartbeat", object(), AT)


def test_a_book_belongs_to_one_environment_and_account(store: StateStore) -> None:
    assert store.identity() is None
    store.bind_book("paper", "main", AT)
    assert store.bind_book("paper", "main", LATER).since == AT
    for mode, account in (("live", "main"), ("paper", "other")):
        with pytest.raises(StateError, match="is the paper book of main"):
            store.bind_book(mode, account, AT)


def test_naive_instants_are_refused(store: StateStore) -> None:
    with pytest.raises(ValueError, match="aware UTC"):
        store.put("x", 1, datetime(2023, 1, 1))  # noqa: DTZ001


def test_a_venue_remembers_what_it_saved(store: StateStore) -> None:
    venue = VenueStore(store)
    assert venue.load() is None
    venue.save({"b": "1", "a": "2"}, ["t1"], {"USDC": "10"}, {"seq": "1"}, closed=["a"])
    venue.save({"b": "3"}, ["t2"], {"USDC": "11"}, {})
    assert venue.orders() == {"b": "3", "a": "2"}
    assert venue.orders(open_only=True) == {"b": "3"}
    assert (venue.order("a"), venue.order("z")) == ("2", None)
    assert (venue.trades(), venue.balances(), venue.meta()) == (("t1", "t2"), {"USDC": "11"}, {"seq": "1"})
    loaded = venue.load()
    assert loaded is not None
    assert loaded.startswith('{"orders":{"b":"3","a":"2"}')


def test_a_venue_never_answers_inside_a_transaction_of_the_book(store: StateStore) -> None:
    with pytest.raises(StateError, match="commit the intent first"), store.transaction():
        VenueStore(store).save({}, [], {}, {})


def test_the_five_specified_tables_have_exactly_their_columns(store: StateStore) -> None:
    store.close()
    connection = sqlite3.connect(store.path)
    columns = {
        table: [f"{row[1]} {row[2]}" for row in connection.execute(f"PRAGMA table_info({table})")]
        for table in ("positions", "trades", "cycles", "kv_state", "model_metrics")
    }
    connection.close()
    assert columns == {
        "positions": [
            "symbol TEXT",
            "side TEXT",
            "size_usdt REAL",
            "entry_price REAL",
            "stop_loss REAL",
            "take_profit_1 REAL",
            "take_profit_2 REAL",
            "opened_at TEXT",
            "status TEXT",
            "extra_json TEXT",
        ],
        "trades": [
            "id INTEGER",
            "ts TEXT",
            "symbol TEXT",
            "side TEXT",
            "size_usdt REAL",
            "price REAL",
            "mode TEXT",
            "extra_json TEXT",
        ],
        "cycles": ["id INTEGER", "ts TEXT", "opportunities INTEGER", "opened_positions INTEGER", "data_json TEXT"],
        "kv_state": ["key TEXT", "value_json TEXT", "updated_at TEXT"],
        "model_metrics": ["id INTEGER", "ts TEXT", "metrics_json TEXT"],
    }


def test_text_from_outside_that_is_no_unicode_is_kept_in_json_and_refused_in_columns(store: StateStore) -> None:
    store.put("garbage", "\ud800", AT)
    assert store.get("garbage") == "\ud800"
    with pytest.raises(StateError, match="cannot be stored"):
        store.deposit("USDC", Decimal(1), AT, "\ud800")


def test_an_identity_names_somebody(store: StateStore) -> None:
    with pytest.raises(ValueError, match="a mode and an account"):
        store.bind_book("paper", "", AT)

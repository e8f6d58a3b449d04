from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.orders import OrderType, Purpose, Side
from bn_ml.state_store import StateStore
from evidence.entry_notes import read_entry_notes
from tests.fakes.book_builders import AT, BTC, an_intent


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(tmp_path / "book.db")
    opened.bind_book("paper", "main", AT)
    yield opened
    opened.close()


def bought(store: StateStore, client_id: str, **extra: object) -> None:
    amounts = {"size_quote": Decimal(13000), "price": Decimal(26000)}
    extra = {"client_id": client_id, **extra}
    store.add_trade(at=AT, symbol=BTC, side=Side.BUY, mode="paper", extra=extra, **amounts)


def ordered(store: StateStore, position_id: str, **changes: object) -> str:
    purpose = changes.pop("purpose", Purpose.ENTRY)
    assert isinstance(purpose, Purpose)
    client_id = store.next_client_id()
    intent = replace(an_intent(client_id, purpose=purpose, position_id=position_id), **changes)  # type: ignore[arg-type]
    store.add_intent(intent, store.control().owner)
    return client_id


def test_promises_are_those_of_the_first_fill_of_each_entry(store: StateStore, tmp_path: Path) -> None:
    first, second = ordered(store, "p-1"), ordered(store, "p-2")
    bought(store, first, expected_net_pct=0.004)
    bought(store, first, expected_net_pct=0.9)
    bought(store, second, expected_net_pct=None)
    bought(store, "unknown", expected_net_pct=0.5)
    assert read_entry_notes(tmp_path / "book.db").promised == {"p-1": 0.004}


def test_orders_reckon_with_the_ask_seen_or_their_stop(store: StateStore, tmp_path: Path) -> None:
    entry = ordered(store, "p-1", reference_price=Decimal("26000.5"))
    stop = ordered(store, "p-1", purpose=Purpose.STOP, type=OrderType.STOP_LOSS, stop_price=Decimal(25000))
    ordered(store, "p-1", purpose=Purpose.TARGET, type=OrderType.LIMIT_MAKER, limit_price=Decimal(27000))
    expected = {entry: Decimal("26000.5"), stop: Decimal(25000)}
    assert read_entry_notes(tmp_path / "book.db").references == expected


def test_a_book_without_orders_has_no_notes(store: StateStore, tmp_path: Path) -> None:
    found = read_entry_notes(tmp_path / "book.db")
    assert (found.promised, found.references) == ({}, {})

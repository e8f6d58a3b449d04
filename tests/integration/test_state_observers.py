"""Readers while the bot writes, the journal, its observers and its export."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.events import BreakerCleared, CycleStarted, Event
from bn_ml.domain.orders import Side
from bn_ml.domain.positions import PositionStatus
from bn_ml.errors import StateError
from bn_ml.journal import Journal, export_journal
from bn_ml.state_reader import StateReader, TradeFilter
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import AT, BTC, ETH, LATER, a_story


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "bn_ml.db"


@pytest.fixture
def store(path: Path) -> Iterator[StateStore]:
    store = StateStore(path)
    store.start_epoch(AT, "test")
    yield store
    store.close()


def test_readers_see_one_committed_instant_while_the_bot_writes(store: StateStore, path: Path) -> None:
    reader = StateReader(path)
    store.deposit("USDC", Decimal(1), AT, "first")
    with store.transaction():
        store.deposit("USDC", Decimal(2), AT, "second")
        assert reader.ledger_balances() == {"USDC": Decimal(1)}
    assert reader.ledger_balances() == {"USDC": Decimal(3)}


def test_a_reader_answers_everything_observers_ask(store: StateStore, path: Path) -> None:
    reader = StateReader(path)
    assert reader.summary().last_cycle is None
    a_story(store)
    summary = reader.summary()
    assert summary.identity == store.identity()
    assert (summary.open_positions, summary.closed_positions, summary.unresolved_orders) == (1, 0, 0)
    assert (summary.trades, summary.cycles, summary.account) == (1, 1, {"equity": 100.0})
    assert summary.control == reader.control() == store.control()
    assert [row.symbol for row in reader.positions(PositionStatus.OPEN)] == [BTC]
    assert reader.positions(PositionStatus.CLOSED) == ()
    assert reader.positions()[0].extra["position_id"] == "p-1"
    assert reader.cycles(since=AT)[0].data == {"equity": 100.0}
    assert reader.cycles(since=LATER) == ()
    assert reader.latest_metrics()[0].metrics == {"skill": 0.1}
    assert [event.kind for event in reader.events()] == ["CycleStarted"]
    assert reader.events(kind="PositionOpened") == ()
    assert [fill.trade_id for fill in reader.fills()] == ["1"]
    assert reader.open_orders() == ()
    assert reader.kv("absent") is None
    assert reader.ledger_balances() == store.ledger_balances()


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (TradeFilter(), 1),
        (TradeFilter(symbol=BTC, side=Side.BUY, mode="paper", since=AT, until=LATER), 1),
        (TradeFilter(symbol=ETH), 0),
        (TradeFilter(side=Side.SELL), 0),
        (TradeFilter(mode="live"), 0),
        (TradeFilter(since=LATER), 0),
        (TradeFilter(until=AT), 0),
    ],
)
def test_trades_are_filtered(store: StateStore, path: Path, which: TradeFilter, found: int) -> None:
    a_story(store)
    assert len(StateReader(path).trades(which)) == found


def test_checks_find_a_fill_the_ledger_does_not_explain(store: StateStore, path: Path) -> None:
    a_story(store)
    assert all(check.passed for check in StateReader(path).checks())
    store.session.execute("DROP TRIGGER ledger_no_delete")
    store.session.execute("DELETE FROM ledger WHERE reason = 'fee'")
    assert [check.name for check in StateReader(path).checks() if not check.passed] == ["ledger"]


def test_stored_text_that_is_no_json_is_named(store: StateStore, path: Path) -> None:
    a_story(store)
    store.session.execute("UPDATE cycles SET data_json = '['")
    with pytest.raises(StateError, match="not JSON"):
        StateReader(path).cycles()
    store.session.execute("UPDATE cycles SET data_json = '[]'")
    with pytest.raises(StateError, match="no JSON object"):
        StateReader(path).cycles()


class Recorder:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def emit(self, event: Event) -> None:
        self.heard.append(event)


class Broken:
    """An observer that always fails."""

    def emit(self, event: Event) -> None:
        raise RuntimeError(event.kind)


def test_observers_hear_of_facts_after_the_commit_and_never_disturb(
    store: StateStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    journal = Journal(store, (Broken(), recorder))
    facts = [CycleStarted(AT, 7), BreakerCleared(AT, "drawdown")]
    with store.transaction():
        for fact in facts:
            journal.emit(fact)
        assert recorder.heard == []
    assert recorder.heard == facts
    assert [row.cycle for row in StateReader(path).events()] == [7, 7]
    assert caplog.text.count("observer failed observer=Broken") == 2


def test_observers_never_hear_of_facts_that_were_rolled_back(store: StateStore, path: Path) -> None:
    recorder = Recorder()
    journal = Journal(store, (recorder,))
    with pytest.raises(KeyError):
        _emit_and_fail(store, journal)
    assert recorder.heard == []
    assert StateReader(path).events() == ()


def _emit_and_fail(store: StateStore, journal: Journal) -> None:
    with store.transaction():
        journal.emit(CycleStarted(AT, 1))
        raise KeyError


def test_the_same_story_exports_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        store = StateStore(tmp_path / name / "bn_ml.db")
        store.start_epoch(AT, "bot")
        a_story(store)
        digests.add(export_journal(store.path, tmp_path / f"{name}.jsonl"))
        store.close()
    assert len(digests) == 1
    first, second = ((tmp_path / f"{name}.jsonl").read_bytes() for name in ("one", "two"))
    assert first == second
    assert first.startswith(b'{"at_ms":')
    assert not list(tmp_path.glob(".*.part"))


def test_an_export_that_cannot_be_written_is_named(store: StateStore, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be written"):
        export_journal(store.path, tmp_path / "absent" / "journal.jsonl")

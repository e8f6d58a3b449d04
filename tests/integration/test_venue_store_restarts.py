"""The venue on real SQLite: everything survives, the same as in memory."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.orders import OrderStatus, OrderType, Side
from bn_ml.errors import StateError
from bn_ml.state_store import StateStore
from bn_ml.venue.invariants import violations
from bn_ml.venue.persistence import MemoryPersistence, VenuePersistence
from bn_ml.venue.venue import Venue
from bn_ml.venue_store import VenueStore
from tests.fakes.venue_world import QUARTER, START, SYMBOL, StepClock, TinyMarket, bar, intent
from trader.exchanges.paper import PaperExchange

BUY, SELL = Side.BUY, Side.SELL
BARS = (
    bar("100", "101", "99", "100"),
    bar("100", "102", "98", "101", at=START + QUARTER),
    bar("101", "101", "90", "91", at=START + 2 * QUARTER),
    bar("91", "92", "90", "91", at=START + 3 * QUARTER),
)


def protect(exchange: PaperExchange) -> None:
    exchange.create_order(intent(BUY, OrderType.MARKET, "2", client_id="entry"))
    exchange.create_oco(
        intent(SELL, OrderType.LIMIT_MAKER, "1.998", client_id="t", price="110", list_id="list"),
        intent(SELL, OrderType.STOP_LOSS, "1.998", client_id="s", stop="95", list_id="list"),
    )


def crash(exchange: PaperExchange, clock: StepClock) -> None:
    clock.sleep_until(START + 3 * QUARTER)
    exchange.sync(clock.now())


def outcome(persistence: VenuePersistence) -> tuple[Mapping[str, str], tuple[str, ...], Mapping[str, str]]:
    return dict(persistence.orders()), tuple(persistence.trades()), dict(persistence.balances())


def test_a_venue_that_dies_between_calls_goes_on_as_one_that_did_not(tmp_path: Path) -> None:
    clock = StepClock()
    memory = MemoryPersistence()
    steady = PaperExchange(Venue(memory), TinyMarket(clock, BARS), clock)
    steady.fund("USDT", Decimal(1000))
    protect(steady)
    crash(steady, clock)

    clock = StepClock()
    market = TinyMarket(clock, BARS)
    for step in (lambda paper: paper.fund("USDT", Decimal(1000)), protect, lambda paper: crash(paper, clock)):
        store = StateStore(tmp_path / "bn_ml.db")
        step(PaperExchange(Venue(VenueStore(store)), market, clock))
        store.close()

    store = StateStore(tmp_path / "bn_ml.db")
    durable = VenueStore(store)
    assert outcome(durable) == outcome(memory)
    restarted = Venue(durable)
    assert violations(restarted.state) == ()
    stopped = restarted.find(SYMBOL, client_id="s")
    assert stopped is not None
    assert stopped.status is OrderStatus.FILLED
    store.close()


def test_an_order_cannot_be_sent_inside_a_transaction_of_the_book(tmp_path: Path) -> None:
    clock = StepClock()
    store = StateStore(tmp_path / "bn_ml.db")
    exchange = PaperExchange(Venue(VenueStore(store)), TinyMarket(clock, BARS), clock)
    exchange.fund("USDT", Decimal(1000))
    with pytest.raises(StateError, match="inside a transaction"), store.transaction():
        exchange.create_order(intent(BUY, OrderType.MARKET))
    store.close()

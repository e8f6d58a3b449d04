"""Small orders, fills and positions with sensible defaults for tests of the books."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from bn_ml.domain.events import CycleStarted
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, IntentState, OrderIntent, OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason, Position, PositionStatus, Tranche
from bn_ml.journal import Journal
from bn_ml.state_store import StateStore

AT = datetime(2023, 6, 10, 12, tzinfo=timezone.utc)
LATER = AT + timedelta(hours=1)
BTC = Symbol("BTC/USDC")
ETH = Symbol("ETH/USDC")


def an_intent(client_id: str = "bnml-1", *, purpose: Purpose = Purpose.ENTRY, position_id: str = "p-1") -> OrderIntent:
    """Half a bitcoin at market, bought to enter and sold otherwise."""
    side = Side.BUY if purpose is Purpose.ENTRY else Side.SELL
    return OrderIntent(client_id, BTC, side, OrderType.MARKET, Decimal("0.5"), purpose, position_id, AT)


def a_fill(trade_id: str = "1", client_id: str = "bnml-1", *, side: Side = Side.BUY, fee: str = "0.0005") -> Fill:
    """Half a bitcoin at 26000, the fee in bitcoin."""
    amounts = (Decimal(26000), Decimal("0.5"), Decimal(13000), Decimal(fee))
    return Fill(trade_id, client_id, BTC, side, *amounts, "BTC", AT)


def a_position(position_id: str = "p-1", *, opened_at: datetime = AT) -> Position:
    """What the fill above leaves, with one protected tranche."""
    return Position(
        position_id=position_id,
        symbol=BTC,
        status=PositionStatus.OPEN,
        opened_at=opened_at,
        entry_price=Decimal(26000),
        initial_quantity=Decimal("0.4995"),
        remaining_quantity=Decimal("0.4995"),
        cost_quote=Decimal(13000),
        stop=Decimal(25000),
        target_1=Decimal(27000),
        target_2=Decimal(28000),
        max_price_seen=Decimal(26000),
        tranches=(Tranche("tp1", Decimal("0.25"), Decimal(25000), "bnml-2"),),
    )


def closed(position: Position, at: datetime = LATER) -> Position:
    """The position after its last exit."""
    return replace(
        position,
        status=PositionStatus.CLOSED,
        closed_at=at,
        close_reason=ExitReason.TP1,
        remaining_quantity=Decimal(0),
        realized_quote=Decimal(130),
    )


def a_story(store: StateStore) -> None:
    """The same few facts each time, for books that have to be equal."""
    store.bind_book("paper", "main", AT)
    store.deposit("USDC", Decimal(20000), AT, "opening")
    client_id = store.next_client_id()
    store.add_intent(an_intent(client_id), store.control().owner)
    with store.transaction():
        store.add_fill(a_fill(client_id=client_id))
        store.update_intent(client_id, IntentState.FILLED, at=LATER)
        store.save_position(a_position())
        size, price = Decimal(13000), Decimal(26000)
        store.add_trade(
            at=AT, symbol=BTC, side=Side.BUY, size_quote=size, price=price, mode="paper", extra={"fee": 0.0005}
        )
        Journal(store).emit(CycleStarted(AT, 1))
    store.add_cycle(at=AT, opportunities=2, opened_positions=1, data={"equity": 100.0})
    store.add_model_metrics(AT, {"skill": 0.1})
    store.put("account_state", {"equity": 100.0}, AT)

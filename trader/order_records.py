"""What is known of each order, and all that is ever written about it; nothing here talks to the exchange.

A report is booked whole or not at all: its new fills, what they do to the position, and the state they lead to. A
report that contradicts itself decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from bn_ml.domain.account import ControlState
from bn_ml.domain.events import OrderFinished, OrderOutcomeUnknown, OrderOverfilled, OrderRejected
from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import Fill, IntentRecord, IntentState, OrderIntent, OrderReport, OrderStatus
from bn_ml.errors import Refused, StateError
from trader.desk import Desk
from trader.position_manager import PositionManager
from trader.tightening import tighten

log = logging.getLogger(__name__)

OVERFILLED = "overfilled"
_TERMINAL = {
    OrderStatus.FILLED: IntentState.FILLED,
    OrderStatus.CANCELED: IntentState.CANCELED,
    OrderStatus.EXPIRED: IntentState.EXPIRED,
    OrderStatus.REJECTED: IntentState.REFUSED,
}


class OrderRecords:
    """Keeps the unfinished orders at hand, equal to the store, and writes what becomes of them."""

    def __init__(self, desk: Desk, positions: PositionManager) -> None:
        """Load the orders that are not finished."""
        self._desk = desk
        self._store = desk.store
        self._positions = positions
        self._open = {record.intent.client_id: record for record in self._store.open_intents()}

    def unfinished(self) -> tuple[IntentRecord, ...]:
        """Give all unfinished orders, oldest first."""
        return tuple(self._open.values())

    def record(self, client_id: str) -> IntentRecord:
        """Give what the store knows of an order; raises `StateError` when there is no such intent."""
        record = self._store.intent(client_id)
        if record is None:
            raise StateError(f"no intent {client_id} in the book")
        if record.state.is_terminal:
            self._open.pop(client_id, None)
        else:
            self._open[client_id] = record
        return record

    def was_shown(self, record: IntentRecord) -> bool:
        """Whether the exchange has ever shown an order, or the other leg of its list, which exists with it."""
        list_id = record.intent.list_id
        family = [record]
        if list_id is not None:
            family += [
                item for item in self._store.intents_of(record.intent.position_id) if item.intent.list_id == list_id
            ]
        return any(item.exchange_id or item.filled_quantity > 0 for item in family)

    def book(self, report: OrderReport) -> IntentRecord:
        """Book a report's new fills and its state in one transaction."""
        with self._store.transaction():
            before = self.record(report.client_id)
            total = self._book_fills(before, report.fills)
            if not before.state.is_terminal:
                self._move_on(before, report, total)
        return self.record(report.client_id)

    def book_trades(self, record: IntentRecord, fills: Sequence[Fill]) -> IntentRecord:
        """Book trades found otherwise than by asking for their order, which the caller knows them to belong to."""
        with self._store.transaction():
            self._book_fills(record, [replace(fill, client_id=record.intent.client_id) for fill in fills])
        return self.record(record.intent.client_id)

    def refuse(self, intent: OrderIntent, error: Refused) -> None:
        """Write that an order was definitively not placed."""
        now = self._desk.clock.now()
        reason = f"{error.code} {error}".strip() if error.code else str(error)
        with self._store.transaction():
            self._store.update_intent(intent.client_id, IntentState.REFUSED, reason=reason, at=now)
            self._desk.journal.emit(OrderRejected(now, intent.symbol, intent.client_id, reason))
            self._positions.entry_ended(intent)
        self.record(intent.client_id)
        log.warning("order refused symbol=%s purpose=%s reason=%s", intent.symbol, intent.purpose.value, reason)

    def doubt(self, intent: OrderIntent, reason: str, *, exchange_id: str = "") -> None:
        """Write that nobody can say what became of an order; the same doubt twice is told once."""
        known = self.record(intent.client_id)
        if known.state is IntentState.UNKNOWN and known.reason == reason:
            return
        now = self._desk.clock.now()
        with self._store.transaction():
            self._store.update_intent(
                intent.client_id, IntentState.UNKNOWN, exchange_id=exchange_id, reason=reason, at=now
            )
            self._desk.journal.emit(OrderOutcomeUnknown(now, intent.symbol, intent.client_id, reason))
        self.record(intent.client_id)
        log.error("order outcome unknown symbol=%s client_id=%s reason=%s", intent.symbol, intent.client_id, reason)

    def finish(self, intent: OrderIntent, state: IntentState, reason: str = "", *, exchange_id: str = "") -> None:
        """Write that nothing can happen to an order any more."""
        now = self._desk.clock.now()
        with self._store.transaction():
            self._store.update_intent(intent.client_id, state, exchange_id=exchange_id, reason=reason, at=now)
            self._desk.journal.emit(OrderFinished(now, intent.symbol, intent.client_id, state.value))
            self._positions.entry_ended(intent)
        self.record(intent.client_id)

    def _book_fills(self, record: IntentRecord, fills: Sequence[Fill]) -> Decimal:
        """Book the fills that are new and give what the order has filled in all."""
        fresh = [fill for fill in fills if self._store.add_fill(fill)]
        excess = ZERO
        for fill in fresh:
            excess += self._positions.book_fill(record.intent, fill)
        total = record.filled_quantity + sum((fill.quantity for fill in fresh), ZERO)
        asked = record.intent.quantity
        if fresh and (total > asked or excess > 0):
            self._overfilled(record.intent, max(total, asked + excess))
        return total

    def _overfilled(self, intent: OrderIntent, filled: Decimal) -> None:
        now = self._desk.clock.now()
        self._desk.journal.emit(OrderOverfilled(now, intent.symbol, intent.client_id, intent.quantity, filled))
        reason = f"{OVERFILLED}: {intent.client_id} {intent.symbol} filled {filled:f} of {intent.quantity:f}"
        tighten(self._desk, ControlState.HALTED, reason, "orders")

    def _move_on(self, record: IntentRecord, report: OrderReport, total: Decimal) -> None:
        intent = record.intent
        if report.status.is_open:
            if record.state is not IntentState.OPEN:
                now = self._desk.clock.now()
                self._store.update_intent(intent.client_id, IntentState.OPEN, exchange_id=report.exchange_id, at=now)
        elif _adds_up(intent, report, total):
            self.finish(intent, _TERMINAL[report.status], exchange_id=report.exchange_id)
        else:
            reason = (
                f"{report.status.value} with {report.executed_quantity:f} of {intent.quantity:f} executed, "
                f"trades known of {total:f}"
            )
            self.doubt(intent, reason, exchange_id=report.exchange_id)


def _adds_up(intent: OrderIntent, report: OrderReport, total: Decimal) -> bool:
    """Whether a final report agrees with the trades booked, and FILLED means all of it."""
    if total != report.executed_quantity:
        return False
    return report.status is not OrderStatus.FILLED or total >= intent.quantity

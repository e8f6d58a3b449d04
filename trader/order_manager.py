"""Orders: intent committed first, sent once, the answer classified, the unknown resolved.

An intent row exists on disk before the exchange hears of it, so whatever happens afterwards it can be asked for by its
client id. Nothing is ever sent twice. Every fill is booked in one transaction with all that follows from it.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from bn_ml.control import permits
from bn_ml.crash_points import crash_point
from bn_ml.domain.account import Control
from bn_ml.domain.events import OrderFinished, OrderOutcomeUnknown, OrderRejected, OrderSent
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import IntentRecord, IntentState, OrderIntent, OrderReport, OrderStatus
from bn_ml.errors import OutcomeUnknown, Refused, StateError, Transient
from trader.desk import Desk
from trader.position_manager import PositionManager

log = logging.getLogger(__name__)

ACCEPTANCE_SLACK = timedelta(seconds=3)
"""How long after the receive window a request may still reach the matching engine."""

_TERMINAL = {
    OrderStatus.FILLED: IntentState.FILLED,
    OrderStatus.CANCELED: IntentState.CANCELED,
    OrderStatus.EXPIRED: IntentState.EXPIRED,
    OrderStatus.REJECTED: IntentState.REFUSED,
}


class OrderManager:
    """Sends intents and books what becomes of them."""

    def __init__(self, desk: Desk, positions: PositionManager) -> None:
        """Load the orders that are not finished."""
        self._store = desk.store
        self._exchange = desk.exchange
        self._journal = desk.journal
        self._clock = desk.clock
        self.positions = positions
        receive_window = timedelta(milliseconds=desk.settings.exchange.recv_window_ms)
        self._acceptance = receive_window + ACCEPTANCE_SLACK
        self.refusals_in_row = 0
        self._owner = self._store.control().owner
        self._open = {record.intent.client_id: record for record in self._store.open_intents()}

    def own(self, control: Control) -> None:
        """Write orders as the owner of the book from here on; a later start by anybody ends that."""
        self._owner = control.owner

    def commit(self, *intents: OrderIntent) -> None:
        """Write intents, with the control state checked in the same transaction.

        Raises `Refused` if the state forbids them and `StateError` once another process owns the book.
        """
        with self._store.transaction():
            control = self._store.control()
            for intent in intents:
                if not permits(control.state, intent.purpose):
                    raise Refused(f"{intent.purpose.value} under {control.state.value} ({control.reason})")
                self._store.add_intent(intent, self._owner)
                self._journal.emit(_sent(intent))
        for intent in intents:
            self._record(intent.client_id)

    def send(self, intent: OrderIntent) -> IntentRecord:
        """Send an order whose intent is on disk; the record tells what is known of it afterwards."""
        crash_point("order.sending")
        try:
            report = self._exchange.create_order(intent)
            crash_point("order.answered")
        except Refused as error:
            self._refuse(intent, error)
        except (OutcomeUnknown, Transient) as error:
            self._mark_unknown(intent, str(error))
        else:
            self.refusals_in_row = 0
            self.book(report)
        return self._record(intent.client_id)

    def send_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[IntentRecord, IntentRecord]:
        """Send a target and a stop of which one cancels the other; both intents are on disk."""
        crash_point("oco.sending")
        try:
            reports = self._exchange.create_oco(target, stop)
            crash_point("oco.answered")
        except Refused as error:
            self._refuse(target, error)
            self._refuse(stop, error)
            # One refused list is one refusal.
            self.refusals_in_row -= 1
        except (OutcomeUnknown, Transient) as error:
            self._mark_unknown(target, str(error))
            self._mark_unknown(stop, str(error))
        else:
            self.refusals_in_row = 0
            for report in reports:
                self.book(report)
        return self._record(target.client_id), self._record(stop.client_id)

    def replace(self, old: IntentRecord, intent: OrderIntent) -> IntentRecord:
        """Cancel an order and place another in one request; the intent is on disk and names the order it replaces.

        The record tells what is known of the new order; a refused one may have ended the old order or left it.
        """
        crash_point("replace.sending")
        try:
            done = self._exchange.replace_order(old.intent.client_id, intent)
            crash_point("replace.answered")
        except Refused as error:
            self._refuse(intent, error)
            self._look_up(old)
        except (OutcomeUnknown, Transient) as error:
            self._mark_unknown(intent, str(error))
        else:
            self.refusals_in_row = 0
            self.book(done.canceled)
            if done.placed is None:
                self._refuse(intent, Refused(done.refusal, done.code))
            else:
                self.book(done.placed)
        return self._record(intent.client_id)

    def cancel(self, record: IntentRecord) -> IntentRecord:
        """Ask for a cancel and read back what it left; an unclear answer leaves the intent open."""
        client_id, symbol = record.intent.client_id, record.intent.symbol
        crash_point("cancel.sending")
        try:
            report = self._exchange.cancel_order(symbol, client_id)
            crash_point("cancel.answered")
            if report is None:
                report = self._exchange.order_status(symbol, client_id)
        except (Refused, OutcomeUnknown, Transient) as error:
            log.warning("cancel unclear symbol=%s client_id=%s error=%s", symbol, client_id, error)
            return self._record(client_id)
        if report is not None:
            self.book(report)
        self._follow_list(record)
        return self._record(client_id)

    def refresh(self) -> None:
        """Bring every intent that is not finished up to date with the exchange; raises `Transient` when it is away."""
        pending = self.open_intents()
        if not pending:
            return
        resting = {report.client_id: report for report in self._exchange.open_orders()}
        for record in pending:
            report = resting.get(record.intent.client_id)
            if report is not None and record.state is not IntentState.OPEN:
                self.book(report)
                record = self._record(record.intent.client_id)
            if report is None or report.executed_quantity != record.filled_quantity:
                self.resolve(record)

    def resolve(self, record: IntentRecord) -> IntentRecord:
        """Ask the exchange for one order by its client id and book the answer.

        Absence proves nothing until the exchange can no longer accept the request, and never of an order it has shown.
        """
        intent = record.intent
        report = self._exchange.order_status(intent.symbol, intent.client_id)
        if report is not None:
            self.book(report)
        elif record.state is IntentState.OPEN:
            log.error("order not found any more symbol=%s client_id=%s", intent.symbol, intent.client_id)
        elif self._clock.now() > intent.created_at + self._acceptance:
            self._finish(intent, IntentState.NEVER_ACCEPTED, "not found after the receive window")
        elif record.state is IntentState.SENT:
            self._mark_unknown(intent, "not found yet")
        return self._record(intent.client_id)

    def book(self, report: OrderReport) -> None:
        """Book the report's new fills, each in a transaction of its own, then its state."""
        record = self._record(report.client_id)
        for fill in report.fills:
            with self._store.transaction():
                if self._store.add_fill(fill):
                    self.positions.book_fill(record.intent, fill)
        if record.state.is_terminal:
            return
        if report.status.is_open:
            if record.state is not IntentState.OPEN:
                self._store_state(record.intent, IntentState.OPEN, exchange_id=report.exchange_id)
            self._record(report.client_id)
            return
        self._finish(record.intent, _TERMINAL[report.status], "", exchange_id=report.exchange_id)

    def unknown_symbols(self) -> frozenset[Symbol]:
        """Give the symbols with an order nobody can account for yet."""
        doubtful = (IntentState.SENT, IntentState.UNKNOWN)
        return frozenset(item.intent.symbol for item in self._open.values() if item.state in doubtful)

    def open_of(self, position_id: str) -> tuple[IntentRecord, ...]:
        """Give the unfinished orders of one position, oldest first."""
        return tuple(item for item in self._open.values() if item.intent.position_id == position_id)

    def open_intents(self) -> tuple[IntentRecord, ...]:
        """Give all unfinished orders, oldest first."""
        return tuple(self._open.values())

    def _follow_list(self, record: IntentRecord) -> None:
        list_id = record.intent.list_id
        for other in self.open_intents() if list_id else ():
            if other.intent.list_id == list_id and other.intent.client_id != record.intent.client_id:
                self._look_up(other)

    def _look_up(self, record: IntentRecord) -> None:
        """Resolve an order if the exchange answers; otherwise the next refresh does."""
        try:
            self.resolve(record)
        except Transient as error:
            log.warning("order unclear client_id=%s error=%s", record.intent.client_id, error)

    def _refuse(self, intent: OrderIntent, error: Refused) -> None:
        self.refusals_in_row += 1
        reason = f"{error.code} {error}".strip() if error.code else str(error)
        with self._store.transaction():
            self._store.update_intent(intent.client_id, IntentState.REFUSED, reason=reason, at=self._clock.now())
            self._journal.emit(OrderRejected(self._clock.now(), intent.symbol, intent.client_id, reason))
            self.positions.entry_ended(intent)
        self._record(intent.client_id)
        log.warning("order refused symbol=%s purpose=%s reason=%s", intent.symbol, intent.purpose.value, reason)

    def _mark_unknown(self, intent: OrderIntent, reason: str) -> None:
        with self._store.transaction():
            self._store.update_intent(intent.client_id, IntentState.UNKNOWN, reason=reason, at=self._clock.now())
            self._journal.emit(OrderOutcomeUnknown(self._clock.now(), intent.symbol, intent.client_id, reason))
        self._record(intent.client_id)
        log.error("order outcome unknown symbol=%s client_id=%s reason=%s", intent.symbol, intent.client_id, reason)

    def _finish(self, intent: OrderIntent, state: IntentState, reason: str, *, exchange_id: str = "") -> None:
        with self._store.transaction():
            self._store_state(intent, state, reason=reason, exchange_id=exchange_id)
            self._journal.emit(OrderFinished(self._clock.now(), intent.symbol, intent.client_id, state.value))
            self.positions.entry_ended(intent)
        self._record(intent.client_id)

    def _store_state(self, intent: OrderIntent, state: IntentState, *, reason: str = "", exchange_id: str = "") -> None:
        now: datetime = self._clock.now()
        self._store.update_intent(intent.client_id, state, reason=reason, exchange_id=exchange_id, at=now)

    def _record(self, client_id: str) -> IntentRecord:
        record = self._store.intent(client_id)
        if record is None:
            raise StateError(f"no intent {client_id} in the book")
        if record.state.is_terminal:
            self._open.pop(client_id, None)
        else:
            self._open[client_id] = record
        return record


def _sent(intent: OrderIntent) -> OrderSent:
    return OrderSent(
        at=intent.created_at,
        symbol=intent.symbol,
        client_id=intent.client_id,
        side=intent.side.value,
        type=intent.type.value,
        quantity=intent.quantity,
        purpose=intent.purpose.value,
        limit_price=intent.limit_price,
        stop_price=intent.stop_price,
    )

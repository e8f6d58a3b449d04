"""Orders: intent committed first, sent once, the answer classified, the unknown resolved.

An intent row exists on disk before the exchange hears of it, so whatever happens afterwards it can be asked for by its
client id. Nothing is ever sent twice. Every report is booked in one transaction with all that follows from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from bn_ml.crash_points import crash_point
from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.events import OrderSent
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, IntentRecord, IntentState, OrderIntent, OrderReport, receive_window
from bn_ml.errors import ExchangeError, OutcomeUnknown, Refused, Transient, Unreachable
from trader.desk import Desk
from trader.gate import Gate, Means
from trader.lost_orders import LostOrders
from trader.order_records import OrderRecords
from trader.position_manager import PositionManager
from trader.tightening import tighten
from trader.unprotected import half_over

log = logging.getLogger(__name__)

ACCEPTANCE_SLACK = timedelta(seconds=3)
"""How long after the receive window a request may still reach the matching engine."""

LOCAL, BUSY, TOO_MANY_ORDERS, OUTSIDE_WINDOW = 0, -1003, -1015, -1021
NOT_THE_ORDER = frozenset({LOCAL, BUSY, TOO_MANY_ORDERS, OUTSIDE_WINDOW})
"""Refusals that say nothing of the order itself: it never left, came too late, or the exchange asks to wait."""

KEY_REFUSALS = frozenset({-2014, -2015})


class OrderManager:
    """Sends intents and books what becomes of them."""

    def __init__(self, desk: Desk, positions: PositionManager) -> None:
        """Load the orders that are not finished."""
        self._desk = desk
        self._store = desk.store
        self._exchange = desk.exchange
        self._clock = desk.clock
        self._gate = Gate(desk.store, desk.settings)
        self._records = OrderRecords(desk, positions)
        self._lost = LostOrders(desk, self._records)
        self._receive_window = timedelta(milliseconds=desk.settings.exchange.recv_window_ms)
        self._owner = self._store.control().owner
        self.positions = positions
        self.refusals_in_row = 0

    def own(self, control: Control) -> None:
        """Write orders as the owner of the book from here on; a later start by anybody ends that."""
        self._owner = control.owner

    def commit(self, *intents: OrderIntent, means: Means | None = None) -> None:
        """Write intents, with control state, owner and limits checked in the same transaction.

        `means` is what an entry is measured against. Raises `LimitReached` (a `Refused`) if state or limits forbid
        them and `StateError` once another process owns the book.
        """
        with self._store.transaction():
            control = self._store.control()
            for intent in intents:
                self._gate.require_permitted(control, intent)
                self._store.add_intent(intent, self._owner, self._deadline(intent))
                self._gate.require_room(intent, means)
                self._desk.journal.emit(_sent(intent))
        for intent in intents:
            self._records.record(intent.client_id)

    def send(self, intent: OrderIntent) -> IntentRecord:
        """Send an order whose intent is on disk; the record tells what is known of it afterwards."""
        crash_point("order.sending")
        try:
            report = self._exchange.create_order(intent)
            crash_point("order.answered")
        except Refused as error:
            self._refuse(error, intent)
        except (OutcomeUnknown, Transient) as error:
            self._records.doubt(intent, str(error))
        else:
            self.refusals_in_row = 0
            self.book(report)
        return self._records.record(intent.client_id)

    def send_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[IntentRecord, IntentRecord]:
        """Send a target and a stop of which one cancels the other; both intents are on disk."""
        crash_point("oco.sending")
        try:
            reports = self._exchange.create_oco(target, stop)
            crash_point("oco.answered")
        except Refused as error:
            self._refuse(error, target, stop)
        except (OutcomeUnknown, Transient) as error:
            self._records.doubt(target, str(error))
            self._records.doubt(stop, str(error))
        else:
            self.refusals_in_row = 0
            for report in reports:
                self.book(report)
        return self._records.record(target.client_id), self._records.record(stop.client_id)

    def replace(self, old: IntentRecord, intent: OrderIntent) -> IntentRecord:
        """Cancel an order and place another in one request; the intent is on disk and names the order it replaces.

        The record tells what is known of the new order; a refused one may have ended the old order or left it.
        """
        crash_point("replace.sending")
        try:
            done = self._exchange.replace_order(old.intent.client_id, intent)
            crash_point("replace.answered")
        except Refused as error:
            self._refuse(error, intent)
            self._look_up(old)
        except (OutcomeUnknown, Transient) as error:
            self._records.doubt(intent, str(error))
        else:
            self.refusals_in_row = 0
            self.book(done.canceled)
            if done.placed is None:
                self._refuse(Refused(done.refusal, done.code), intent)
            else:
                self.book(done.placed)
            self._follow_list(old)
        return self._records.record(intent.client_id)

    def cancel(self, record: IntentRecord) -> IntentRecord:
        """Ask for a cancel and read back what it left; an unclear answer leaves the intent open."""
        client_id, symbol = record.intent.client_id, record.intent.symbol
        crash_point("cancel.sending")
        try:
            report = self._exchange.cancel_order(symbol, client_id)
            crash_point("cancel.answered")
        except (Refused, OutcomeUnknown, Transient) as error:
            log.warning("cancel unclear symbol=%s client_id=%s error=%s", symbol, client_id, error)
            return self._records.record(client_id)
        if report is not None:
            self.book(report)
        if not self._records.record(client_id).state.is_terminal:
            self._look_up(record)
        self._follow_list(record)
        return self._records.record(client_id)

    def refresh(self) -> None:
        """Bring every intent that is not finished up to date with the exchange; raises `Transient` when it is away.

        An order that cannot be asked for keeps none of the others from being looked at.
        """
        if not self.open_intents():
            return
        resting = {report.client_id: report for report in self._exchange.open_orders()}
        self._for_each(self.open_intents(), lambda client_id: self._bring_up_to_date(client_id, resting.get(client_id)))

    def refresh_doubtful(self) -> None:
        """Ask for the orders nobody can account for, and for no other: a look that costs little, for use in between.

        An order whose list has ended is one of them. Raises `Transient` as `refresh` does.
        """
        unfinished = self.open_intents()
        over = half_over(unfinished)
        doubtful = [item for item in unfinished if item.state is not IntentState.OPEN or item in over]
        self._for_each(doubtful, lambda client_id: self.resolve(self._records.record(client_id)))

    def resolve(self, record: IntentRecord) -> IntentRecord:
        """Ask the exchange for one order by its client id and book the answer.

        Absence proves nothing until the exchange can no longer accept the request, and of an order it has shown only
        when it lasts and the account's trades agree.
        """
        intent = record.intent
        report = self._exchange.order_status(intent.symbol, intent.client_id)
        if report is not None:
            self.book(report)
        elif record.state.is_terminal:
            return record
        elif self._records.was_shown(record):
            self._lost.missing(record)
        elif self._clock.now() > record.deadline:
            self._records.finish(intent, IntentState.NEVER_ACCEPTED, "not found after the receive window")
        elif record.state is IntentState.SENT:
            self._records.doubt(intent, "not found yet")
        return self._records.record(intent.client_id)

    def book(self, report: OrderReport) -> None:
        """Book a report's new fills and, where it agrees with them, the state it tells of, in one transaction."""
        self._lost.seen(report.client_id)
        self._records.book(report)

    def claim(self, trades: Sequence[Fill]) -> tuple[Fill, ...]:
        """Book the trades of our orders that are not booked yet and give those that no order of ours explains."""
        strange: list[Fill] = []
        for fill in trades:
            if self._store.has_fill(fill.symbol, fill.trade_id):
                continue
            record = self._store.intent(fill.client_id) if fill.client_id else None
            record = record or self._store.intent_at_exchange(fill.symbol, fill.order_id)
            if record is None:
                strange.append(fill)
            else:
                log.warning("trade found by symbol symbol=%s trade_id=%s", fill.symbol, fill.trade_id)
                self._records.book_trades(record, (fill,))
        return tuple(strange)

    def unknown_symbols(self) -> frozenset[Symbol]:
        """Give the symbols with an order nobody can account for yet."""
        doubtful = (IntentState.SENT, IntentState.UNKNOWN)
        return frozenset(item.intent.symbol for item in self.open_intents() if item.state in doubtful)

    def next_deadline(self, now: datetime) -> datetime | None:
        """Give when the next order in doubt can no longer be accepted: an answer of absence counts from then on.

        Of a list that is when its later leg cannot be any more: nothing is known of either before.
        """
        latest: dict[str, datetime] = {}
        for item in self.open_intents():
            if item.state is not IntentState.OPEN:
                name = item.intent.list_id or item.intent.client_id
                latest[name] = max(item.deadline, latest.get(name, item.deadline))
        return min((deadline for deadline in latest.values() if deadline >= now), default=None)

    def open_of(self, position_id: str) -> tuple[IntentRecord, ...]:
        """Give the unfinished orders of one position, oldest first."""
        return tuple(item for item in self.open_intents() if item.intent.position_id == position_id)

    def open_intents(self) -> tuple[IntentRecord, ...]:
        """Give all unfinished orders, oldest first."""
        return self._records.unfinished()

    def _deadline(self, intent: OrderIntent) -> datetime:
        return intent.created_at + receive_window(intent, self._receive_window) + ACCEPTANCE_SLACK

    def _bring_up_to_date(self, client_id: str, resting: OrderReport | None) -> None:
        record = self._records.record(client_id)
        if resting is not None:
            self._lost.seen(client_id)
            if record.state is not IntentState.OPEN:
                self.book(resting)
                record = self._records.record(client_id)
        if resting is None or resting.executed_quantity != record.filled_quantity:
            self.resolve(record)

    def _for_each(self, records: Sequence[IntentRecord], act: Callable[[str], object]) -> None:
        """Act on each order; one that cannot be asked for keeps none of the others waiting, an absent exchange all."""
        failure: Transient | None = None
        for record in records:
            try:
                act(record.intent.client_id)
            except Unreachable:
                raise
            except Transient as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _follow_list(self, record: IntentRecord) -> None:
        list_id = record.intent.list_id
        for other in self.open_intents() if list_id else ():
            if other.intent.list_id == list_id and other.intent.client_id != record.intent.client_id:
                self._look_up(other)

    def _look_up(self, record: IntentRecord) -> None:
        """Resolve an order if the exchange answers; otherwise the next refresh does."""
        try:
            self.resolve(self._records.record(record.intent.client_id))
        except ExchangeError as error:
            log.warning("order unclear client_id=%s error=%s", record.intent.client_id, error)

    def _refuse(self, error: Refused, *intents: OrderIntent) -> None:
        """Book one refusal, of an order or of a list, and act on what it says of the key."""
        self.refusals_in_row += error.code not in NOT_THE_ORDER
        for intent in intents:
            self._records.refuse(intent, error)
        if error.code in KEY_REFUSALS:
            tighten(self._desk, ControlState.REDUCE_ONLY, f"key_refused: {error.code} {error}", "orders")


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

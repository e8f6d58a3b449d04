"""Defects in how orders are sent, answers read and doubts resolved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from bn_ml.domain.orders import Fill, IntentState, OrderStatus, Purpose
from bn_ml.errors import OutcomeUnknown, Refused, Transient
from bn_ml.state_store import StateStore
from tests.sim.planting import Bug, swapped, together
from trader import lost_orders
from trader.lost_orders import LostOrders
from trader.order_manager import OrderManager
from trader.order_records import OrderRecords

Block = AbstractContextManager[None]


def _blind_retry() -> Block:
    def send(self: Any, intent: Any) -> Any:
        for _ in range(2):
            try:
                self.book(self._exchange.create_order(intent))
                break
            except Refused as error:
                self._refuse(error, intent)
                break
            except (OutcomeUnknown, Transient) as error:
                self._records.doubt(intent, str(error))
        return self._records.record(intent.client_id)

    return swapped(OrderManager, "send", send)


def _timeout_read_as_rejection() -> Block:
    return swapped(OrderRecords, "doubt", lambda self, intent, reason, **more: self.refuse(intent, Refused(reason)))


def _not_found_counts(times: int) -> Block:
    resolve = OrderManager.resolve
    missing: Counter[str] = Counter()

    def counted(self: Any, record: Any) -> Any:
        intent = record.intent
        if self._exchange.order_status(intent.symbol, intent.client_id) is None:
            missing[intent.client_id] += 1
            if missing[intent.client_id] >= times and not record.state.is_terminal:
                self._records.finish(intent, IntentState.NEVER_ACCEPTED, "not found")
                return self._records.record(intent.client_id)
        return resolve(self, record)

    return swapped(OrderManager, "resolve", counted)


def _deadline_from_wall_clock() -> Block:
    made = OrderManager.__init__

    class Wall:
        def __init__(self, clock: Any) -> None:
            self.now = getattr(clock, "wall", clock.now)

    def init(self: Any, desk: Any, positions: Any, **more: Any) -> None:
        made(self, desk, positions, **more)
        self._clock = Wall(desk.clock)

    return swapped(OrderManager, "__init__", init)


def _zero_filled_read_as_full() -> Block:
    book = OrderRecords.book

    def full(self: Any, report: Any) -> Any:
        intent = self.record(report.client_id).intent
        if intent.purpose is Purpose.ENTRY and report.status is OrderStatus.EXPIRED and not report.fills:
            price = intent.limit_price or intent.reference_price
            now = self._desk.clock.now()
            made = Fill(
                "0",
                intent.client_id,
                intent.symbol,
                intent.side,
                price,
                intent.quantity,
                intent.quantity * price,
                Decimal(0),
                intent.symbol.quote,
                now,
            )
            report = replace(report, status=OrderStatus.FILLED, fills=(made,), executed_quantity=intent.quantity)
        return book(self, report)

    return swapped(OrderRecords, "book", full)


def _canceled_means_nothing_filled() -> Block:
    book = OrderRecords.book

    def emptied(self: Any, report: Any) -> Any:
        if report.status in (OrderStatus.CANCELED, OrderStatus.EXPIRED):
            report = replace(report, fills=(), executed_quantity=Decimal(0))
        return book(self, report)

    return swapped(OrderRecords, "book", emptied)


def _cancel_believed_without_reading_back() -> Block:
    def cancel(self: Any, record: Any) -> Any:
        intent = record.intent
        with suppress(Refused, OutcomeUnknown, Transient):
            self._exchange.cancel_order(intent.symbol, intent.client_id)
        if not self._records.record(intent.client_id).state.is_terminal:
            self._records.finish(intent, IntentState.CANCELED, "cancelled")
        self._follow_list(record)
        return self._records.record(intent.client_id)

    return swapped(OrderManager, "cancel", cancel)


def _intent_after_send() -> Block:
    commit, send = OrderManager.commit, OrderManager.send
    answers: dict[str, Any] = {}

    def sending(self: Any, *intents: Any, **more: Any) -> None:
        commit(self, *intents, **more)
        if len(intents) == 1 and not intents[0].replaces:
            try:
                answers[intents[0].client_id] = self._exchange.create_order(intents[0])
            except (Refused, OutcomeUnknown, Transient) as error:
                answers[intents[0].client_id] = error

    def sent(self: Any, intent: Any) -> Any:
        answer = answers.pop(intent.client_id, None)
        if answer is None:
            return send(self, intent)
        if isinstance(answer, Refused):
            self._refuse(answer, intent)
        elif isinstance(answer, Exception):
            self._records.doubt(intent, str(answer))
        else:
            self.book(answer)
        return self._records.record(intent.client_id)

    return together(swapped(OrderManager, "commit", sending), swapped(OrderManager, "send", sent))


def _oco_second_leg_forgotten() -> Block:
    def send_oco(self: Any, target: Any, stop: Any) -> Any:
        try:
            self.book(self._exchange.create_oco(target, stop)[0])
        except Refused as error:
            self._refuse(error, target, stop)
        except (OutcomeUnknown, Transient) as error:
            self._records.doubt(target, str(error))
        if not self._records.record(stop.client_id).state.is_terminal:
            self._records.finish(stop, IntentState.EXPIRED, "with its list")
        return self._records.record(target.client_id), self._records.record(stop.client_id)

    return swapped(OrderManager, "send_oco", send_oco)


def _half_done_replace_taken_as_done() -> Block:
    replace_order = OrderManager.replace

    def done(self: Any, old: Any, intent: Any) -> Any:
        exchange = self._exchange

        class Hopeful:
            def replace_order(self, client_id: str, new: Any) -> Any:
                made = exchange.replace_order(client_id, new)
                if made.placed is None:
                    placed = replace(
                        made.canceled,
                        client_id=new.client_id,
                        status=OrderStatus.NEW,
                        executed_quantity=Decimal(0),
                        fills=(),
                    )
                    return replace(made, placed=placed)
                return made

            def __getattr__(self, name: str) -> Any:
                return getattr(exchange, name)

        self._exchange = Hopeful()
        try:
            return replace_order(self, old, intent)
        finally:
            self._exchange = exchange

    return swapped(OrderManager, "replace", done)


def _absent_from_open_orders_means_canceled() -> Block:
    update = OrderManager._bring_up_to_date

    def absent(self: Any, client_id: str, resting: Any) -> None:
        record = self._records.record(client_id)
        if resting is None and record.state is IntentState.OPEN:
            self._records.finish(record.intent, IntentState.CANCELED, "not open any more")
            return
        update(self, client_id, resting)

    return swapped(OrderManager, "_bring_up_to_date", absent)


def _shown_order_lost_at_once() -> Block:
    def missing(self: Any, record: Any) -> Any:
        self._records.finish(record.intent, IntentState.CANCELED, "gone")
        return self._records.record(record.intent.client_id)

    return together(swapped(LostOrders, "missing", missing), swapped(lost_orders, "LAG", timedelta(0)))


def _restart_forgets_unknown() -> Block:
    made = OrderRecords.__init__

    def init(self: Any, desk: Any, positions: Any) -> None:
        made(self, desk, positions)
        self._open = {key: item for key, item in self._open.items() if item.state is IntentState.OPEN}

    return swapped(OrderRecords, "__init__", init)


def _client_id_of_the_last_order() -> Block:
    given = StateStore.next_client_id
    last: list[str] = []

    def repeated(self: Any, *more: Any) -> str:
        fresh = given(self, *more)
        last.append(fresh)
        return last[-2] if len(last) % 9 == 0 else fresh

    return swapped(StateStore, "next_client_id", repeated)


def _answers_booked_by_position() -> Block:
    """Every report is booked on the newest order of its symbol."""
    book = OrderRecords.book

    def newest(self: Any, report: Any) -> Any:
        same = [item for item in self.unfinished() if item.intent.symbol == report.symbol]
        same = [item for item in same if item.intent.side is report.side]
        if same and report.fills:
            name = same[-1].intent.client_id
            fills: Sequence[Fill] = tuple(replace(fill, client_id=name) for fill in report.fills)
            report = replace(report, client_id=name, fills=fills)
        return book(self, report)

    return swapped(OrderRecords, "book", newest)


ORDER_BUGS = (
    Bug("blind_retry", "an order is sent again after an unclear answer", _blind_retry),
    Bug("timeout_read_as_rejection", "a time-out counts as a refusal", _timeout_read_as_rejection),
    Bug("three_not_found_means_failed", "three times not found ends an order", lambda: _not_found_counts(3)),
    Bug("not_found_means_failed", "once not found ends an order", lambda: _not_found_counts(1)),
    Bug("deadline_from_wall_clock", "deadlines are held against the machine's clock", _deadline_from_wall_clock),
    Bug("zero_filled_read_as_full", "an order that bought nothing is booked in full", _zero_filled_read_as_full),
    Bug("canceled_means_nothing_filled", "status decides, not trades", _canceled_means_nothing_filled),
    Bug(
        "cancel_believed_without_reading_back",
        "a cancel ends an order whatever came of it",
        _cancel_believed_without_reading_back,
    ),
    Bug("intent_after_send", "the order leaves before its row is committed", _intent_after_send),
    Bug("oco_second_leg_forgotten", "only the target of a list is followed", _oco_second_leg_forgotten),
    Bug("half_done_replace_taken_as_done", "a replacement counts although refused", _half_done_replace_taken_as_done),
    Bug(
        "absent_from_open_orders_means_canceled",
        "an order that is not listed is not asked for",
        _absent_from_open_orders_means_canceled,
    ),
    Bug("shown_order_lost_at_once", "one failed look ends a resting order", _shown_order_lost_at_once),
    Bug("restart_forgets_unknown", "a start takes over resting orders only", _restart_forgets_unknown),
    Bug("client_id_used_twice", "every ninth order takes the id before", _client_id_of_the_last_order),
    Bug("fills_booked_on_another_order", "trades go to the newest order of the symbol", _answers_booked_by_position),
)

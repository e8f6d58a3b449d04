"""Defects in how fills become positions, fees, ledger rows and dust."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

from bn_ml import state_money
from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import OrderStatus, Purpose
from bn_ml.domain.positions import ExitReason, PositionStatus
from bn_ml.errors import Transient
from bn_ml.state_money import Ledger
from bn_ml.state_rows import entries_of
from tests.sim.planting import Bug, swapped, swapped_everywhere, together, without_gate
from trader import closing, position_arithmetic
from trader.closing import Closer
from trader.order_records import OrderRecords
from trader.position_manager import PositionManager

Block = AbstractContextManager[None]


def _base_fee_ignored() -> Block:
    return swapped_everywhere(position_arithmetic.received, lambda fill: fill.quantity)


def _fee_in_bnb_ignored() -> Block:
    def without(fill: Any) -> Any:
        return (entry for entry in entries_of(fill) if entry.asset in (fill.symbol.base, fill.symbol.quote))

    return swapped(state_money, "entries_of", without)


def _fee_assumed_in_quote() -> Block:
    def assumed(fill: Any) -> Any:
        return entries_of(replace(fill, fee_asset=fill.symbol.quote))

    return swapped(state_money, "entries_of", assumed)


def _state_saved_before_fill() -> Block:
    def book(self: Any, report: Any) -> Any:
        before = self.record(report.client_id)
        if not before.state.is_terminal:
            with self._store.transaction():
                self._move_on(before, report, report.executed_quantity)
        with self._store.transaction():
            self._book_fills(before, report.fills)
        return self.record(report.client_id)

    return swapped(OrderRecords, "book", book)


def _split_between_fill_and_position() -> Block:
    def book(self: Any, report: Any) -> Any:
        before = self.record(report.client_id)
        fresh = [fill for fill in report.fills if self._store.add_fill(fill)]
        with self._store.transaction():
            for fill in fresh:
                self._positions.book_fill(before.intent, fill)
            total = before.filled_quantity + sum((fill.quantity for fill in fresh), ZERO)
            if not before.state.is_terminal:
                self._move_on(before, report, total)
        return self.record(report.client_id)

    return swapped(OrderRecords, "book", book)


def _duplicate_fill_booked_twice() -> Block:
    add_fill = Ledger.add_fill

    def twice(self: Any, fill: Any) -> bool:
        return bool(add_fill(self, fill) or add_fill(self, replace(fill, trade_id=f"{fill.trade_id}b")))

    return swapped(Ledger, "add_fill", twice)


def _trade_id_collision_across_symbols() -> Block:
    def booked(self: Any, fill: Any) -> bool:
        return self._session.row("SELECT 1 FROM fills WHERE trade_id = ?", (fill.trade_id,)) is not None

    return swapped(Ledger, "_is_booked", booked)


def _target_fill_not_reducing() -> Block:
    sale = PositionManager._book_sale

    def skipping(self: Any, intent: Any, fill: Any) -> None:
        if intent.purpose is not Purpose.TARGET:
            sale(self, intent, fill)

    return swapped(PositionManager, "_book_sale", skipping)


def _sold_remainder_forgotten() -> Block:
    reduced = position_arithmetic.reduced

    def closing_all(position: Any, fill: Any, reason: Any, step: Any) -> Any:
        after = reduced(position, fill, reason, step)
        if not after.is_open or reason in (ExitReason.TP1, ExitReason.TP2):
            return after
        return replace(
            after,
            status=PositionStatus.CLOSED,
            dust_quantity=after.remaining_quantity,
            remaining_quantity=ZERO,
            closed_at=fill.at,
            close_reason=reason,
            tranches=(),
        )

    return swapped_everywhere(reduced, closing_all)


def _quote_rounded_to_cents() -> Block:
    def rounded(fill: Any) -> Any:
        cents = fill.quote_quantity.quantize(Decimal("0.01"), ROUND_DOWN)
        return entries_of(replace(fill, quote_quantity=cents))

    return swapped(state_money, "entries_of", rounded)


def _partial_entry_read_as_full() -> Block:
    received = position_arithmetic.received
    book_buy = PositionManager._book_buy

    def whole(self: Any, intent: Any, fill: Any) -> None:
        book_buy(self, intent, replace(fill, quantity=max(intent.quantity, fill.quantity)))

    del received
    return swapped(PositionManager, "_book_buy", whole)


def _sell_more_than_held() -> Block:
    """What is free in the wallet is sold, the user's own units included."""
    send = Closer._send

    def greedy(self: Any, position: Any, quantity: Any, reason: Any, label: str, price: Any) -> Any:
        try:
            balance = self._desk.exchange.balances().get(position.symbol.base)
        except Transient:
            balance = None
        free = self.rules(position).quantity_down(balance.free) if balance is not None else quantity
        return send(self, position, max(quantity, free), reason, label, price)

    return together(swapped(Closer, "_send", greedy), without_gate("insufficient_balance"))


def _dust_sold() -> Block:
    """Quantities are rounded up to the step, so that no dust is left."""
    sale_quantity = closing.sale_quantity

    def up(quantity: Any, rules: Any) -> Any:
        sold = sale_quantity(quantity, rules)
        return sold + rules.step if sold < quantity else sold

    return together(swapped_everywhere(sale_quantity, up), without_gate("insufficient_balance"))


def _fills_of_canceled_orders_dropped() -> Block:
    book_fills = OrderRecords._book_fills
    book = OrderRecords.book

    def dropping(self: Any, report: Any) -> Any:
        if report.status is OrderStatus.CANCELED and report.fills:
            report = replace(report, fills=report.fills[:-1], executed_quantity=report.executed_quantity)
            total = sum((fill.quantity for fill in report.fills), ZERO)
            report = replace(report, executed_quantity=total)
        return book(self, report)

    del book_fills
    return swapped(OrderRecords, "book", dropping)


def _write_off_what_could_be_sold() -> Block:
    sell = Closer.sell

    def lazy(self: Any, position: Any, quantity: Any, reason: Any, label: str = "") -> Any:
        if quantity >= position.remaining_quantity and reason is ExitReason.TIME_STOP:
            self._positions.write_off(position, self._desk.clock.now())
            return None
        if label == "" and reason in (ExitReason.STOP_LOSS, ExitReason.SELL_SIGNAL, ExitReason.HARD_DRAWDOWN):
            self._positions.write_off(position, self._desk.clock.now())
            return None
        return sell(self, position, quantity, reason, label)

    return swapped(Closer, "sell", lazy)


BOOK_BUGS = (
    Bug("base_fee_ignored", "a fee in the base asset does not reduce the position", _base_fee_ignored),
    Bug("fee_in_bnb_ignored", "a fee in a third asset is not booked", _fee_in_bnb_ignored),
    Bug("fee_assumed_in_quote", "every fee is taken for one in the quote asset", _fee_assumed_in_quote),
    Bug("state_saved_before_fill", "an order is finished before its fills are booked", _state_saved_before_fill),
    Bug(
        "transaction_split_between_fill_and_position",
        "a fill is committed before the position it changes",
        _split_between_fill_and_position,
    ),
    Bug("duplicate_fill_booked_twice", "a trade told twice counts twice", _duplicate_fill_booked_twice),
    Bug(
        "trade_id_collision_across_symbols",
        "a trade id seen in another symbol counts as booked",
        _trade_id_collision_across_symbols,
    ),
    Bug("target_fill_not_reducing", "a sale at a target leaves the position as it was", _target_fill_not_reducing),
    Bug("sold_remainder_forgotten", "a partial sale closes the position", _sold_remainder_forgotten),
    Bug("quote_rounded_to_cents", "the ledger keeps cents only", _quote_rounded_to_cents),
    Bug("partial_entry_read_as_full", "the position is what was asked for", _partial_entry_read_as_full),
    Bug("sell_more_than_held", "all that is free in the wallet is sold", _sell_more_than_held),
    Bug("dust_sold", "sales are rounded up to the step", _dust_sold),
    Bug(
        "fills_of_canceled_orders_dropped", "the last trade before a cancel is lost", _fills_of_canceled_orders_dropped
    ),
    Bug("written_off_instead_of_sold", "a position to be sold is called dust", _write_off_what_could_be_sold),
)

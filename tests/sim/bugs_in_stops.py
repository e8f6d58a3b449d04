"""Defects in how positions are protected."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from bn_ml.domain.orders import IntentState, Purpose
from tests.sim.planting import Bug, swapped, swapped_everywhere, together, without_gate
from trader import unprotected
from trader.engine import TradingEngine
from trader.exit_pass import ExitPass
from trader.order_records import OrderRecords
from trader.protection import Protection
from trader.reconciliation import Reconciler
from trader.stop_moves import StopMover
from trader.tranche_orders import TrancheOrders

Block = AbstractContextManager[None]


def _stop_moved_down() -> Block:
    stop = TrancheOrders._stop

    def lower(self: Any, position: Any, label: str, terms: Any, *more: Any) -> Any:
        if position.trailing_active and terms.stop_price:
            tick = Decimal("0.01")
            terms = replace(terms, stop_price=(position.entry_price * Decimal("0.97")).quantize(tick), trailing_bp=0)
        return stop(self, position, label, terms, *more)

    return swapped(TrancheOrders, "_stop", lower)


def _all_lifted_during_replacement() -> Block:
    move = StopMover.move

    def lifting(self: Any, position: Any, wanted: Any, distance: Any) -> bool:
        raised = [item for item in position.tranches if item.stop_price < wanted]
        if len(raised) < 2 or not self._is_settled(position.position_id):
            return bool(move(self, position, wanted, distance))
        for tranche in raised:
            self._tranches.cancel_all(position.position_id, tranche.label)
        for tranche in raised:
            self._cover.cover(position.position_id, replace(tranche, stop_price=wanted), 0)
        return True

    return swapped(StopMover, "move", lifting)


def _remainder_of_expired_stop_forgotten() -> Block:
    rest_of = TrancheOrders.rest_of

    def forgetful(self: Any, position: Any, label: str) -> Any:
        tranche = {item.label: item for item in position.tranches}.get(label)
        records = [self._store.intent(name) for name in tranche.client_ids] if tranche else []
        sold = any(
            item.intent.purpose is Purpose.STOP and item.state.is_terminal and item.filled_quantity > 0
            for item in records
        )
        return Decimal(0) if sold else rest_of(self, position, label)

    return swapped(TrancheOrders, "rest_of", forgetful)


def _not_replaced_after_partial_target() -> Block:
    def lenient(position: Any, live: Any) -> Any:
        if not position.is_open:
            return frozenset()
        if not position.tranches:
            return frozenset({""})
        kinds = (Purpose.STOP, Purpose.TARGET)
        live = [item for item in live if item.intent.purpose in kinds and item.state is IntentState.OPEN]
        return frozenset(item.label for item in position.tranches) - {item.intent.tranche for item in live}

    return swapped_everywhere(unprotected.bare_labels, lenient)


def _refusal_of_stop_ignored() -> Block:
    refuse = OrderRecords.refuse

    def hopeful(self: Any, intent: Any, error: Any) -> None:
        if intent.purpose is Purpose.STOP:
            with self._store.transaction():
                self._store.update_intent(intent.client_id, IntentState.OPEN, at=self._desk.clock.now())
            self.record(intent.client_id)
            return
        refuse(self, intent, error)

    return swapped(OrderRecords, "refuse", hopeful)


def _entry_without_stop() -> Block:
    return swapped(Protection, "ensure", lambda self, position, *more: None)


def _protected_once_is_protected() -> Block:
    """What was protected once is not looked at again: a crash or a hand leaves it naked."""
    ensure = Protection.ensure

    def once(self: Any, position: Any, *more: Any) -> None:
        if position.protected_at is None:
            ensure(self, position, *more)

    return swapped(Protection, "ensure", once)


def _start_trusts_the_book() -> Block:
    """After a start nothing is placed for what was held before: the crash may have come between cancel and replace."""
    ensure = Protection.ensure
    made = Protection.__init__

    def init(self: Any, desk: Any, orders: Any, exits: Any) -> None:
        made(self, desk, orders, exits)
        self.kept = {item.position_id for item in orders.positions.open_positions()}

    def trusting(self: Any, position: Any, *more: Any) -> None:
        if position.position_id not in self.kept:
            ensure(self, position, *more)

    return together(swapped(Protection, "__init__", init), swapped(Protection, "ensure", trusting))


def _first_tranche_only() -> Block:
    stops = TrancheOrders.place

    def first(self: Any, position: Any, label: str, terms: Any) -> Any:
        if label == "runner" and len(position.tranches) > 1:
            terms = replace(terms, quantity=terms.quantity / 2)
        return stops(self, position, label, terms)

    return swapped(TrancheOrders, "place", first)


def _looks_between_scans_skipped() -> Block:
    return swapped(TradingEngine, "_look", lambda self: None)


def _unclear_cancel_taken_for_done() -> Block:
    cancel_all = TrancheOrders.cancel_all

    def hopeful(self: Any, position_id: str, label: Any = None) -> bool:
        cancel_all(self, position_id, label)
        return True

    return together(swapped(TrancheOrders, "cancel_all", hopeful), without_gate("insufficient_balance"))


def _bare_for_long_is_left() -> Block:
    def quiet(self: Any, position_id: str, *more: Any) -> None:
        del self, position_id, more

    return together(
        swapped(ExitPass, "_guard", quiet),
        swapped(Reconciler, "_protect_all", lambda self, now: True),
    )


STOP_BUGS = (
    Bug("stop_moved_down", "a trailing stop is placed under the one before", _stop_moved_down),
    Bug(
        "second_tranche_unprotected_during_replacement",
        "all stops are lifted before any is placed again",
        _all_lifted_during_replacement,
    ),
    Bug(
        "remainder_of_expired_stop_forgotten",
        "what a stop could not sell has no stop any more",
        _remainder_of_expired_stop_forgotten,
    ),
    Bug(
        "stop_not_replaced_after_partial_target",
        "the rest of a target counts as protection",
        _not_replaced_after_partial_target,
    ),
    Bug("refusal_of_stop_ignored", "a refused stop counts as resting", _refusal_of_stop_ignored),
    Bug("entry_without_stop_allowed", "nothing is placed after an entry", _entry_without_stop),
    Bug("protected_once_is_protected", "a stop cancelled by hand is never missed", _protected_once_is_protected),
    Bug(
        "crash_between_cancel_and_replace_leaves_naked",
        "a start does not look at what it finds",
        _start_trusts_the_book,
    ),
    Bug("stop_for_half_the_runner", "the last tranche has half a stop", _first_tranche_only),
    Bug("looks_between_scans_skipped", "nothing is looked at between scans", _looks_between_scans_skipped),
    Bug(
        "unclear_cancel_taken_for_done",
        "units are offered again after an unclear cancel",
        _unclear_cancel_taken_for_done,
    ),
    Bug("missing_stops_only_at_entry", "only the entry places stops", _bare_for_long_is_left),
)

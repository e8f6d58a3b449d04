"""Protective orders that rest on the exchange: a stop for every tranche, with a target beside it where there is one.

A position is protected tranche by tranche. To move a stop, one tranche at a time is cancelled, read back and placed
again, so that at most one tranche is ever without its stop. What cannot be protected is sold.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.events import PositionProtected, StopMoved
from bn_ml.domain.market import ZERO, Quote
from bn_ml.domain.orders import IntentRecord, IntentState, OrderIntent, OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason, Position, Tranche
from bn_ml.errors import StateError
from trader.desk import Desk
from trader.entry_plan import load_plan
from trader.exit_manager import ExitManager, stop_reason
from trader.order_manager import OrderManager

log = logging.getLogger(__name__)

STOP_TRIES = 2
"""How often a refused stop is tried at a valid price before the tranche is sold."""


class Protection:
    """Keeps every open position covered by resting stops, raises them, and closes positions."""

    def __init__(self, desk: Desk, orders: OrderManager, exits: ExitManager) -> None:
        """All parts share the desk's store."""
        self._store = desk.store
        self._market = desk.market
        self._clock = desk.clock
        self._journal = desk.journal
        self._orders = orders
        self._positions = orders.positions
        self._exits = exits

    def ensure(self, position: Position) -> None:
        """Place every missing stop of a position; does nothing while one of its orders is unaccounted for."""
        live = self._orders.open_of(position.position_id)
        if is_covered(position, live):
            return
        if any(record.intent.purpose is Purpose.ENTRY or record.state is not IntentState.OPEN for record in live):
            return
        if not position.tranches:
            position = self._cut(position)
        for tranche in position.tranches:
            self._cover(position.position_id, tranche)
        self._note_protected(position.position_id)

    def raise_stops(self, position: Position, new_stop: Decimal) -> None:
        """Move every stop of a position up to `new_stop`, one tranche at a time."""
        for tranche in position.tranches:
            if tranche.stop_price < new_stop:
                self._cancel_tranche(position.position_id, tranche.label)
                self._cover(position.position_id, replace(tranche, stop_price=new_stop))
        moved = self._positions.position(position.position_id)
        if moved is None or not moved.is_open:
            return
        lowest = min((tranche.stop_price for tranche in moved.tranches), default=new_stop)
        with self._store.transaction():
            self._positions.save(replace(moved, stop=max(moved.stop, lowest), stop_replaced_at=self._clock.now()))
            if lowest > position.stop:
                self._journal.emit(StopMoved(self._clock.now(), moved.symbol, moved.position_id, position.stop, lowest))

    def close(self, position: Position, reason: ExitReason) -> None:
        """Cancel a position's orders and sell all of it at market; what an unclear answer leaves is tried next time."""
        for record in self._orders.open_of(position.position_id):
            self._orders.cancel(record)
        held = self._positions.position(position.position_id)
        if held is None or not held.is_open or self._orders.open_of(position.position_id):
            return
        with self._store.transaction():
            self._positions.save(replace(held, tranches=()))
        self._sell(held, held.remaining_quantity, reason, tranche="")

    def _cut(self, position: Position) -> Position:
        plan = load_plan(self._store, position.position_id)
        tranches = self._exits.tranches(position, plan.rules)
        if not tranches:
            log.error("position too small to protect symbol=%s", position.symbol)
            self._sell(position, position.remaining_quantity, ExitReason.BELOW_MIN_SIZE, tranche="")
            return self._positions.position(position.position_id) or position
        cut = replace(position, tranches=tranches)
        with self._store.transaction():
            self._positions.save(cut)
        return cut

    def _cover(self, position_id: str, tranche: Tranche) -> None:
        for _ in range(STOP_TRIES):
            position = self._positions.position(position_id)
            if position is None or not position.is_open:
                return
            live = [item for item in self._orders.open_of(position_id) if item.intent.tranche == tranche.label]
            if any(item.intent.purpose is Purpose.STOP for item in live):
                return
            for record in live:
                self._orders.cancel(record)
            quantity = self._rest_of(position, tranche.label)
            if quantity <= 0:
                self._drop(position, tranche.label)
                return
            if self._past_levels(position, tranche, quantity) or self._place(position, tranche, quantity):
                return
        self._give_up(position_id, tranche)

    def _past_levels(self, position: Position, tranche: Tranche, quantity: Decimal) -> bool:
        quote = self._market.quote(position.symbol)
        if quote.bid <= tranche.stop_price or quote.last <= tranche.stop_price:
            reason = stop_reason(position)
        elif tranche.target_price is not None and _reached(quote, tranche.target_price):
            reason = ExitReason.TP1 if tranche.label == "tp1" else ExitReason.TP2
        else:
            return False
        self._sell(position, quantity, reason, tranche=tranche.label)
        return True

    def _place(self, position: Position, tranche: Tranche, quantity: Decimal) -> bool:
        list_id = self._store.next_client_id() if tranche.target_price is not None else ""
        stop = self._intent(position, replace(tranche, quantity=quantity), Purpose.STOP, list_id)
        if tranche.target_price is None:
            self._commit(replace(tranche, stop_client_id=stop.client_id), stop)
            record = self._orders.send(stop)
        else:
            target = self._intent(position, replace(tranche, quantity=quantity), Purpose.TARGET, list_id)
            pair = replace(tranche, stop_client_id=stop.client_id, target_client_id=target.client_id, list_id=list_id)
            self._commit(pair, target, stop)
            _, record = self._orders.send_oco(target, stop)
        return record.state is not IntentState.REFUSED

    def _commit(self, tranche: Tranche, *intents: OrderIntent) -> None:
        """Write intents and, in the same transaction, that they belong to the tranche."""
        ids = tuple(intent.client_id for intent in intents)
        with self._store.transaction():
            self._orders.commit(*intents)
            position = self._positions.position(intents[0].position_id)
            if position is None:
                raise StateError(f"no position {intents[0].position_id}")
            kept = {item.label: item for item in position.tranches}.get(tranche.label, tranche)
            placed = replace(tranche, quantity=kept.quantity, client_ids=(*kept.client_ids, *ids))
            tranches = tuple(placed if item.label == tranche.label else item for item in position.tranches)
            self._positions.save(replace(position, tranches=tranches))

    def _drop(self, position: Position, label: str) -> None:
        rest = tuple(item for item in position.tranches if item.label != label)
        with self._store.transaction():
            self._positions.save(replace(position, tranches=rest))

    def _give_up(self, position_id: str, tranche: Tranche) -> None:
        position = self._positions.position(position_id)
        if position is None or not position.is_open:
            return
        log.error("stop refused twice, selling symbol=%s tranche=%s", position.symbol, tranche.label)
        quantity = self._rest_of(position, tranche.label)
        self._sell(position, quantity, ExitReason.PROTECTION_FAILED, tranche=tranche.label)

    def _sell(self, position: Position, quantity: Decimal, reason: ExitReason, *, tranche: str) -> None:
        rules = load_plan(self._store, position.position_id).rules
        sellable = rules.quantity_down(quantity)
        quote = self._market.quote(position.symbol)
        too_small = sellable <= 0 or sellable < rules.min_quantity or sellable * quote.bid < rules.min_notional
        if too_small:
            self._sell_with_siblings(position, reason, partial=quantity < position.remaining_quantity)
            return
        intent = OrderIntent(
            client_id=self._store.next_client_id(),
            symbol=position.symbol,
            side=Side.SELL,
            type=OrderType.MARKET,
            quantity=sellable,
            purpose=Purpose.EXIT,
            position_id=position.position_id,
            created_at=self._clock.now(),
            tranche=tranche,
            reason=reason.value,
            reference_price=quote.bid,
        )
        part = {item.label: item for item in position.tranches}.get(tranche)
        if part is None:
            self._orders.commit(intent)
        else:
            self._commit(part, intent)
        record = self._orders.send(intent)
        if record.state is IntentState.REFUSED:
            self._block(position.position_id, record.reason)

    def _sell_with_siblings(self, position: Position, reason: ExitReason, *, partial: bool) -> None:
        if partial:
            self.close(position, reason)
        else:
            self._positions.write_off(position, self._clock.now())

    def _block(self, position_id: str, reason: str) -> None:
        held = self._positions.position(position_id)
        if held is not None and held.is_open:
            with self._store.transaction():
                self._positions.save(replace(held, close_blocked_reason=reason))

    def _cancel_tranche(self, position_id: str, label: str) -> None:
        for record in self._orders.open_of(position_id):
            if record.intent.tranche == label:
                self._orders.cancel(record)

    def _rest_of(self, position: Position, label: str) -> Decimal:
        """What is left of a tranche: its plan less what every order committed for it has sold."""
        tranche = {item.label: item for item in position.tranches}.get(label)
        if tranche is None:
            return ZERO
        records = [self._store.intent(client_id) for client_id in tranche.client_ids]
        sold = sum((record.filled_quantity for record in records if record is not None), ZERO)
        return min(tranche.quantity - sold, position.remaining_quantity)

    def _intent(self, position: Position, tranche: Tranche, purpose: Purpose, list_id: str) -> OrderIntent:
        is_stop = purpose is Purpose.STOP
        return OrderIntent(
            client_id=self._store.next_client_id(),
            symbol=position.symbol,
            side=Side.SELL,
            type=OrderType.STOP_LOSS if is_stop else OrderType.LIMIT_MAKER,
            quantity=tranche.quantity,
            purpose=purpose,
            position_id=position.position_id,
            created_at=self._clock.now(),
            limit_price=None if is_stop else tranche.target_price,
            stop_price=tranche.stop_price if is_stop else None,
            list_id=list_id or None,
            tranche=tranche.label,
        )

    def _note_protected(self, position_id: str) -> None:
        position = self._positions.position(position_id)
        if position is None or not position.is_open or position.protected_at is not None:
            return
        if not is_covered(position, self._orders.open_of(position_id)):
            return
        now: datetime = self._clock.now()
        with self._store.transaction():
            self._positions.save(replace(position, protected_at=now))
            self._journal.emit(PositionProtected(now, position.symbol, position_id, tranches=len(position.tranches)))


def is_covered(position: Position, live: tuple[IntentRecord, ...]) -> bool:
    """Tell whether every tranche of a position has its stop among the live orders."""
    stopped = {
        record.intent.tranche
        for record in live
        if record.intent.purpose is Purpose.STOP and record.state is IntentState.OPEN
    }
    return bool(position.tranches) and all(tranche.label in stopped for tranche in position.tranches)


def _reached(quote: Quote, target: Decimal) -> bool:
    return quote.last >= target or quote.bid >= target

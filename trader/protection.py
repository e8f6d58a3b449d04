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
from bn_ml.errors import MarketDataError, StateError
from trader.close_blocks import CloseBlocks
from trader.desk import Desk
from trader.entry_plan import load_plan
from trader.exit_manager import ExitManager, is_sellable, stop_reason
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
        self._blocks = CloseBlocks(desk, orders.positions)

    def ensure(self, position: Position) -> None:
        """Place every missing stop of a position; does nothing while one of its orders is unaccounted for."""
        if self._blocks.waits(position):
            return
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
        """Move every stop of a position up to `new_stop`, one tranche at a time.

        While any tranche is without its stop, or any answer unclear, no other stop is touched: the next look goes on.
        """
        if self._blocks.waits(position):
            return
        self.ensure(position)
        protected = self._positions.position(position.position_id) or position
        for tranche in protected.tranches:
            if tranche.stop_price < new_stop and not self._raise_one(position.position_id, tranche, new_stop):
                break
        moved = self._positions.position(position.position_id)
        if moved is None or not moved.is_open:
            return
        lowest = min((tranche.stop_price for tranche in moved.tranches), default=new_stop)
        with self._store.transaction():
            self._positions.save(replace(moved, stop=max(moved.stop, lowest), stop_replaced_at=self._clock.now()))
            if lowest > position.stop:
                self._journal.emit(StopMoved(self._clock.now(), moved.symbol, moved.position_id, position.stop, lowest))

    def close(self, position: Position, reason: ExitReason) -> None:
        """Cancel a position's orders and sell all of it; what is unclear, or does not trade now, is tried next time."""
        if self._blocks.waits(position):
            return
        for record in self._orders.open_of(position.position_id):
            self._orders.cancel(record)
        held = self._positions.position(position.position_id)
        if held is None or not held.is_open or self._orders.open_of(position.position_id):
            return
        highest = max([held.stop, *(item.stop_price for item in held.tranches)])
        self._keep(replace(held, stop=highest), ())
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
            live = [item for item in self._orders.open_of(position_id) if item.intent.tranche == tranche.label]
            if any(item.intent.purpose is Purpose.STOP for item in live):
                return
            if not self._cancel_all(position_id, tranche.label):
                return
            # Read after the cancels: they may have brought fills.
            position = self._positions.position(position_id)
            if position is None or not position.is_open:
                return
            quantity = self._rest_of(position, tranche.label)
            if quantity <= 0:
                self._keep(position, _others(position, tranche.label))
                return
            if self._joins(position, tranche, quantity):
                return
            if self._past_levels(position, tranche, quantity) or self._place(position, tranche, quantity):
                return
        self._give_up(position_id, tranche)

    def _joins(self, position: Position, tranche: Tranche, rest: Decimal) -> bool:
        """Hand what is too small for an order of its own to a neighbour; False when it needs or has none."""
        rules = load_plan(self._store, position.position_id).rules
        neighbour = _neighbour(position, tranche.label)
        if neighbour is None or is_sellable(rest, tranche.stop_price, rules):
            return False
        if not self._cancel_all(position.position_id, neighbour.label):
            return True
        held = self._positions.position(position.position_id) or position
        wider = replace(neighbour, quantity=neighbour.quantity + rest)
        if any(item.label == neighbour.label for item in held.tranches):
            others = _others(held, tranche.label)
            self._keep(held, tuple(wider if item.label == wider.label else item for item in others))
            self._cover(position.position_id, wider)
        return True

    def _cancel_all(self, position_id: str, label: str) -> bool:
        """Cancel a tranche's orders; False when an answer is unclear."""
        live = [record for record in self._orders.open_of(position_id) if record.intent.tranche == label]
        return all(self._orders.cancel(record).state.is_terminal for record in live)

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

    def _keep(self, position: Position, tranches: tuple[Tranche, ...]) -> None:
        with self._store.transaction():
            self._positions.save(replace(position, tranches=tranches))

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
        price = self._sale_price(position)
        too_small = sellable <= 0 or sellable < rules.min_quantity or sellable * price < rules.min_notional
        if too_small:
            if quantity < position.remaining_quantity:
                self.close(position, reason)
            else:
                self._positions.write_off(position, self._clock.now())
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
            reference_price=price,
        )
        part = {item.label: item for item in position.tranches}.get(tranche)
        if part is None:
            self._orders.commit(intent)
        else:
            self._commit(part, intent)
        record = self._orders.send(intent)
        self._blocks.note(position.position_id, record.reason if record.state is IntentState.REFUSED else None)

    def _sale_price(self, position: Position) -> Decimal:
        """Give the bid; without a quote the highest price seen, since a sale must not wait for market data."""
        try:
            return self._market.quote(position.symbol).bid
        except MarketDataError:
            return position.max_price_seen

    def _raise_one(self, position_id: str, tranche: Tranche, new_stop: Decimal) -> bool:
        """Move one tranche's stop; False when afterwards a stop is missing or an answer unclear."""
        position, live = self._positions.position(position_id), self._orders.open_of(position_id)
        if position is None or not _is_settled(position, live) or not self._cancel_all(position_id, tranche.label):
            return False
        self._cover(position_id, replace(tranche, stop_price=new_stop))
        return True

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


def _is_settled(position: Position, live: tuple[IntentRecord, ...]) -> bool:
    return is_covered(position, live) and all(record.state is IntentState.OPEN for record in live)


def _others(position: Position, label: str) -> tuple[Tranche, ...]:
    return tuple(item for item in position.tranches if item.label != label)


def _neighbour(position: Position, label: str) -> Tranche | None:
    """Give the tranche after the named one, the one before it for the last, None when there is no other."""
    labels = [item.label for item in position.tranches]
    if label not in labels or len(labels) < 2:
        return None
    place = labels.index(label)
    return position.tranches[place + 1 if place + 1 < len(labels) else place - 1]


def _reached(quote: Quote, target: Decimal) -> bool:
    return quote.last >= target or quote.bid >= target

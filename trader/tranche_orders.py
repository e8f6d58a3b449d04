"""The orders of one tranche: its stop, alone or with a target beside it, placed, replaced, cancelled and read back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import IntentRecord, IntentState, OrderIntent, OrderType, Purpose, Side
from bn_ml.domain.positions import Position, Tranche
from bn_ml.errors import StateError
from trader.desk import Desk
from trader.gate import offered_quantity
from trader.order_manager import OrderManager

TAKEN = frozenset({IntentState.OPEN, IntentState.FILLED, IntentState.CANCELED, IntentState.EXPIRED})
"""States of an order that the venue has taken."""


@dataclass(frozen=True, slots=True)
class StopTerms:
    """A protective order about to be placed: how much, from which stop, trailing or not, and the price it is seen at.

    `target_price` None means a stop alone. `replaces` is the client id of the order it takes the place of.
    """

    quantity: Decimal
    stop_price: Decimal
    target_price: Decimal | None = None
    trailing_bp: int = 0
    last: Decimal | None = None
    replaces: str = ""


class TrancheOrders:
    """Sends what protects single tranches; decides nothing."""

    def __init__(self, desk: Desk, orders: OrderManager) -> None:
        """Both share the desk's store."""
        self._store = desk.store
        self._clock = desk.clock
        self._orders = orders
        self.positions = orders.positions

    def live(self, position_id: str, label: str) -> tuple[IntentRecord, ...]:
        """Give a tranche's unfinished orders."""
        return tuple(item for item in self._orders.open_of(position_id) if item.intent.tranche == label)

    def stop_of(self, position_id: str, label: str) -> IntentRecord | None:
        """Give the resting stop of a tranche, None when it has none."""
        resting = (item for item in self.live(position_id, label) if item.state is IntentState.OPEN)
        return next((item for item in resting if item.intent.purpose is Purpose.STOP), None)

    def cancel_all(self, position_id: str, label: str | None = None) -> bool:
        """Cancel a tranche's orders, or all of a position, tranche by tranche; False where an answer is unclear.

        The tranches after an unclear one keep their orders.
        """
        labels = dict.fromkeys(record.intent.tranche for record in self._orders.open_of(position_id))
        return all(self._cancel(position_id, name) for name in labels if label in (None, name))

    def rest_of(self, position: Position, label: str) -> Decimal:
        """Give what is left of a tranche: its plan less what its orders have sold, never what others already offer."""
        tranche = {item.label: item for item in position.tranches}.get(label)
        if tranche is None:
            return ZERO
        records = [self._store.intent(client_id) for client_id in tranche.client_ids]
        sold = sum((record.filled_quantity for record in records if record is not None), ZERO)
        elsewhere = [item for item in self._store.intents_of(position.position_id) if item.intent.tranche != label]
        return min(tranche.quantity - sold, position.remaining_quantity - offered_quantity(elsewhere))

    def place(self, position: Position, label: str, terms: StopTerms) -> IntentRecord:
        """Place a stop, with its target in one list where the terms name one; gives the stop's record."""
        if terms.target_price is None:
            stop = self._stop(position, label, terms)
            self.commit(label, stop)
            return self._orders.send(stop)
        list_id = self._store.next_client_id()
        stop = self._stop(position, label, terms, list_id)
        target = self._target(position, label, terms, list_id)
        self.commit(label, target, stop)
        return self._orders.send_oco(target, stop)[1]

    def replace(self, position: Position, old: IntentRecord, terms: StopTerms) -> IntentRecord:
        """Put another stop in the place of a lone one, in one request; gives the new stop's record."""
        label = old.intent.tranche
        stop = self._stop(position, label, replace(terms, replaces=old.intent.client_id))
        self.commit(label, stop)
        return self._orders.replace(old, stop)

    def commit(self, label: str, *intents: OrderIntent) -> None:
        """Write intents and, in the same transaction, that they belong to a tranche of their position, if it has it."""
        ids = tuple(intent.client_id for intent in intents)
        with self._store.transaction():
            self._orders.commit(*intents)
            position = self.positions.position(intents[0].position_id)
            if position is None:
                raise StateError(f"no position {intents[0].position_id}")
            self.positions.save(_noted(position, label, intents, ids))

    def settle(self, position_id: str) -> Position | None:
        """Bring a position's record up to the stops that rest: levels only ever rise. None when it is not open."""
        position = self.positions.position(position_id)
        if position is None or not position.is_open:
            return None
        tranches = tuple(self._settled(position_id, item) for item in position.tranches)
        lowest = min((item.stop_price for item in tranches), default=position.stop)
        risen = replace(position, tranches=tranches, stop=max(position.stop, lowest))
        if risen != position:
            self.save(risen)
        return risen

    def raise_record(self, position_id: str, label: str, level: Decimal) -> None:
        """Note the level that a tranche's trailing stop guarantees; one not above the known changes nothing."""
        position = self.positions.position(position_id)
        if position is None or not position.is_open:
            return
        tranches = tuple(
            replace(item, stop_price=max(item.stop_price, level)) if item.label == label else item
            for item in position.tranches
        )
        if tranches != position.tranches:
            self.save(replace(position, tranches=tranches))

    def not_below_shown(self, held: Position, tranche: Tranche) -> Tranche:
        """Give a tranche at the highest fixed stop the venue ever took for it, also one heard of too late to note."""
        names = [name for item in held.tranches if item.label == tranche.label for name in item.client_ids]
        records = [record for name in names if (record := self._store.intent(name)) is not None]
        shown = [
            stop_level(item.intent) for item in records if item.intent.purpose is Purpose.STOP and item.state in TAKEN
        ]
        return replace(tranche, stop_price=max([tranche.stop_price, *shown]))

    def save(self, position: Position) -> None:
        """Store a position in a transaction of its own."""
        with self._store.transaction():
            self.positions.save(position)

    def _cancel(self, position_id: str, label: str) -> bool:
        """Cancel a tranche's orders; one cancel ends both legs of a list, what it has ended is not cancelled again."""
        for record in self.live(position_id, label):
            if record.intent.client_id in {item.intent.client_id for item in self._orders.open_intents()}:
                self._orders.cancel(record)
        return not self.live(position_id, label)

    def _settled(self, position_id: str, tranche: Tranche) -> Tranche:
        stop = self.stop_of(position_id, tranche.label)
        level = ZERO if stop is None else stop_level(stop.intent)
        return replace(tranche, stop_price=level) if level > tranche.stop_price else tranche

    def _stop(self, position: Position, label: str, terms: StopTerms, list_id: str = "") -> OrderIntent:
        return OrderIntent(
            client_id=self._store.next_client_id(),
            symbol=position.symbol,
            side=Side.SELL,
            type=OrderType.STOP_LOSS,
            quantity=terms.quantity,
            purpose=Purpose.STOP,
            position_id=position.position_id,
            created_at=self._clock.now(),
            stop_price=None if terms.trailing_bp else terms.stop_price,
            list_id=list_id or None,
            tranche=label,
            reference_price=terms.last if terms.trailing_bp else None,
            trailing_bp=terms.trailing_bp,
            replaces=terms.replaces,
        )

    def _target(self, position: Position, label: str, terms: StopTerms, list_id: str) -> OrderIntent:
        return OrderIntent(
            client_id=self._store.next_client_id(),
            symbol=position.symbol,
            side=Side.SELL,
            type=OrderType.LIMIT_MAKER,
            quantity=terms.quantity,
            purpose=Purpose.TARGET,
            position_id=position.position_id,
            created_at=self._clock.now(),
            limit_price=terms.target_price,
            list_id=list_id,
            tranche=label,
        )


def stop_level(intent: OrderIntent) -> Decimal:
    """Give the level of a fixed stop; 0 for one that trails, whose level is what the trades seen have made it."""
    return intent.stop_price or ZERO


def _noted(position: Position, label: str, intents: tuple[OrderIntent, ...], ids: tuple[str, ...]) -> Position:
    named = {intent.purpose: intent for intent in intents}
    stop, target = named.get(Purpose.STOP), named.get(Purpose.TARGET)
    tranches = []
    for item in position.tranches:
        if item.label == label:
            item = replace(item, client_ids=(*item.client_ids, *ids))
            if stop is not None:
                item = replace(
                    item,
                    stop_client_id=stop.client_id,
                    target_client_id=target.client_id if target else "",
                    list_id=stop.list_id or "",
                )
        tranches.append(item)
    return replace(position, tranches=tuple(tranches))

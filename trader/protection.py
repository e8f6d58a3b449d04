"""Protective orders that rest on the exchange: a stop for every tranche, with a target beside it where there is one.

A position is protected tranche by tranche, the one worth most first. To move a lone stop the venue replaces it in one
request; an OCO is cancelled, read back and placed again, one tranche at a time, so that at most one tranche is ever
without its stop. No stop ever moves down.

| What happens | What is done |
|---|---|
| price at or below the stop when it is placed | that tranche is sold at market |
| price at or above the target when it is placed | the target is taken at market |
| target partly filled (its stop has ended) | rest of the target cancelled, a new pair for the rest |
| rest below the minimum | joins a neighbour; alone it is written off as dust |
| no place for another stop or list | fewer tranches; never a sale |
| price, quantity or notional refused | once more by the present filters, then sold (`protection_failed`) |
| limits, ban, clock, no market data | again after a pause |
| symbol does not trade | noted, first thing when it trades again |
| less free than held | what is free is protected, the rest once it is free |
| replacement refused, old stop rests | the old stop stays, until the next look |
| replacement half done | placed again at once |
| stop ended with a rest, legs cancelled by hand, list gone | placed again at the next look |
| cancel or stop without a clear answer | nothing else for that tranche until it is resolved |
| without stop for 30 s, exchange reachable | sold (`protection_failed`), entries off |
| market exit refused | one stop over everything again |
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bn_ml.control import permits
from bn_ml.domain.events import PositionProtected, StopMoved
from bn_ml.domain.market import ZERO, Bar, MarketRules, Quote
from bn_ml.domain.orders import IntentState, Purpose
from bn_ml.domain.positions import ExitReason, Position, Tranche
from trader.close_blocks import CloseBlocks
from trader.closing import Closer
from trader.cover import Cover, Tools
from trader.desk import Desk
from trader.exit_manager import ExitManager
from trader.free_places import FreePlaces
from trader.gate import offered_quantity
from trader.order_manager import OrderManager
from trader.pauses import Pauses
from trader.stop_moves import StopMover
from trader.tranche_orders import TrancheOrders
from trader.unprotected import WHOLE, UnprotectedTime, bare_labels, is_covered

__all__ = ["Protection", "is_covered"]

log = logging.getLogger(__name__)


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
        self._tranches = TrancheOrders(desk, orders)
        self._closer = Closer(desk, orders, self._tranches, self._blocks)
        self._places = FreePlaces(desk, orders)
        self._pauses = Pauses(desk.clock)
        self._bare = UnprotectedTime(desk.store, desk.clock)
        tools = Tools(desk, self._tranches, self._closer, self._places, self._pauses, self._bare)
        self._cover = Cover(tools)
        self._mover = StopMover(tools, orders, self._cover)

    def takes_a_stop(self, rules: MarketRules) -> bool:
        """Tell whether something bought now could be protected: the venue has a place for a stop of the symbol."""
        return self._places.take_a_stop(rules)

    def ensure(self, position: Position, wanted: Decimal = ZERO) -> None:
        """Place every missing stop of a position, at `wanted` where that is higher than the level it had.

        Does nothing while one of its orders is unaccounted for.
        """
        if not self._blocks.waits(position) and not self._pauses.waits(position.position_id):
            self._ensure(position, wanted)
        self._note(position.position_id)

    def raise_stops(self, position: Position, wanted: Decimal, distance_frac: Decimal | None = None) -> None:
        """Move every stop of a position up to `wanted`; with a distance the venue trails it where that is not lower.

        While any tranche is without its stop, or any answer unclear, no other stop is touched: the next look goes on.
        """
        if self._blocks.waits(position):
            return
        self.ensure(position, wanted)
        covered = self._positions.position(position.position_id)
        if covered is None or not covered.is_open or not self._mover.move(covered, wanted, distance_frac):
            return
        self._note(position.position_id)
        moved = self._positions.position(position.position_id)
        if moved is None or not moved.is_open:
            return
        with self._store.transaction():
            self._positions.save(replace(moved, stop_replaced_at=self._clock.now()))
            if moved.stop > covered.stop:
                self._journal.emit(
                    StopMoved(self._clock.now(), moved.symbol, moved.position_id, covered.stop, moved.stop)
                )

    def follow(self, position: Position, quote: Quote, bars: tuple[Bar, ...]) -> None:
        """Note how far the venue's own trailing has carried the stops."""
        self._mover.follow(position, quote, bars)

    def close(self, position: Position, reason: ExitReason) -> None:
        """Cancel a position's orders and sell all of it; what is unclear, or does not trade now, is tried next time.

        A position whose sale is refused gets its stop back before it is tried again.
        """
        if self._blocks.waits(position):
            return
        halted = not permits(self._store.control().state, Purpose.STOP)
        name = f"close/{position.position_id}"
        if self._pauses.waits(name) and not halted:
            self.ensure(position)
            return
        sale = self._closer.close(position, reason)
        if sale is None or sale.state is not IntentState.REFUSED:
            self._pauses.accepted(name)
        elif not halted:
            self._pauses.refused(name)
            self._restore(position.position_id)
        self._note(position.position_id)

    def bare_since(self, position: Position) -> datetime:
        """Give since when a position has had a tranche without its stop; since its entry when that is not known."""
        return self._bare.since(position.position_id) or position.opened_at

    def give_up(self, position: Position) -> None:
        """Sell what of a position has no stop, unless one of its orders is unaccounted for."""
        name, live = f"sale/{position.position_id}", self._orders.open_of(position.position_id)
        if self._blocks.waits(position) or self._pauses.waits(name):
            return
        if any(item.state is not IntentState.OPEN for item in live):
            return
        for label in sorted(bare_labels(position, live)):
            held = self._positions.position(position.position_id)
            if held is None or not held.is_open or not self._tranches.cancel_all(position.position_id, label):
                break
            rest = held.remaining_quantity if label == WHOLE else self._tranches.rest_of(held, label)
            sale = self._closer.sell(held, rest, ExitReason.PROTECTION_FAILED, label)
            if sale is not None and sale.state is IntentState.REFUSED:
                self._pauses.refused(name)
                break
        self._note(position.position_id)

    def tidy(self) -> None:
        """Forget what belonged to positions that are not held any more."""
        self._bare.forget_closed({item.position_id for item in self._positions.open_positions()})

    def _ensure(self, position: Position, wanted: Decimal) -> None:
        live = self._orders.open_of(position.position_id)
        if any(record.intent.purpose is Purpose.ENTRY or record.state is not IntentState.OPEN for record in live):
            return
        if is_covered(position, live):
            self._complete(position)
            return
        if not position.tranches:
            position = self._cut(position)
        self._begin(position)
        for tranche in sorted(position.tranches, key=lambda item: item.quantity, reverse=True):
            if self._pauses.waits(position.position_id):
                break
            self._cover.cover(position.position_id, replace(tranche, stop_price=max(tranche.stop_price, wanted)))

    def _cut(self, position: Position) -> Position:
        """Split a position; one too small for any stop is sold."""
        rules = self._closer.rules(position)
        tranches = self._exits.tranches(position, rules, self._places.slots(rules))
        if not tranches:
            log.error("position too small to protect symbol=%s", position.symbol)
            self._closer.sell(position, position.remaining_quantity, ExitReason.BELOW_MIN_SIZE)
            return self._positions.position(position.position_id) or position
        cut = replace(position, tranches=tranches)
        self._tranches.save(cut)
        return cut

    def _complete(self, position: Position) -> None:
        """Widen a stop where all of them together cover less than is held, once what is missing is free."""
        rules, name = self._closer.rules(position), f"short/{position.position_id}"
        live = self._orders.open_of(position.position_id)
        missing = rules.quantity_down(position.remaining_quantity) - offered_quantity(live)
        if missing < rules.step:
            self._pauses.accepted(name)
        elif not self._pauses.waits(name):
            self._pauses.refused(name)
            if self._closer.free(position) >= rules.step:
                self._widen(position, missing, rules)

    def _widen(self, position: Position, missing: Decimal, rules: MarketRules) -> None:
        short = [item for item in position.tranches if self._is_short(position, item, rules)]
        wider = short[0] if short else position.tranches[-1]
        if not short:
            # A coarser step than at the split: what it cuts off the tranches makes a step together.
            wider = replace(wider, quantity=wider.quantity + missing)
            kept = tuple(wider if item.label == wider.label else item for item in position.tranches)
            self._tranches.save(replace(position, tranches=kept))
        self._bare.begin(position.position_id, wider.label)
        if self._tranches.cancel_all(position.position_id, wider.label):
            self._cover.cover(position.position_id, wider)

    def _is_short(self, position: Position, tranche: Tranche, rules: MarketRules) -> bool:
        stop = self._tranches.stop_of(position.position_id, tranche.label)
        rest = rules.quantity_down(self._tranches.rest_of(position, tranche.label))
        return stop is not None and stop.intent.quantity - stop.filled_quantity < rest

    def _restore(self, position_id: str) -> None:
        held = self._positions.position(position_id)
        if held is not None and held.is_open:
            self.ensure(held)

    def _begin(self, position: Position) -> None:
        """Let the unprotected time run: of what was just bought since its fill."""
        first = position.opened_at if position.protected_at is None else None
        for label in bare_labels(position, self._orders.open_of(position.position_id)):
            self._bare.begin(position.position_id, label, first)

    def _note(self, position_id: str) -> None:
        """Write down what rests by now."""
        position = self._tranches.settle(position_id)
        live = self._orders.open_of(position_id)
        if position is None:
            self.tidy()
            return
        self._bare.watch(position, live)
        if position.protected_at is None and is_covered(position, live):
            now = self._clock.now()
            with self._store.transaction():
                self._positions.save(replace(position, protected_at=now))
                self._journal.emit(PositionProtected(now, position.symbol, position_id, len(position.tranches)))

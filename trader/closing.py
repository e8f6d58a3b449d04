"""Selling at market: a whole position, or the part of it that cannot be protected.

Nothing is sold before the orders that offer it have ended and been read back, so nothing is ever offered twice.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal

from bn_ml.domain.market import ZERO, MarketRules
from bn_ml.domain.orders import IntentRecord, IntentState, OrderIntent, OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason, Position
from bn_ml.errors import MarketDataError, Transient
from trader.close_blocks import CloseBlocks
from trader.desk import Desk
from trader.entry_plan import load_plan
from trader.order_manager import OrderManager
from trader.refusals import Refusal, refusal_of
from trader.tranche_orders import TrancheOrders

log = logging.getLogger(__name__)


class Closer:
    """Sends market sales and writes off what is too small for one."""

    def __init__(self, desk: Desk, orders: OrderManager, tranches: TrancheOrders, blocks: CloseBlocks) -> None:
        """All parts share the desk's store."""
        self._desk = desk
        self._orders = orders
        self._positions = orders.positions
        self._tranches = tranches
        self._blocks = blocks

    def close(self, position: Position, reason: ExitReason) -> IntentRecord | None:
        """Cancel a position's orders and sell all of it; gives the sale, None when none was sent.

        A cancel without a clear answer leaves everything else as it is.
        """
        if not self._tranches.cancel_all(position.position_id):
            return None
        held = self._positions.position(position.position_id)
        if held is None or not held.is_open:
            return None
        highest = max([held.stop, *(self._tranches.not_below_shown(held, item).stop_price for item in held.tranches)])
        whole = replace(held, stop=highest, tranches=())
        self._tranches.save(whole)
        return self.sell(whole, whole.remaining_quantity, reason)

    def sell(self, position: Position, quantity: Decimal, reason: ExitReason, label: str = "") -> IntentRecord | None:
        """Sell a quantity that no order offers; gives the sale, None when none was sent.

        A part too small for an order takes the whole position along; a whole too small becomes dust.
        """
        rules, price = self.rules(position), self._sale_price(position)
        sellable = sale_quantity(quantity, rules)
        if is_too_small(sellable, price, rules):
            if quantity < position.remaining_quantity:
                return self.close(position, reason)
            self._positions.write_off(position, self._desk.clock.now())
            return None
        sale = self._send(position, sellable, reason, label, price)
        if sale.state is IntentState.REFUSED:
            quantity = self._second_try(position, sellable, sale, price, rules)
            sale = self._send(position, quantity, reason, label, price) if quantity > 0 else sale
        refused = sale.state is IntentState.REFUSED
        if refused:
            log.error("sale refused symbol=%s reason=%s why=%s", position.symbol, reason.value, sale.reason)
        self._blocks.note(position.position_id, sale.reason if refused else None)
        return sale

    def _second_try(
        self, position: Position, sellable: Decimal, sale: IntentRecord, price: Decimal, rules: MarketRules
    ) -> Decimal:
        """Give how much to sell at once after a refusal: what is free, all when it only came too late, else 0."""
        match refusal_of(sale.reason):
            case Refusal.TOO_LATE:
                return sellable
            case Refusal.BALANCE:
                free = min(sellable, sale_quantity(self.free(position), rules))
                return free if free < sellable and not is_too_small(free, price, rules) else ZERO
            case _:
                return ZERO

    def rules(self, position: Position) -> MarketRules:
        """Give the symbol's rules as of now, those of the entry when they are not known."""
        try:
            return self._desk.market.rules(position.symbol)
        except MarketDataError:
            return load_plan(self._desk.store, position.position_id).rules

    def free(self, position: Position) -> Decimal:
        """Give how much of what is held no order offers, by the exchange; 0 when it cannot be read."""
        try:
            balance = self._desk.exchange.balances().get(position.symbol.base)
        except Transient as error:
            log.warning("balance unknown symbol=%s error=%s", position.symbol, error)
            return ZERO
        return min(balance.free, position.remaining_quantity) if balance is not None else ZERO

    def _send(
        self, position: Position, quantity: Decimal, reason: ExitReason, label: str, price: Decimal
    ) -> IntentRecord:
        intent = OrderIntent(
            client_id=self._desk.store.next_client_id(),
            symbol=position.symbol,
            side=Side.SELL,
            type=OrderType.MARKET,
            quantity=quantity,
            purpose=Purpose.EXIT,
            position_id=position.position_id,
            created_at=self._desk.clock.now(),
            tranche=label,
            reason=reason.value,
            reference_price=price,
        )
        self._tranches.commit(label, intent)
        return self._orders.send(intent)

    def _sale_price(self, position: Position) -> Decimal:
        """Give the bid; without a quote the highest price seen, since a sale must not wait for market data."""
        try:
            return self._desk.market.quote(position.symbol).bid
        except MarketDataError:
            return position.max_price_seen


def sale_quantity(quantity: Decimal, rules: MarketRules) -> Decimal:
    """Give the most of a quantity that one market sale may sell."""
    sellable = rules.quantity_down(quantity)
    for largest in (rules.max_quantity, rules.market_max_quantity):
        if largest > 0:
            sellable = min(sellable, rules.quantity_down(largest))
    step = rules.market_step
    return sellable - sellable % step if step > 0 else sellable


def is_too_small(quantity: Decimal, price: Decimal, rules: MarketRules) -> bool:
    """Tell whether the venue refuses a market sale of this quantity for its size."""
    if quantity <= 0 or quantity < max(rules.min_quantity, rules.market_min_quantity):
        return True
    return rules.notional_applies_to_market and quantity * price < rules.min_notional

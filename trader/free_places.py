"""How many more orders of ours the venue would let rest for a symbol, other programs' orders counted."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.errors import Transient
from trader.desk import Desk
from trader.ladder import ENOUGH, Slots, free_slots
from trader.order_manager import OrderManager

log = logging.getLogger(__name__)

KEPT = timedelta(seconds=60)
"""How long a count made before an entry serves the stops after it, which should not wait for another request."""


class FreePlaces:
    """Counts the free places of symbols."""

    def __init__(self, desk: Desk, orders: OrderManager) -> None:
        """Nothing is counted yet."""
        self._exchange = desk.exchange
        self._clock = desk.clock
        self._orders = orders
        self._counted: dict[Symbol, tuple[datetime, Slots]] = {}

    def take_a_stop(self, rules: MarketRules) -> bool:
        """Tell whether what is bought now could be protected by one stop; not while that cannot be known."""
        try:
            return rules.stops_allowed and self._count(rules).takes_a_stop
        except Transient as error:
            log.warning("open orders unknown symbol=%s error=%s", rules.symbol, error)
            return False

    def slots(self, rules: MarketRules) -> Slots:
        """Give the free places, as counted in the last minute; what cannot be known is left to the venue's answer."""
        at, slots = self._counted.get(rules.symbol, (None, ENOUGH))
        if at is not None and self._clock.now() - at < KEPT:
            return slots
        try:
            return self._count(rules)
        except Transient as error:
            log.warning("open orders unknown symbol=%s error=%s", rules.symbol, error)
            return ENOUGH

    def forget(self, symbol: Symbol) -> None:
        """Count anew next time: the venue has refused for want of a place, or our own orders have changed."""
        self._counted.pop(symbol, None)

    def _count(self, rules: MarketRules) -> Slots:
        ours = {record.intent.client_id: record.intent.type for record in self._orders.open_intents()}
        slots = free_slots(rules, self._exchange.open_orders(), ours)
        self._counted[rules.symbol] = (self._clock.now(), slots)
        return slots

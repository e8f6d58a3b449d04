"""Price-time matching: what a taker takes from a ladder, and which resting order a price path meets next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import ZERO, MarketRules
from bn_ml.domain.orders import Side
from bn_ml.venue.liquidity import Level
from bn_ml.venue.orders import NEVER, VenueOrder

NOWHERE = Decimal("Infinity")


def take(
    levels: Sequence[Level],
    side: Side,
    *,
    quantity: Decimal | None,
    rules: MarketRules,
    limit: Decimal | None = None,
    budget: Decimal | None = None,
) -> tuple[Level, ...]:
    """Give the trades of a taker: at most `quantity`, no price worse than `limit`, spending at most `budget` quote."""
    taken = []
    for level in levels:
        if limit is not None and (level.price > limit if side is Side.BUY else level.price < limit):
            break
        amount = level.quantity if quantity is None else min(level.quantity, quantity)
        if budget is not None:
            amount = min(amount, rules.quantity_down(budget / level.price))
        if amount <= 0:
            break
        taken.append(Level(level.price, amount))
        quantity = None if quantity is None else quantity - amount
        budget = None if budget is None else budget - amount * level.price
    return tuple(taken)


def cost(trades: Iterable[Level]) -> Decimal:
    """Give the quote amount of trades."""
    return sum((trade.price * trade.quantity for trade in trades), ZERO)


def size(trades: Iterable[Level]) -> Decimal:
    """Give the base quantity of trades."""
    return sum((trade.quantity for trade in trades), ZERO)


@dataclass(frozen=True, slots=True)
class Leg:
    """A straight piece of the last price's path from `start` to `end`.

    A resting buy above `buys_through` and a resting sell below `sells_through` have been traded through.
    """

    start: Decimal
    end: Decimal
    buys_through: Decimal
    sells_through: Decimal

    def from_price(self, price: Decimal) -> Leg:
        """Give what is left of the leg once the price is at `price`."""
        return Leg(price, self.end, self.buys_through, self.sells_through)


def standing(price: Decimal) -> Leg:
    """Give the leg of a single trade at `price`, as at a bar's open."""
    return Leg(price, price, price, price)


def quoted(last: Decimal, bid: Decimal, ask: Decimal) -> Leg:
    """Give the leg of a quote: triggers look at the last trade, resting orders at the other side of the book."""
    return Leg(last, last, ask, bid)


def moving(start: Decimal, end: Decimal) -> Leg:
    """Give the leg of a move within a bar: a fall meets buys, a rise meets sells."""
    return Leg(start, end, end, ZERO) if end <= start else Leg(start, end, NOWHERE, end)


class Happening(Enum):
    """What a price path does to an order."""

    ACTIVATE = "activate"
    TRIGGER = "trigger"
    FILL = "fill"


@dataclass(frozen=True, slots=True)
class Meeting:
    """A price path meeting an order at `price`."""

    price: Decimal
    order: VenueOrder
    happening: Happening


def next_meeting(orders: Iterable[VenueOrder], leg: Leg) -> Meeting | None:
    """Give the first order the leg meets: nearest price first, then the older order."""
    meetings = [meeting for order in orders if (meeting := _meeting(order, leg)) is not None]
    if not meetings:
        return None
    return min(meetings, key=lambda met: (abs(met.price - leg.start), met.order.order_id))


def may_meet(order: VenueOrder, low: Decimal, high: Decimal) -> bool:
    """Whether a path between two prices could do anything to an order."""
    if not order.is_dormant:
        return low < order.price if order.side is Side.BUY else high > order.price
    if order.trails:
        return True
    return low <= order.stop_price if order.triggers_on_fall else high >= order.stop_price


def _meeting(order: VenueOrder, leg: Leg) -> Meeting | None:
    if order.is_dormant:
        return _dormant_meeting(order, leg)
    if order.side is Side.BUY:
        met = leg.buys_through < order.price
        at = min(leg.start, order.price)
    else:
        met = leg.sells_through > order.price
        at = max(leg.start, order.price)
    return Meeting(at, order, Happening.FILL) if met else None


def _dormant_meeting(order: VenueOrder, leg: Leg) -> Meeting | None:
    level = order.trigger_level
    if level is not None:
        at = _reached(level, leg, falling=order.triggers_on_fall)
        return None if at is None else Meeting(at, order, Happening.TRIGGER)
    if order.trailing_ms == NEVER and order.stop_price > 0:
        at = _reached(order.stop_price, leg, falling=order.triggers_on_fall)
        return None if at is None else Meeting(at, order, Happening.ACTIVATE)
    return Meeting(leg.start, order, Happening.ACTIVATE)


def _reached(level: Decimal, leg: Leg, *, falling: bool) -> Decimal | None:
    if falling:
        return min(leg.start, level) if min(leg.start, leg.end) <= level else None
    return max(leg.start, level) if max(leg.start, leg.end) >= level else None

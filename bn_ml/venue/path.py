"""Carries resting orders along the last price: one quote, or a bar walked open, low, high, close.

The low comes before the high because the account only ever holds long positions: where one bar touches both a stop and
a target, the stop counts.
"""

from __future__ import annotations

from decimal import Decimal

from bn_ml.domain.market import Bar, MarketRules, Symbol, to_ms
from bn_ml.venue.execution import Execution
from bn_ml.venue.liquidity import Level, Liquidity, book_before
from bn_ml.venue.matching import Happening, Leg, Meeting, may_meet, moving, next_meeting, quoted, size, standing, take
from bn_ml.venue.orders import VenueOrder
from bn_ml.venue.state import VenueState


class PricePath:
    """One symbol's orders on one stretch of prices. `before_ms` leaves out orders placed later than that."""

    def __init__(self, state: VenueState, execution: Execution, symbol: Symbol, *, before_ms: int | None) -> None:
        """Prepare for a walk."""
        self._state = state
        self._execution = execution
        self._symbol = symbol
        self._before_ms = before_ms
        self._resting_left: Decimal | None = None
        self._exhausted: set[int] = set()

    def follow_quote(self, at_ms: int) -> None:
        """Let the symbol's present book, made from a quote, act on the orders."""
        book = self._state.books[self._symbol]
        if self._orders():
            self._walk(quoted(book.last, book.bid, book.ask), at_ms)

    def follow_bar(self, bar: Bar, liquidity: Liquidity, rules: MarketRules) -> None:
        """Walk a bar of real trades; afterwards the book stands at its close."""
        opened = book_before(bar, self._state.books.get(self._symbol), self._symbol)
        self._state.books[self._symbol] = opened
        close_ms = to_ms(bar.close_at)
        if any(may_meet(order, bar.low, bar.high) for order in self._orders()):
            self._resting_left = liquidity.resting_quantity(bar, rules)
            self._walk(standing(bar.open), to_ms(bar.open_at))
            here = bar.open
            for there in (bar.low, bar.high, bar.close):
                self._walk(moving(here, there), close_ms)
                here = there
        book = self._state.books[self._symbol]
        self._state.books[self._symbol] = book.moved(bar.close, close_ms)

    def _walk(self, leg: Leg, at_ms: int) -> None:
        bar_prices = self._resting_left is not None
        while (meeting := next_meeting(self._orders(), leg)) is not None:
            leg = leg.from_price(meeting.price)
            if bar_prices:
                self._move_book(meeting.price, at_ms)
            self._meet(meeting, at_ms)
        for order in self._orders():
            if order.is_dormant and order.trails and order.trigger_level is not None:
                self._trail(order, leg.end, at_ms)

    def _meet(self, meeting: Meeting, at_ms: int) -> None:
        order = meeting.order
        if meeting.happening is Happening.TRIGGER:
            self._execution.trigger(order, at_ms)
        elif meeting.happening is Happening.ACTIVATE:
            self._trail(order, meeting.price, at_ms)
        else:
            quantity = min(order.remaining, self._can_fill(order))
            if quantity > 0:
                after = self._execution.trade(order, Level(order.price, quantity), maker=True, at_ms=at_ms)
                self._used(order, quantity)
                if not after.is_open:
                    return
            self._exhausted.add(order.order_id)

    def _can_fill(self, order: VenueOrder) -> Decimal:
        if self._resting_left is not None:
            return self._resting_left
        rules = self._state.rules_of(self._symbol)
        ladder = self._execution.ladder(self._symbol, order.side)
        return size(take(ladder, order.side, quantity=order.remaining, rules=rules, limit=order.price))

    def _used(self, order: VenueOrder, quantity: Decimal) -> None:
        if self._resting_left is not None:
            self._resting_left -= quantity
            return
        book = self._state.books[self._symbol]
        self._state.books[self._symbol] = book.after_taking(order.side, quantity)

    def _trail(self, order: VenueOrder, price: Decimal, at_ms: int) -> None:
        trailed = order.trailed(price, at_ms)
        if trailed is not order:
            self._execution.update(trailed)

    def _move_book(self, price: Decimal, at_ms: int) -> None:
        self._state.books[self._symbol] = self._state.books[self._symbol].moved(price, at_ms)

    def _orders(self) -> list[VenueOrder]:
        return [
            order
            for order in self._state.open_orders(self._symbol)
            if order.order_id not in self._exhausted
            and not order.waits
            and (self._before_ms is None or order.created_ms <= self._before_ms)
        ]

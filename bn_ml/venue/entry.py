"""The way in: what a request is tested for, and how it becomes an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from bn_ml.venue import filters
from bn_ml.venue.errors import (
    VenueError,
    duplicate_order,
    insufficient_balance,
    market_closed,
    would_take,
    would_trigger,
)
from bn_ml.venue.execution import Execution
from bn_ml.venue.filters import AccountLimits
from bn_ml.venue.order_lists import OcoRequest, check_relationship
from bn_ml.venue.orders import BASIS_POINTS, CONTINGENT, NEVER, NO_LIST, Expiry, OrderRequest, VenueOrder
from bn_ml.venue.state import VenueState, held


class Entry:
    """Checks requests in the venue's order and places them."""

    def __init__(self, state: VenueState, execution: Execution, limits: AccountLimits) -> None:
        """Work on a venue's state."""
        self._state = state
        self._execution = execution
        self._limits = limits
        execution.on_filled = self._place_waiting

    def check(self, requests: Sequence[OrderRequest]) -> None:
        """Refuse what parameters, precision, filters or counts do not allow; several requests are one list."""
        symbol = requests[0].symbol
        rules = self._state.rules_of(symbol)
        for request in requests:
            filters.check_parameters(request)
            filters.check_precision(request)
        if not rules.trading or symbol not in self._state.books:
            raise market_closed()
        filters.check_allowed(requests, rules)
        for request in requests:
            filters.check_filters(request, rules, self._reference(symbol))
        opened = self._state.open_orders()
        filters.check_counts(requests, rules, opened, self._limits)
        for request in requests:
            filters.check_position(request, held(self._state, symbol.base), opened, self._limits)

    def place(self, request: OrderRequest, at_ms: int) -> VenueOrder:
        """Place one checked request and match it."""
        self.refuse_duplicates([request.client_id])
        draft = self.draft(request, at_ms)
        self.check_engine(draft)
        return self.enter(self.numbered(draft, NO_LIST, ""), at_ms)

    def draft(self, request: OrderRequest, at_ms: int) -> VenueOrder:
        """Give the order a request asks for, without a number."""
        return VenueOrder(
            order_id=NEVER,
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            client_id=request.client_id,
            quantity=request.quantity or ZERO,
            created_ms=at_ms,
            updated_ms=at_ms,
            quote_quantity=request.quote_quantity or ZERO,
            price=request.price or ZERO,
            stop_price=request.stop_price or ZERO,
            trailing_delta=request.trailing_delta or 0,
            time_in_force=request.time_in_force or TimeInForce.GTC,
            lock_price=self._lock_price(request),
            working_ms=NEVER if request.type in CONTINGENT else at_ms,
            iceberg=request.iceberg or ZERO,
            self_trade=request.self_trade,
            strategy=request.strategy,
        )

    def numbered(self, draft: VenueOrder, list_id: int, list_client_id: str) -> VenueOrder:
        """Give an order its number and its list."""
        order_id = self._state.next_id(f"order:{draft.symbol}")
        return replace(draft, order_id=order_id, list_id=list_id, list_client_id=list_client_id)

    def enter(self, order: VenueOrder, at_ms: int) -> VenueOrder:
        """Lock for an order, keep it and match it."""
        if order.type is OrderType.MARKET:
            return self._execution.take_market(order, at_ms)
        self._execution.accept((order,))
        return self._execution.take_limit(order, at_ms) if order.type is OrderType.LIMIT else order

    def check_engine(self, draft: VenueOrder) -> None:
        """Refuse what the balance does not cover, and what the present market makes impossible."""
        if draft.type is OrderType.MARKET:
            self._execution.require_market_funds(draft)
            return
        self.require(draft)
        self.check_market(draft)

    def check_market(self, draft: VenueOrder) -> None:
        """Refuse a maker that would take and a stop that would trigger."""
        last = self._state.books[draft.symbol].last
        if draft.type is OrderType.LIMIT_MAKER:
            touches = [self._execution.touch(draft.symbol, draft.side)]
            touches += [
                order.price
                for order in self._state.open_orders(draft.symbol)
                if order.rests and order.side is not draft.side
            ]
            if draft.price >= min(touches) if draft.side is Side.BUY else draft.price <= max(touches):
                raise would_take()
        if draft.is_dormant and draft.stop_price > 0:
            reached = draft.stop_price >= last if draft.triggers_on_fall else draft.stop_price <= last
            if reached:
                raise would_trigger()

    def require(self, *drafts: VenueOrder) -> None:
        """Refuse one order, or the legs of one OCO, that the free balance does not cover."""
        if self._state.account.of(drafts[0].lock_asset).free < max(draft.locked for draft in drafts):
            raise insufficient_balance()

    def refuse_duplicates(self, client_ids: Sequence[str], list_client_id: str = "") -> None:
        """Refuse client ids that open orders or lists carry."""
        for order in self._state.open_orders():
            if order.client_id in client_ids or (list_client_id and order.list_client_id == list_client_id):
                raise duplicate_order()

    def _place_waiting(self, working: VenueOrder, at_ms: int) -> None:
        legs = [leg for leg in self._state.group(working) if leg.waits] if not working.pending else []
        if not legs:
            return
        quantity = self._bought(working) if legs[0].sized_by_working else None
        placed = [self._placed(leg, leg.quantity if quantity is None else quantity, at_ms) for leg in legs]
        try:
            self._check_waiting(placed)
        except VenueError:
            for leg in legs:
                self._execution.update(leg.ended(OrderStatus.EXPIRED, at_ms, Expiry.REFUSED))
            return
        if len(placed) == 1:
            self.enter(placed[0], at_ms)
        else:
            self._execution.accept(placed)

    def _check_waiting(self, placed: Sequence[VenueOrder]) -> None:
        symbol = placed[0].symbol
        requests = [request_of(leg) for leg in placed]
        for request in requests:
            filters.check_filters(request, self._state.rules_of(symbol), self._reference(symbol))
        if len(placed) == 1:
            self.check_engine(placed[0])
            return
        self.require(*placed)
        below, above = requests
        check_relationship(OcoRequest("", above=above, below=below), self._state.books[symbol].last)
        for leg in placed:
            self.check_market(leg)

    def _reference(self, symbol: Symbol) -> Decimal:
        allowed = self._state.price_ranges.get(symbol)
        return self._state.books[symbol].last if allowed is None else allowed.reference

    def _placed(self, leg: VenueOrder, quantity: Decimal, at_ms: int) -> VenueOrder:
        return leg.placed(quantity, self._lock_price(request_of(leg)), at_ms)

    def _bought(self, working: VenueOrder) -> Decimal:
        kept = sum(
            (
                trade.quantity - (trade.fee if trade.fee_asset == working.symbol.base else ZERO)
                for trade in self._state.trades_of(working)
            ),
            ZERO,
        )
        return self._state.rules_of(working.symbol).quantity_down(kept)

    def _lock_price(self, request: OrderRequest) -> Decimal:
        trailed = self._state.books[request.symbol].last * (1 + (request.trailing_delta or 0) / BASIS_POINTS)
        return request.price or request.stop_price or trailed


def request_of(order: VenueOrder) -> OrderRequest:
    """Give the request that would place an order as it is."""
    return OrderRequest(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        client_id=order.client_id,
        quantity=order.quantity,
        price=order.price or None,
        stop_price=order.stop_price or None,
        trailing_delta=order.trailing_delta or None,
        time_in_force=order.time_in_force,
        iceberg=order.iceberg or None,
    )

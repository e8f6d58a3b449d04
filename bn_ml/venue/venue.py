"""A Binance-Spot-faithful exchange for one account: pure, deterministic, exact, told the time by its callers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO, Bar, MarketRules, Quote, Symbol, to_ms
from bn_ml.domain.orders import OrderStatus, Side
from bn_ml.venue import filters
from bn_ml.venue.account import FeeRates
from bn_ml.venue.entry import Entry, request_of
from bn_ml.venue.errors import (
    HALF_REPLACED,
    NOT_REPLACED,
    VenueError,
    amend_rejected,
    unknown_order,
)
from bn_ml.venue.execution import Execution
from bn_ml.venue.filters import AccountLimits
from bn_ml.venue.liquidity import Level, Liquidity, book_of
from bn_ml.venue.order_lists import OcoRequest, OtoRequest, check_oto_structure, check_relationship, check_structure
from bn_ml.venue.orders import NEVER, Expiry, OrderRequest, VenueOrder, VenueTrade
from bn_ml.venue.path import PricePath
from bn_ml.venue.persistence import VenuePersistence
from bn_ml.venue.price_range import PriceRange
from bn_ml.venue.replacement import ReplacementFailed
from bn_ml.venue.state import LISTS, VenueState

MAX_AMENDS = 10


class Venue:
    """Takes orders, quotes and bars. Whatever changed is saved before a call returns; refusals are `VenueError`."""

    def __init__(
        self,
        persistence: VenuePersistence,
        *,
        fees: FeeRates | None = None,
        liquidity: Liquidity | None = None,
        limits: AccountLimits | None = None,
    ) -> None:
        """Take up where the persistence left off."""
        self.state = VenueState(persistence)
        self._liquidity = liquidity or Liquidity()
        self.fees = fees or FeeRates()
        self.limits = limits or AccountLimits()
        self._execution = Execution(self.state, self._liquidity, self.fees)
        self._entry = Entry(self.state, self._execution, self.limits)

    def set_rules(self, rules: MarketRules) -> None:
        """List a symbol, or change its filters or its trading status."""
        self.state.rules[rules.symbol] = rules

    def deposit(self, asset: str, amount: Decimal) -> None:
        """Credit the account."""
        if not amount > 0:
            raise ValueError(f"deposit must be positive, got {amount} {asset}")
        self.state.account.move(asset, free=amount)
        self.state.deposits[asset] = self.state.deposits.get(asset, ZERO) + amount
        self.state.save()

    def balances(self) -> Mapping[str, Balance]:
        """Give all non-zero balances by asset."""
        return {asset: balance for asset, balance in self.state.account.all().items() if balance.total > 0}

    def check(self, request: OrderRequest) -> None:
        """Refuse what `place` would refuse before the engine."""
        self._entry.check((request,))

    def place(self, request: OrderRequest, now: datetime) -> VenueOrder:
        """Place one order and match it against the book; gives it as it stands afterwards."""
        self._entry.check((request,))
        order = self._entry.place(request, to_ms(now))
        self.state.save()
        return order

    def place_oco(self, oco: OcoRequest, now: datetime) -> tuple[VenueOrder, VenueOrder]:
        """Place both legs of an OCO over one reserved quantity; gives them as (above, below)."""
        filters.check_client_id(oco.list_client_id, "listClientOrderId")
        for leg in oco.legs:
            filters.check_parameters(leg)
        check_structure(oco)
        self._entry.check(oco.legs)
        at_ms = to_ms(now)
        drafts = [self._entry.draft(leg, at_ms) for leg in oco.legs]
        self._entry.refuse_duplicates([leg.client_id for leg in oco.legs], oco.list_client_id)
        self._entry.require(*drafts)
        check_relationship(oco, self.state.books[oco.symbol].last)
        for draft in drafts:
            self._entry.check_market(draft)
        list_id = self.state.next_id(LISTS)
        below, above = (self._entry.numbered(draft, list_id, oco.list_client_id) for draft in drafts)
        self._execution.accept((below, above))
        self.state.save()
        return above, below

    def place_oto(self, oto: OtoRequest, now: datetime) -> tuple[VenueOrder, ...]:
        """Place a working order and note what is to follow it.

        Gives the working order as it stands after matching, and the waiting legs as they were accepted.
        """
        filters.check_client_id(oto.list_client_id, "listClientOrderId")
        for leg in oto.legs:
            filters.check_parameters(leg)
        check_oto_structure(oto)
        self._entry.check(oto.legs)
        self._entry.refuse_duplicates([leg.client_id for leg in oto.legs], oto.list_client_id)
        at_ms = to_ms(now)
        working, *pending = (self._entry.draft(leg, at_ms) for leg in oto.legs)
        self._entry.check_engine(working)
        list_id = self.state.next_id(LISTS)
        working = self._entry.numbered(working, list_id, oto.list_client_id)
        waiting = [
            self._entry.numbered(draft, list_id, oto.list_client_id).waiting(sized_by_working=oto.sized_by_working)
            for draft in pending
        ]
        for pending_leg in waiting:
            self.state.put(pending_leg)
        working = self._entry.enter(working, at_ms)
        self.state.save()
        return working, *waiting

    def cancel(self, symbol: Symbol, client_id: str, now: datetime) -> tuple[VenueOrder, ...]:
        """Cancel an open order and every open leg of its list, the named order first; raises when it is not open."""
        order = self._open_order(symbol, client_id)
        legs = [leg for leg in self.state.group(order) if leg.is_open]
        ended = {}
        for leg in sorted(legs, key=lambda leg: not leg.waits):
            ended[leg.order_id] = self._execution.end(leg, OrderStatus.CANCELED, to_ms(now))
        self.state.save()
        return ended.pop(order.order_id), *ended.values()

    def cancel_replace(self, client_id: str, request: OrderRequest, now: datetime) -> VenueOrder:
        """Cancel one order and place another, stopping when the cancel fails; filters and counts are tested first."""
        return self.replace(client_id, request, now)[1]

    def replace(
        self, client_id: str, request: OrderRequest, now: datetime, *, stop_on_failure: bool = True
    ) -> tuple[tuple[VenueOrder, ...], VenueOrder]:
        """Cancel one order and place another; gives the cancelled orders and the placed one.

        Raises `ReplacementFailed` unless both succeed. Without `stop_on_failure` the order is placed even when the
        cancel fails.
        """
        try:
            filters.check_replaceable(self.state.rules_of(request.symbol))
            self._entry.check((request,))
        except VenueError as refusal:
            raise ReplacementFailed(NOT_REPLACED, cancel=None, order=refusal) from refusal
        cancelled: tuple[VenueOrder, ...] = ()
        cancel_refusal = None
        try:
            cancelled = self.cancel(request.symbol, client_id, now)
        except VenueError as refusal:
            if stop_on_failure:
                raise ReplacementFailed(NOT_REPLACED, cancel=refusal, order=None) from refusal
            cancel_refusal = refusal
        try:
            order = self._entry.place(request, to_ms(now))
        except VenueError as refusal:
            outcome = HALF_REPLACED if cancel_refusal is None else NOT_REPLACED
            raise ReplacementFailed(outcome, cancel=cancel_refusal, order=refusal, cancelled=cancelled) from refusal
        self.state.save()
        if cancel_refusal is not None:
            raise ReplacementFailed(HALF_REPLACED, cancel=cancel_refusal, order=None, placed=order)
        return cancelled, order

    def amend(
        self, order: VenueOrder, quantity: Decimal, client_id: str, now: datetime, *, maximum: int = MAX_AMENDS
    ) -> VenueOrder:
        """Lower the quantity of an open order, which keeps its place and takes a new client id."""
        if not order.is_open:
            raise unknown_order()
        if order.amends >= maximum or order.waits or not order.executed < quantity < order.quantity:
            raise amend_rejected()
        self._entry.refuse_duplicates([client_id])
        filters.check_filters(
            request_of(replace(order, quantity=quantity)),
            self.state.rules_of(order.symbol),
            self.state.books[order.symbol].last,
        )
        amended = order.amended(quantity, client_id, to_ms(now))
        self._execution.update(amended)
        self.state.save()
        return amended

    def expire_all(self, symbol: Symbol, now: datetime) -> None:
        """End every open order of a symbol, as the venue does when it stops trading it."""
        for order in sorted(self.state.open_orders(symbol), key=lambda order: order.waits):
            current = self.state.by_order_id(symbol, order.order_id)
            if current is not None and current.is_open:
                self._execution.end(current, OrderStatus.EXPIRED, to_ms(now), Expiry.EXCHANGE)
        self.state.save()

    def delist(self, symbol: Symbol, now: datetime) -> None:
        """End every open order of a symbol and forget the symbol."""
        self.expire_all(symbol, now)
        self.state.rules.pop(symbol, None)

    def set_price_range(self, symbol: Symbol, allowed: PriceRange | None) -> None:
        """Bound what takers may trade at; None lifts the bound."""
        if allowed is None:
            self.state.price_ranges.pop(symbol, None)
        else:
            self.state.price_ranges[symbol] = allowed

    def ladder(self, symbol: Symbol, side: Side) -> tuple[Level, ...]:
        """Give what a taker of `side` can take, best level first; empty before the first quote."""
        return self._execution.ladder(symbol, side) if symbol in self.state.books else ()

    def find(self, symbol: Symbol, *, client_id: str = "", order_id: int | None = None) -> VenueOrder | None:
        """Give an order by the venue's number, else the newest with a client id; None when there never was one."""
        if order_id is not None:
            return self.state.by_order_id(symbol, order_id)
        return self.state.by_client_id(symbol, client_id)

    def open_orders(self, symbol: Symbol | None = None) -> Sequence[VenueOrder]:
        """Give the open orders of a symbol, or of all."""
        return self.state.open_orders(symbol)

    def my_trades(self, order: VenueOrder) -> Sequence[VenueTrade]:
        """Give the trades of an order, oldest first."""
        return self.state.trades_of(order)

    def on_quote(self, quote: Quote) -> None:
        """Let a quote act on the symbol's orders; one older than what is known is ignored."""
        symbol = quote.symbol
        rules = self.state.rules_of(symbol)
        known = self.state.books.get(symbol)
        if known is not None and to_ms(quote.at) < known.at_ms:
            return
        self.state.books[symbol] = known.updated(quote) if known else book_of(quote)
        if rules.trading:
            PricePath(self.state, self._execution, symbol, before_ms=None).follow_quote(to_ms(quote.at))
        self.state.save_if_changed()

    def on_bar(self, symbol: Symbol, bar: Bar) -> None:
        """Let a closed bar act on orders placed before it opened; one already used, or without trades, does nothing."""
        open_ms = to_ms(bar.open_at)
        if open_ms < self.state.synced_ms.get(symbol, NEVER):
            return
        rules = self.state.rules_of(symbol)
        self.state.synced_ms[symbol] = to_ms(bar.close_at)
        if not rules.trading or bar.volume == 0:
            return
        PricePath(self.state, self._execution, symbol, before_ms=open_ms).follow_bar(bar, self._liquidity, rules)
        self.state.save_if_changed()

    def _open_order(self, symbol: Symbol, client_id: str) -> VenueOrder:
        order = self.state.by_client_id(symbol, client_id)
        if order is None or not order.is_open:
            raise unknown_order()
        return order

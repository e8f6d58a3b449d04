"""A Binance-Spot-faithful exchange for one account: pure, deterministic, exact, told the time by its callers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO, Bar, MarketRules, Quote, Symbol, to_ms
from bn_ml.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from bn_ml.venue import filters
from bn_ml.venue.account import FeeRates
from bn_ml.venue.errors import (
    CancelReplaceError,
    VenueError,
    duplicate_order,
    insufficient_balance,
    market_closed,
    unknown_order,
    would_take,
    would_trigger,
)
from bn_ml.venue.execution import Execution
from bn_ml.venue.filters import AccountLimits
from bn_ml.venue.liquidity import Level, Liquidity, book_of
from bn_ml.venue.matching import cost, size
from bn_ml.venue.order_lists import OcoRequest, check_relationship, check_structure
from bn_ml.venue.orders import BASIS_POINTS, CONTINGENT, NEVER, NO_LIST, OrderRequest, VenueOrder, VenueTrade
from bn_ml.venue.path import PricePath
from bn_ml.venue.persistence import VenuePersistence
from bn_ml.venue.state import LISTS, VenueState, held


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
        self._limits = limits or AccountLimits()
        self._execution = Execution(self.state, self._liquidity, fees or FeeRates())

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

    def place(self, request: OrderRequest, now: datetime) -> VenueOrder:
        """Place one order and match it against the book; gives it as it stands afterwards."""
        self._check((request,))
        order = self._placed(request, to_ms(now))
        self.state.save()
        return order

    def place_oco(self, oco: OcoRequest, now: datetime) -> tuple[VenueOrder, VenueOrder]:
        """Place both legs of an OCO over one reserved quantity; gives them as (above, below)."""
        filters.check_client_id(oco.list_client_id, "listClientOrderId")
        for leg in oco.legs:
            filters.check_parameters(leg)
        check_structure(oco)
        self._check(oco.legs)
        if any(order.list_client_id == oco.list_client_id for order in self.state.open_orders()):
            raise duplicate_order()
        at_ms = to_ms(now)
        drafts = [self._draft(leg, at_ms) for leg in oco.legs]
        for draft in drafts:
            self._refuse_duplicate(draft.client_id)
        self._require(drafts[0].lock_asset, max(draft.locked for draft in drafts))
        check_relationship(oco, self.state.books[oco.symbol].last)
        for draft in drafts:
            self._check_engine(draft)
        list_id = self.state.next_id(LISTS)
        below, above = (self._numbered(draft, list_id, oco.list_client_id) for draft in drafts)
        self._execution.accept((below, above))
        self.state.save()
        return above, below

    def cancel(self, symbol: Symbol, client_id: str, now: datetime) -> tuple[VenueOrder, ...]:
        """Cancel an open order and every open leg of its list, the named order first; raises when it is not open."""
        order = self._open_order(symbol, client_id)
        ended = [self._execution.end(order, OrderStatus.CANCELED, to_ms(now))]
        for leg in self.state.group(order):
            if leg.is_open:
                ended.append(self._execution.end(leg, OrderStatus.CANCELED, to_ms(now)))
        self.state.save()
        return tuple(ended)

    def cancel_replace(self, client_id: str, request: OrderRequest, now: datetime) -> VenueOrder:
        """Cancel one order and place another, stopping when the cancel fails; filters and counts are tested first."""
        try:
            self._check((request,))
        except VenueError as refusal:
            raise CancelReplaceError(-2022, "Order cancel-replace failed.", cancel=None, order=refusal) from refusal
        try:
            self.cancel(request.symbol, client_id, now)
        except VenueError as refusal:
            raise CancelReplaceError(-2022, "Order cancel-replace failed.", cancel=refusal, order=None) from refusal
        try:
            order = self._placed(request, to_ms(now))
        except VenueError as refusal:
            text = "Order cancel-replace partially failed."
            raise CancelReplaceError(-2021, text, cancel=None, order=refusal) from refusal
        self.state.save()
        return order

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

    def _check(self, requests: Sequence[OrderRequest]) -> None:
        symbol = requests[0].symbol
        rules = self.state.rules_of(symbol)
        for request in requests:
            filters.check_parameters(request)
            filters.check_precision(request)
        if not rules.trading or symbol not in self.state.books:
            raise market_closed()
        last = self.state.books[symbol].last
        for request in requests:
            filters.check_filters(request, rules, last)
        opened = self.state.open_orders()
        filters.check_counts(requests, rules, opened, self._limits)
        for request in requests:
            filters.check_position(request, held(self.state, symbol.base), opened, self._limits)

    def _placed(self, request: OrderRequest, at_ms: int) -> VenueOrder:
        self._refuse_duplicate(request.client_id)
        draft = self._draft(request, at_ms)
        if request.type is OrderType.MARKET:
            trades = self._execution.market_trades(draft)
            quantity = draft.quantity or self._bought_for_quote(draft, trades)
            order = replace(self._numbered(draft, NO_LIST, ""), quantity=quantity)
            return self._execution.take_market(order, trades, at_ms)
        self._require(draft.lock_asset, draft.locked)
        self._check_engine(draft)
        order = self._numbered(draft, NO_LIST, "")
        self._execution.accept((order,))
        return self._execution.take_limit(order, at_ms) if request.type is OrderType.LIMIT else order

    def _draft(self, request: OrderRequest, at_ms: int) -> VenueOrder:
        last = self.state.books[request.symbol].last
        trailed = last * (1 + (request.trailing_delta or 0) / BASIS_POINTS)
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
            lock_price=request.price or request.stop_price or trailed,
            working_ms=NEVER if request.type in CONTINGENT else at_ms,
        )

    def _numbered(self, draft: VenueOrder, list_id: int, list_client_id: str) -> VenueOrder:
        order_id = self.state.next_id(f"order:{draft.symbol}")
        return replace(draft, order_id=order_id, list_id=list_id, list_client_id=list_client_id)

    def _bought_for_quote(self, draft: VenueOrder, trades: Sequence[Level]) -> Decimal:
        price = trades[-1].price if trades else self.state.books[draft.symbol].last
        unspent = draft.quote_quantity - cost(trades)
        return size(trades) + self.state.rules_of(draft.symbol).quantity_down(unspent / price)

    def _refuse_duplicate(self, client_id: str) -> None:
        if any(order.client_id == client_id for order in self.state.open_orders()):
            raise duplicate_order()

    def _require(self, asset: str, amount: Decimal) -> None:
        if self.state.account.of(asset).free < amount:
            raise insufficient_balance()

    def _check_engine(self, draft: VenueOrder) -> None:
        last = self.state.books[draft.symbol].last
        if draft.type is OrderType.LIMIT_MAKER:
            touch = self._execution.touch(draft.symbol, draft.side)
            if draft.price >= touch if draft.side is Side.BUY else draft.price <= touch:
                raise would_take()
        if draft.is_dormant and draft.stop_price > 0:
            reached = draft.stop_price >= last if draft.triggers_on_fall else draft.stop_price <= last
            if reached:
                raise would_trigger()

    def _open_order(self, symbol: Symbol, client_id: str) -> VenueOrder:
        order = self.state.by_client_id(symbol, client_id)
        if order is None or not order.is_open:
            raise unknown_order()
        return order

"""What happens to orders: acceptance, trades, triggers, endings; what each does to balances and the other leg."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import OrderStatus, Side, TimeInForce
from bn_ml.venue.account import DISCOUNT_ASSET, FeeRates, truncate
from bn_ml.venue.errors import insufficient_balance
from bn_ml.venue.liquidity import Level, Liquidity
from bn_ml.venue.matching import cost, size
from bn_ml.venue.order_lists import group_lock, siblings_ended, waiting_behind
from bn_ml.venue.orders import PRICED, Expiry, VenueOrder, VenueTrade
from bn_ml.venue.state import VenueState
from bn_ml.venue.taking import Taking, Wish, plan_taking


class Execution:
    """Carries orders from one state to the next and settles what that moves."""

    def __init__(self, state: VenueState, liquidity: Liquidity, fees: FeeRates) -> None:
        """Work on a venue's state."""
        self._state = state
        self._liquidity = liquidity
        self._fees = fees
        self.on_filled: Callable[[VenueOrder, int], None] = _nothing_waits

    def ladder(self, symbol: Symbol, side: Side) -> tuple[Level, ...]:
        """Give what a taker of `side` can take."""
        return self._liquidity.ladder(self._state.books[symbol], side, self._state.rules_of(symbol))

    def touch(self, symbol: Symbol, side: Side) -> Decimal:
        """Give the price a taker of `side` meets first."""
        rules = self._state.rules_of(symbol)
        price = self._liquidity.touch(self._state.books[symbol], side)
        return rules.price_up(price) if side is Side.BUY else rules.price_down(price)

    def accept(self, orders: Sequence[VenueOrder]) -> None:
        """Lock for new orders (one order, or the legs of one list) and keep them; refuses what is not covered."""
        self._state.account.lock(orders[0].lock_asset, group_lock(orders))
        for order in orders:
            self._state.put(order)

    def require_market_funds(self, draft: VenueOrder) -> None:
        """Refuse a MARKET order the free balance does not cover."""
        trades = self.plan(draft, budget=draft.quote_quantity or None).trades
        if draft.side is Side.BUY:
            needed = max(cost(trades), draft.quote_quantity)
        else:
            needed = size(trades) if draft.quote_quantity else draft.quantity
        if self._state.account.of(draft.lock_asset).free < needed:
            raise insufficient_balance()

    def take_market(self, order: VenueOrder, at_ms: int) -> VenueOrder:
        """Keep a MARKET order and make its trades; what found nothing expires."""
        taking = self.plan(order, budget=order.quote_quantity or None)
        if order.quote_quantity:
            order = replace(order, quantity=size(taking.trades) + self._unspent_quantity(order, taking.trades))
        self._state.put(order)
        return self._take(order, taking, at_ms)

    def take_limit(self, order: VenueOrder, at_ms: int) -> VenueOrder:
        """Trade a limit order as far as its price allows; the rest stays, or expires if it may not rest."""
        taking = self.plan(order, limit=order.price)
        if order.time_in_force is TimeInForce.FOK and size(taking.trades) < order.remaining:
            if taking.rest_ends == Expiry.SELF_TRADE:
                return self._prevent(order, at_ms)
            return self.end(order, OrderStatus.EXPIRED, at_ms, taking.rest_ends)
        return self._take(order, taking, at_ms, rests=order.time_in_force is TimeInForce.GTC)

    def trigger(self, order: VenueOrder, at_ms: int) -> VenueOrder:
        """Fire a dormant order: the other leg ends, the order trades as a MARKET or LIMIT order."""
        order = order.fired(at_ms)
        siblings = siblings_ended(order, self._state.group(order), at_ms)
        self._change(order, *siblings)
        if order.type in PRICED:
            return self.take_limit(order, at_ms)
        budget = None
        if order.side is Side.BUY:
            order = replace(order, lock_price=ZERO)
            self._change(order)
            budget = self._state.account.of(order.lock_asset).free
        return self._take(order, self.plan(order, budget=budget), at_ms)

    def plan(self, order: VenueOrder, *, limit: Decimal | None = None, budget: Decimal | None = None) -> Taking:
        """Plan what an order takes at once."""
        symbol = order.symbol
        quantity = None if order.quote_quantity else order.remaining
        return plan_taking(
            self.ladder(symbol, order.side),
            Wish(order.side, quantity, limit, budget, order.self_trade),
            self._state.rules_of(symbol),
            own=self._state.open_orders(symbol),
            allowed=self._state.price_ranges.get(symbol),
        )

    def trade(self, order: VenueOrder, level: Level, *, maker: bool, at_ms: int) -> VenueOrder:
        """Book one trade: balances, commission, the order, the end of the other leg."""
        quote = truncate(level.price * level.quantity)
        after = order.filled(level.quantity, quote, at_ms)
        siblings = siblings_ended(order, self._state.group(order), at_ms)
        released = self._put(after, *siblings)
        base_asset, quote_asset = order.symbol.base, order.symbol.quote
        account = self._state.account
        if order.side is Side.SELL:
            account.move(base_asset, free=released - level.quantity, locked=-released)
            account.move(quote_asset, free=quote)
        else:
            account.move(quote_asset, free=released - quote, locked=-released)
            account.move(base_asset, free=level.quantity)
        fee, fee_asset = self._commission(order, level, quote, maker=maker)
        account.move(fee_asset, free=-fee)
        if not maker:
            book = self._state.books[order.symbol]
            self._state.books[order.symbol] = book.after_taking(order.side, level.quantity)
        self._state.add_trade(
            VenueTrade(
                trade_id=self._state.next_id(f"trade:{order.symbol}"),
                order_id=order.order_id,
                symbol=order.symbol,
                client_id=order.client_id,
                side=order.side,
                price=level.price,
                quantity=level.quantity,
                quote_quantity=quote,
                fee=fee,
                fee_asset=fee_asset,
                maker=maker,
                at_ms=at_ms,
            )
        )
        if after.status is OrderStatus.FILLED:
            self.on_filled(after, at_ms)
        return after

    def end(self, order: VenueOrder, status: OrderStatus, at_ms: int, reason: str = "") -> VenueOrder:
        """End one order and give back what it alone reserved; legs waiting for it end too."""
        ended = order.ended(status, at_ms, reason)
        waiting = waiting_behind(order, self._state.group(order))
        self._change(ended, *(leg.ended(OrderStatus.EXPIRED, at_ms, Expiry.WORKING_ENDED) for leg in waiting))
        return ended

    def update(self, order: VenueOrder) -> None:
        """Keep an order whose change moves no money."""
        self._change(order)

    def _take(self, order: VenueOrder, taking: Taking, at_ms: int, *, rests: bool = False) -> VenueOrder:
        for own in taking.expiring:
            self._prevent(own, at_ms)
        for trade in taking.trades:
            order = self.trade(order, trade, maker=False, at_ms=at_ms)
        if not order.is_open:
            return order
        if taking.rest_ends == Expiry.SELF_TRADE:
            return self._prevent(order, at_ms)
        if rests and not taking.rest_ends:
            return order
        ran_dry = "" if order.type in PRICED else Expiry.NO_LIQUIDITY
        return self.end(order, OrderStatus.EXPIRED, at_ms, taking.rest_ends or ran_dry)

    def _prevent(self, order: VenueOrder, at_ms: int) -> VenueOrder:
        group = self._state.group(order)
        ended = order.prevented_by(Expiry.SELF_TRADE, at_ms)
        waiting = (leg.ended(OrderStatus.EXPIRED, at_ms, Expiry.WORKING_ENDED) for leg in waiting_behind(order, group))
        self._change(ended, *siblings_ended(order, group, at_ms), *waiting)
        return ended

    def _unspent_quantity(self, order: VenueOrder, trades: Sequence[Level]) -> Decimal:
        price = trades[-1].price if trades else self._state.books[order.symbol].last
        unspent = order.quote_quantity - cost(trades)
        return self._state.rules_of(order.symbol).quantity_down(unspent / price)

    def _change(self, *orders: VenueOrder) -> None:
        released = self._put(*orders)
        if released:
            self._state.account.unlock(orders[0].lock_asset, released)

    def _put(self, *orders: VenueOrder) -> Decimal:
        before = group_lock(self._state.group(orders[0]))
        for order in orders:
            self._state.put(order)
        return before - group_lock(self._state.group(orders[0]))

    def _commission(self, order: VenueOrder, level: Level, quote: Decimal, *, maker: bool) -> tuple[Decimal, str]:
        rate = self._fees.rate(maker=maker)
        if self._fees.pay_with_discount_asset:
            price = self._discount_asset_price(order.symbol, level.price)
            if price is not None:
                fee = truncate(quote * rate * self._fees.discount / price)
                if self._state.account.of(DISCOUNT_ASSET).free >= fee:
                    return fee, DISCOUNT_ASSET
        if order.side is Side.BUY:
            return truncate(level.quantity * rate), order.symbol.base
        return truncate(quote * rate), order.symbol.quote

    def _discount_asset_price(self, symbol: Symbol, price: Decimal) -> Decimal | None:
        if symbol.base == DISCOUNT_ASSET:
            return price
        if symbol.quote == DISCOUNT_ASSET:
            return Decimal(1)
        book = self._state.books.get(Symbol(f"{DISCOUNT_ASSET}/{symbol.quote}"))
        return book.last if book else None


def _nothing_waits(_order: VenueOrder, _at_ms: int) -> None:
    return

"""The exchange of paper trading and back-tests: the venue, brought up to date from market data before it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol, exact, from_ms, to_ms
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, OrderType, Replacement, TimeInForce
from bn_ml.errors import MarketDataError, Refused, StateError
from bn_ml.ports import Clock, MarketView
from bn_ml.settings import Settings
from bn_ml.venue.account import FeeRates
from bn_ml.venue.errors import CancelReplaceError, VenueError
from bn_ml.venue.liquidity import Liquidity
from bn_ml.venue.order_lists import OcoRequest
from bn_ml.venue.orders import TIMED, OrderRequest, VenueOrder, VenueTrade
from bn_ml.venue.persistence import VenuePersistence
from bn_ml.venue.venue import Venue

MAX_QUOTE_AGE = timedelta(seconds=60)
HALF_DONE = -2021
UNSTATED_CAPITAL = Decimal(1000)
"""What a paper account starts with when the capital is left to the exchange's balance, which paper does not have."""


def starting_capital(settings: Settings) -> Decimal:
    """Give the quote amount a paper account starts with."""
    capital = settings.risk.capital_total
    return UNSTATED_CAPITAL if isinstance(capital, str) else exact(capital)


def open_paper_exchange(
    settings: Settings, persistence: VenuePersistence, market: MarketView, clock: Clock
) -> PaperExchange:
    """Give the paper exchange of a configuration: its fees, its share of volume, its starting capital."""
    fee, share = exact(settings.risk.fees_pct), exact(settings.backtest.max_participation_pct)
    venue = Venue(persistence, fees=FeeRates(maker=fee, taker=fee), liquidity=Liquidity(participation=share))
    exchange = PaperExchange(venue, market, clock)
    exchange.fund(settings.base_quote, starting_capital(settings))
    return exchange


class PaperExchange:
    """The `Exchange` port over a `Venue`.

    Every call first walks the symbol's bars since the last one used, then its quote. A quote older than `max_quote_age`
    never fills anything: new orders are `Refused` (code 0), while queries and cancels answer from what is known, as a
    real exchange without trades would.
    """

    def __init__(
        self, venue: Venue, market: MarketView, clock: Clock, *, max_quote_age: timedelta = MAX_QUOTE_AGE
    ) -> None:
        """Join a venue to a market and a clock."""
        self._venue = venue
        self._market = market
        self._clock = clock
        self._max_quote_age = max_quote_age

    def fund(self, asset: str, amount: Decimal) -> None:
        """Credit the starting capital; does nothing once the account holds or ever held anything."""
        if not self._venue.state.account.all():
            self._venue.deposit(asset, amount)

    def sync(self, now: datetime) -> tuple[str, ...]:
        """Bring all symbols with open orders up to date; gives a line for each symbol whose data failed."""
        problems = []
        for symbol in self._venue.state.open_symbols():
            try:
                self._bring_up_to_date(symbol, now)
            except MarketDataError as error:
                problems.append(f"{symbol}: {error}")
        return tuple(problems)

    def balances(self) -> Mapping[str, Balance]:
        """Give all non-zero balances by asset."""
        self.sync(self._clock.now())
        return self._venue.balances()

    def create_order(self, intent: OrderIntent) -> OrderReport:
        """Place one order; raises `Refused` with the venue's code and text, or code 0 without a fresh quote."""
        now = self._clock.now()
        self._require_fresh(intent.symbol, now)
        try:
            order = self._venue.place(_request(intent), now)
        except VenueError as refusal:
            raise Refused(refusal.text, refusal.code) from refusal
        return self._report(order)

    def create_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[OrderReport, OrderReport]:
        """Place a sell OCO; gives the reports of target and stop; raises `Refused`."""
        now = self._clock.now()
        self._require_fresh(target.symbol, now)
        try:
            oco = OcoRequest(target.list_id or "", above=_maker(_request(target)), below=_request(stop))
            above, below = self._venue.place_oco(oco, now)
        except VenueError as refusal:
            raise Refused(refusal.text, refusal.code) from refusal
        return self._report(above), self._report(below)

    def replace_order(self, client_id: str, intent: OrderIntent) -> Replacement:
        """Cancel an order and place another; raises `Refused` when nothing was done."""
        now = self._clock.now()
        self._require_fresh(intent.symbol, now)
        try:
            placed = self._venue.cancel_replace(client_id, _request(intent), now)
        except CancelReplaceError as error:
            refusal = error.order or error.cancel or error
            if error.code != HALF_DONE:
                raise Refused(refusal.text, refusal.code) from error
            return Replacement(self._known(intent.symbol, client_id), None, refusal.text, refusal.code)
        return Replacement(self._known(intent.symbol, client_id), self._report(placed))

    def order_status(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        """Give the state and all fills of an order, None when there never was one."""
        self._try_up_to_date(symbol)
        order = self._venue.find(symbol, client_id=client_id)
        return None if order is None else self._report(order)

    def cancel_order(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        """Cancel an order and the other leg of its list; None when it is not open."""
        self._try_up_to_date(symbol)
        order = self._venue.find(symbol, client_id=client_id)
        if order is None or not order.is_open:
            return None
        return self._report(self._venue.cancel(symbol, client_id, self._clock.now())[0])

    def open_orders(self) -> Sequence[OrderReport]:
        """Give all open orders of the account."""
        self.sync(self._clock.now())
        return tuple(self._report(order) for order in self._venue.open_orders())

    def trades(self, symbol: Symbol, since: datetime) -> Sequence[Fill]:
        """Give all trades of a symbol from an instant on, oldest first."""
        self._try_up_to_date(symbol)
        made = (_fill(trade) for trade in self._venue.state.all_trades() if trade.symbol == symbol)
        return tuple(fill for fill in made if fill.at >= since)

    def _known(self, symbol: Symbol, client_id: str) -> OrderReport:
        order = self._venue.find(symbol, client_id=client_id)
        if order is None:
            raise StateError(f"{symbol}: the venue has lost order {client_id}")
        return self._report(order)

    def _require_fresh(self, symbol: Symbol, now: datetime) -> None:
        try:
            fresh = self._bring_up_to_date(symbol, now)
        except MarketDataError as error:
            raise Refused(f"{symbol}: no market data: {error}") from error
        if not fresh:
            raise Refused(f"{symbol}: quote older than {self._max_quote_age.total_seconds():.0f} s")

    def _try_up_to_date(self, symbol: Symbol) -> None:
        try:
            self._bring_up_to_date(symbol, self._clock.now())
        except MarketDataError:
            return

    def _bring_up_to_date(self, symbol: Symbol, now: datetime) -> bool:
        state = self._venue.state
        self._venue.set_rules(self._market.rules(symbol))
        since_ms = state.synced_ms.get(symbol)
        if since_ms is None or not self._venue.open_orders(symbol):
            state.synced_ms[symbol] = to_ms(now)
        else:
            since = from_ms(since_ms)
            for bar in self._market.path(symbol, since, now):
                if bar.open_at >= since and bar.close_at <= now:
                    self._venue.on_bar(symbol, bar)
        quote = self._market.quote(symbol)
        if now - quote.at > self._max_quote_age:
            return False
        self._venue.on_quote(quote)
        return True

    def _report(self, order: VenueOrder) -> OrderReport:
        return OrderReport(
            client_id=order.client_id,
            symbol=order.symbol,
            side=order.side,
            status=order.status,
            quantity=order.quantity,
            executed_quantity=order.executed,
            executed_quote=order.executed_quote,
            exchange_id=str(order.order_id),
            fills=tuple(_fill(trade) for trade in self._venue.my_trades(order)),
            list_id=order.list_client_id or None,
        )


def _request(intent: OrderIntent) -> OrderRequest:
    time_in_force = intent.time_in_force
    if time_in_force is None and intent.type in TIMED:
        time_in_force = TimeInForce.GTC
    return OrderRequest(
        symbol=intent.symbol,
        side=intent.side,
        type=intent.type,
        client_id=intent.client_id,
        quantity=intent.quantity,
        price=intent.limit_price,
        stop_price=intent.stop_price,
        trailing_delta=intent.trailing_bp or None,
        time_in_force=time_in_force,
    )


def _maker(request: OrderRequest) -> OrderRequest:
    if request.type is not OrderType.LIMIT:
        return request
    return OrderRequest(
        request.symbol,
        request.side,
        OrderType.LIMIT_MAKER,
        request.client_id,
        quantity=request.quantity,
        price=request.price,
    )


def _fill(trade: VenueTrade) -> Fill:
    return Fill(
        trade_id=str(trade.trade_id),
        client_id=trade.client_id,
        symbol=trade.symbol,
        side=trade.side,
        price=trade.price,
        quantity=trade.quantity,
        quote_quantity=trade.quote_quantity,
        fee=trade.fee,
        fee_asset=trade.fee_asset,
        at=from_ms(trade.at_ms),
    )

"""A tiny deterministic market for tests of the venue and the paper exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.domain.market import Bar, MarketRules, Quote, Symbol, from_iso
from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side, TimeInForce
from bn_ml.errors import MarketDataError
from bn_ml.venue.account import FeeRates
from bn_ml.venue.filters import AccountLimits
from bn_ml.venue.liquidity import Liquidity
from bn_ml.venue.order_lists import OcoRequest
from bn_ml.venue.orders import OrderRequest
from bn_ml.venue.persistence import MemoryPersistence, VenuePersistence
from bn_ml.venue.venue import Venue

START = from_iso("2023-06-10T04:00:00Z")
SYMBOL = Symbol("ABC/USDT")
QUARTER = timedelta(minutes=15)


def rules(symbol: Symbol = SYMBOL, **changes: object) -> MarketRules:
    base = MarketRules(
        symbol,
        tick=Decimal("0.01"),
        step=Decimal("0.001"),
        min_notional=Decimal(5),
        min_price=Decimal("0.01"),
        max_price=Decimal(10000),
        min_quantity=Decimal("0.001"),
        max_quantity=Decimal(9000),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def quote(
    last: str = "100", *, at: datetime = START, spread: str = "0.02", depth: str = "2000000", symbol: Symbol = SYMBOL
) -> Quote:
    middle, half = Decimal(last), Decimal(spread) / 2
    return Quote(symbol, middle - half, middle + half, middle, at, "test", Decimal(depth), Decimal(200_000_000))


def bar(
    open_: str, high: str, low: str, close: str, *, at: datetime = START, volume: str = "100000", minutes: int = 15
) -> Bar:
    return Bar(
        at,
        at + timedelta(minutes=minutes),
        Decimal(open_),
        Decimal(high),
        Decimal(low),
        Decimal(close),
        Decimal(volume),
    )


def venue(
    *,
    usdt: str = "10000",
    base: str = "0",
    fees: FeeRates | None = None,
    liquidity: Liquidity | None = None,
    limits: AccountLimits | None = None,
    persistence: VenuePersistence | None = None,
) -> Venue:
    made = Venue(persistence or MemoryPersistence(), fees=fees, liquidity=liquidity, limits=limits)
    made.set_rules(rules())
    for asset, amount in (("USDT", usdt), ("ABC", base)):
        if Decimal(amount) > 0:
            made.deposit(asset, Decimal(amount))
    made.on_quote(quote())
    return made


def request(
    side: Side = Side.BUY,
    type_: OrderType = OrderType.LIMIT,
    quantity: str | None = "1",
    *,
    client_id: str = "a",
    price: str | None = None,
    stop: str | None = None,
    tif: TimeInForce | None = None,
    delta: int | None = None,
    spend: str | None = None,
    symbol: Symbol = SYMBOL,
) -> OrderRequest:
    if tif is None and type_ in (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT):
        tif = TimeInForce.GTC
    return OrderRequest(
        symbol,
        side,
        type_,
        client_id,
        quantity=None if quantity is None else Decimal(quantity),
        quote_quantity=None if spend is None else Decimal(spend),
        price=None if price is None else Decimal(price),
        stop_price=None if stop is None else Decimal(stop),
        trailing_delta=delta,
        time_in_force=tif,
    )


def oco(target: str = "110", stop: str = "95", quantity: str = "1", *, name: str = "o") -> OcoRequest:
    return OcoRequest(
        name,
        above=request(Side.SELL, OrderType.LIMIT_MAKER, quantity, client_id=f"{name}-t", price=target),
        below=request(Side.SELL, OrderType.STOP_LOSS, quantity, client_id=f"{name}-s", stop=stop),
    )


def intent(
    side: Side = Side.BUY,
    type_: OrderType = OrderType.MARKET,
    quantity: str = "1",
    *,
    client_id: str = "a",
    price: str | None = None,
    stop: str | None = None,
    tif: TimeInForce | None = None,
    list_id: str | None = None,
    symbol: Symbol = SYMBOL,
) -> OrderIntent:
    return OrderIntent(
        client_id,
        symbol,
        side,
        type_,
        Decimal(quantity),
        Purpose.ENTRY if side is Side.BUY else Purpose.EXIT,
        "p1",
        START,
        limit_price=None if price is None else Decimal(price),
        stop_price=None if stop is None else Decimal(stop),
        time_in_force=tif,
        list_id=list_id,
    )


class StepClock:
    """A clock tests move by hand."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def sleep_until(self, instant: datetime) -> None:
        self._now = max(self._now, instant)

    def monotonic(self) -> float:
        return (self._now - START).total_seconds()


class TinyMarket:
    """Bars of one symbol; the quote is the open of the bar that opens at the present instant, else the last close."""

    def __init__(self, clock: StepClock, bars: Sequence[Bar], *, symbol: Symbol = SYMBOL) -> None:
        self.clock = clock
        self.bars = list(bars)
        self.symbol = symbol
        self.down = False
        self.trading = True
        self.depth = Decimal(2_000_000)
        self.asked: list[tuple[datetime, datetime]] = []

    def quote(self, symbol: Symbol) -> Quote:
        self._require(symbol)
        now = self.clock.now()
        opening = [item for item in self.bars if item.open_at == now]
        if opening:
            return self._quote(opening[0].open, now)
        closed = [item for item in self.bars if item.close_at <= now]
        if not closed:
            raise MarketDataError(f"{symbol}: nothing yet")
        return self._quote(closed[-1].close, closed[-1].close_at)

    def path(self, symbol: Symbol, since: datetime, until: datetime) -> Sequence[Bar]:
        self._require(symbol)
        self.asked.append((since, until))
        return [item for item in self.bars if item.open_at >= since and item.close_at <= until]

    def atr_frac(self, symbol: Symbol) -> float:
        self._require(symbol)
        return 0.01

    def rules(self, symbol: Symbol) -> MarketRules:
        return rules(symbol, trading=self.trading)

    def _quote(self, price: Decimal, at: datetime) -> Quote:
        half = Decimal("0.01")
        return Quote(self.symbol, price - half, price + half, price, at, "test", self.depth, Decimal(10) ** 8)

    def _require(self, symbol: Symbol) -> None:
        if self.down or symbol != self.symbol:
            raise MarketDataError(f"{symbol}: no data")

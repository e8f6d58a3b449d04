"""What a client asks for, the order the venue makes of it, and each trade; with the order's state machine.

`NEW -> PARTIALLY_FILLED -> FILLED`, and from any open state `CANCELED` or `EXPIRED`. A contingent order waits dormant
in `NEW` until it triggers; then it is a MARKET or a LIMIT order by the same id. Instants are ms since 1970, -1 when not
yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from bn_ml.venue.account import truncate

NEVER = -1
NO_LIST = -1
BASIS_POINTS = Decimal(10_000)

CONTINGENT = frozenset(
    {OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
)
STOPS = frozenset({OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT})
PRICED = frozenset({OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
TIMED = PRICED - {OrderType.LIMIT_MAKER}


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order as a client sends it; None means the parameter was not sent. `trailing_delta` in basis points."""

    symbol: Symbol
    side: Side
    type: OrderType
    client_id: str
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trailing_delta: int | None = None
    time_in_force: TimeInForce | None = None


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """One order with what has become of it; `order_id` counts up per symbol.

    `lock_price` is the quote amount reserved per unit of an open buy. `best` is the best price a trailing order has
    seen since `trailing_ms`.
    """

    order_id: int
    symbol: Symbol
    side: Side
    type: OrderType
    client_id: str
    quantity: Decimal
    created_ms: int
    updated_ms: int
    status: OrderStatus = OrderStatus.NEW
    quote_quantity: Decimal = ZERO
    price: Decimal = ZERO
    stop_price: Decimal = ZERO
    trailing_delta: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    executed: Decimal = ZERO
    executed_quote: Decimal = ZERO
    lock_price: Decimal = ZERO
    triggered: bool = False
    best: Decimal = ZERO
    trailing_ms: int = NEVER
    working_ms: int = NEVER
    list_id: int = NO_LIST
    list_client_id: str = ""
    expiry_reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status.is_open

    @property
    def remaining(self) -> Decimal:
        """What has not traded yet."""
        return self.quantity - self.executed

    @property
    def is_dormant(self) -> bool:
        """Whether it waits for its trigger."""
        return self.type in CONTINGENT and not self.triggered

    @property
    def triggers_on_fall(self) -> bool:
        """Whether a contingent order fires when the last price falls to its level, else when it rises to it."""
        return (self.type in STOPS) is (self.side is Side.SELL)

    @property
    def trails(self) -> bool:
        """Whether the trigger follows the price."""
        return self.trailing_delta > 0

    @property
    def trigger_level(self) -> Decimal | None:
        """The price that fires a dormant order; None while a trailing one is not active."""
        if not self.trails:
            return self.stop_price
        if self.trailing_ms == NEVER:
            return None
        offset = self.trailing_delta / BASIS_POINTS
        return self.best * (1 - offset if self.triggers_on_fall else 1 + offset)

    @property
    def lock_asset(self) -> str:
        """The asset reserved for it."""
        return self.symbol.base if self.side is Side.SELL else self.symbol.quote

    @property
    def locked(self) -> Decimal:
        """What is reserved for it while it is open and rests."""
        if not self.is_open or self.type is OrderType.MARKET:
            return ZERO
        return self.remaining if self.side is Side.SELL else truncate(self.lock_price * self.remaining)

    def filled(self, quantity: Decimal, quote: Decimal, at_ms: int) -> VenueOrder:
        """Give the order after one more trade."""
        executed = self.executed + quantity
        if executed > self.quantity or not self.is_open:
            raise ValueError(f"{self.symbol} order {self.order_id}: cannot trade {quantity} more")
        status = OrderStatus.FILLED if executed == self.quantity else OrderStatus.PARTIALLY_FILLED
        return replace(
            self, executed=executed, executed_quote=self.executed_quote + quote, status=status, updated_ms=at_ms
        )

    def ended(self, status: OrderStatus, at_ms: int, reason: str = "") -> VenueOrder:
        """Give the order cancelled or expired; its trades stay."""
        if not self.is_open:
            raise ValueError(f"{self.symbol} order {self.order_id} has already ended {self.status.value}")
        return replace(self, status=status, updated_ms=at_ms, expiry_reason=reason)

    def fired(self, at_ms: int) -> VenueOrder:
        """Give the order after its trigger."""
        return replace(self, triggered=True, working_ms=at_ms, updated_ms=at_ms)

    def trailed(self, price: Decimal, at_ms: int) -> VenueOrder:
        """Give the order after a trade at `price`: its best price kept or improved, tracking begun if it had not."""
        if self.trailing_ms == NEVER:
            return replace(self, best=price, trailing_ms=at_ms, updated_ms=at_ms)
        best = max(self.best, price) if self.triggers_on_fall else min(self.best, price)
        return self if best == self.best else replace(self, best=best, updated_ms=at_ms)


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """One trade of one order; `trade_id` counts up per symbol."""

    trade_id: int
    order_id: int
    symbol: Symbol
    client_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    at_ms: int

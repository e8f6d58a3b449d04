"""What a client asks for, the order the venue makes of it, and each trade; with the order's state machine.

`NEW -> PARTIALLY_FILLED -> FILLED`, and from any open state `CANCELED` or `EXPIRED`. A contingent order waits dormant
in `NEW` until it triggers; then it is a MARKET or a LIMIT order by the same id. Instants are ms since 1970, -1 when not
yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from bn_ml.venue.account import truncate

NEVER = -1
NO_LIST = -1
NO_STRATEGY = (-1, -1)
BASIS_POINTS = Decimal(10_000)

CONTINGENT = frozenset(
    {OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
)
STOPS = frozenset({OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT})
PRICED = frozenset({OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
TIMED = PRICED - {OrderType.LIMIT_MAKER}
RESTING = frozenset({OrderType.LIMIT, OrderType.LIMIT_MAKER})


class SelfTrade(Enum):
    """What happens where an order would trade with another one of the same account."""

    NONE = "NONE"
    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"


class Expiry:
    """Why an order expired, in the venue's words; empty means its time in force."""

    OTHER_LEG = "OCO_TRIGGER"
    WORKING_ENDED = "OTO_PHASE_ONE_EXPIRED"
    REFUSED = "REJECTED"
    PRICE_RANGE = "EXECUTION_RULE_PRICE_RANGE_EXCEEDED"
    NO_LIQUIDITY = "INSUFFICIENT_LIQUIDITY"
    EXCHANGE = "EXCHANGE_CANCELED"
    SELF_TRADE = "SELF_TRADE_PREVENTION"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order as a client sends it; None means the parameter was not sent. `trailing_delta` in basis points.

    `strategy` is the client's own (id, type) label.
    """

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
    iceberg: Decimal | None = None
    self_trade: SelfTrade = SelfTrade.EXPIRE_MAKER
    strategy: tuple[int, int] = NO_STRATEGY


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """One order with what has become of it; `order_id` counts up per symbol.

    `lock_price` is the quote amount reserved per unit of an open buy. `best` is the best price a trailing order has
    seen since `trailing_ms`. `pending` marks a leg that is placed only once its list's working order is filled, and
    `sized_by_working` one whose quantity is what that order bought. `prevented` is what self-trade prevention
    took away.
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
    pending: bool = False
    sized_by_working: bool = False
    iceberg: Decimal = ZERO
    self_trade: SelfTrade = SelfTrade.EXPIRE_MAKER
    strategy: tuple[int, int] = NO_STRATEGY
    prevented: Decimal = ZERO
    amends: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status.is_open

    @property
    def remaining(self) -> Decimal:
        """What has not traded yet."""
        return self.quantity - self.executed

    @property
    def waits(self) -> bool:
        """Whether it is not placed yet: the working order of its list is not filled."""
        return self.status is OrderStatus.PENDING_NEW

    @property
    def rests(self) -> bool:
        """Whether it stands in the book at its limit price."""
        return self.is_open and not self.waits and not self.is_dormant

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
        if not self.is_open or self.waits or self.type is OrderType.MARKET:
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

    def prevented_by(self, reason: str, at_ms: int) -> VenueOrder:
        """Give the order ended because what is left of it would have traded with its own account."""
        return replace(self.ended(OrderStatus.EXPIRED, at_ms, reason), prevented=self.remaining)

    def waiting(self, *, sized_by_working: bool) -> VenueOrder:
        """Give the order as a leg that waits for its list's working order."""
        quantity = ZERO if sized_by_working else self.quantity
        return replace(
            self,
            status=OrderStatus.PENDING_NEW,
            pending=True,
            sized_by_working=sized_by_working,
            quantity=quantity,
            working_ms=NEVER,
        )

    def amended(self, quantity: Decimal, client_id: str, at_ms: int) -> VenueOrder:
        """Give the order with a smaller quantity under a new client id."""
        return replace(self, quantity=quantity, client_id=client_id, amends=self.amends + 1, updated_ms=at_ms)

    def placed(self, quantity: Decimal, lock_price: Decimal, at_ms: int) -> VenueOrder:
        """Give a waiting leg as it enters the market."""
        working_ms = NEVER if self.type in CONTINGENT else at_ms
        return replace(
            self,
            status=OrderStatus.NEW,
            quantity=quantity,
            lock_price=lock_price,
            working_ms=working_ms,
            updated_ms=at_ms,
        )

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

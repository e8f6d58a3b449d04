"""Orders as we mean them (intent), as the exchange reports them (report), and what it did (fill)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import ZERO, Symbol, require_utc

NEVER = datetime(9999, 12, 31, tzinfo=timezone.utc)
"""The deadline of an order nobody set one for: its absence never proves anything."""


class Side(Enum):
    """Which way an order trades."""

    BUY = "BUY"
    SELL = "SELL"


class OrderType(Enum):
    """Order types by the venue's own names."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"
    STOP_LOSS = "STOP_LOSS"
    STOP_LOSS_LIMIT = "STOP_LOSS_LIMIT"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"


class TimeInForce(Enum):
    """How long a limit order lives."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class Purpose(Enum):
    """Why an order exists."""

    ENTRY = "entry"
    STOP = "stop"
    TARGET = "target"
    EXIT = "exit"


class IntentState(Enum):
    """The life of an intent on disk. A row on disk means the order may have been sent."""

    SENT = "SENT"
    OPEN = "OPEN"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"
    NEVER_ACCEPTED = "NEVER_ACCEPTED"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can happen to the order any more."""
        return self not in (IntentState.SENT, IntentState.OPEN, IntentState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """What we mean to send, committed before it is sent, and sent at most once.

    `list_id` joins the two legs of an OCO. `reason` is the exit reason or entry note shown to users. `reserved_quote`
    is what a buy may spend at most, fees included. `trailing_bp` lets the venue itself trail a stop by so many basis
    points of the best price. `replaces` names the order that is cancelled in the same request. `created_at` is the
    venue's time: requests are stamped with it.
    """

    client_id: str
    symbol: Symbol
    side: Side
    type: OrderType
    quantity: Decimal
    purpose: Purpose
    position_id: str
    created_at: datetime
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    list_id: str | None = None
    tranche: str = ""
    reason: str = ""
    reference_price: Decimal | None = None
    reserved_quote: Decimal = ZERO
    trailing_bp: int = 0
    replaces: str = ""

    def __post_init__(self) -> None:
        """Refuse an order without a positive quantity."""
        require_utc(self.created_at)
        if not (self.quantity.is_finite() and self.quantity > 0):
            raise ValueError(f"{self.symbol}: order quantity must be positive, got {self.quantity}")


SWIFT_WINDOW = timedelta(seconds=1)
"""The longest receive window of orders that protect or close: one that was lost is known to be lost soon after."""


def receive_window(intent: OrderIntent, configured: timedelta) -> timedelta:
    """Give how long after `created_at` the venue may still take an order."""
    return configured if intent.purpose is Purpose.ENTRY else min(configured, SWIFT_WINDOW)


@dataclass(frozen=True, slots=True)
class Fill:
    """One trade of an order; `trade_id` is unique per symbol. The fee is in `fee_asset`.

    `order_id` is the exchange's own number of the order, for trades read by symbol whose `client_id` is empty.
    """

    trade_id: str
    client_id: str
    symbol: Symbol
    side: Side
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    fee: Decimal
    fee_asset: str
    at: datetime
    order_id: str = ""

    def __post_init__(self) -> None:
        """Refuse a fill without a positive price and quantity."""
        require_utc(self.at)
        if not (self.price > 0 and self.quantity > 0 and self.fee >= 0):
            raise ValueError(f"{self.symbol}: impossible fill {self.quantity} @ {self.price} fee {self.fee}")


class OrderStatus(Enum):
    """States by the venue's own names."""

    NEW = "NEW"
    PENDING_NEW = "PENDING_NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"

    @property
    def is_open(self) -> bool:
        """Whether the order can still trade."""
        return self in (OrderStatus.NEW, OrderStatus.PENDING_NEW, OrderStatus.PARTIALLY_FILLED)


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What the exchange says about one order. `fills` holds every trade of it known to the answer."""

    client_id: str
    symbol: Symbol
    side: Side
    status: OrderStatus
    quantity: Decimal
    executed_quantity: Decimal
    executed_quote: Decimal
    exchange_id: str
    fills: tuple[Fill, ...] = ()
    list_id: str | None = None


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a cancel-replace did: the order it ended and the new one, None when that was refused after the cancel."""

    canceled: OrderReport
    placed: OrderReport | None
    refusal: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """An intent with what has become of it.

    Its request carries `intent.created_at`; from `deadline` on the exchange can no longer accept it. `exchange_id` is
    empty until the exchange has shown the order.
    """

    intent: OrderIntent
    state: IntentState
    epoch: int = 0
    exchange_id: str = ""
    filled_quantity: Decimal = ZERO
    filled_quote: Decimal = ZERO
    reason: str = ""
    deadline: datetime = NEVER

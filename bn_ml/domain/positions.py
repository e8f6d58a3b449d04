"""What we own: positions, the tranches that protect them, and the partial exits taken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import ZERO, Symbol, iso, require_utc


class PositionStatus(Enum):
    """Whether anything is held."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"


class ExitReason(Enum):
    """Why a position, or a part of it, was sold."""

    STOP_LOSS = "stop_loss"
    HARD_DRAWDOWN = "hard_drawdown"
    TP1 = "tp1"
    TP2 = "tp2"
    TRAILING_STOP = "trailing_stop"
    TIME_STOP = "time_stop"
    SELL_SIGNAL = "sell_signal"
    KILL_SWITCH = "kill_switch"
    BELOW_MIN_SIZE = "below_min_size"
    PROTECTION_FAILED = "protection_failed"
    RECONCILED = "reconciled"
    SYMBOL_DELISTED = "symbol_delisted"


@dataclass(frozen=True, slots=True)
class Tranche:
    """A share of a position with its own resting orders.

    `label` is `tp1`, `tp2` or `runner`. `quantity` is what was planned for it, more only when a rest too small for an
    order of its own joined it; what is left of it follows from the fills of `client_ids`, every order ever committed
    for it. `target_price` is None for a tranche that only has a stop. `stop_client_id` is empty while no stop was ever
    placed.
    """

    label: str
    quantity: Decimal
    stop_price: Decimal
    stop_client_id: str = ""
    target_price: Decimal | None = None
    target_client_id: str = ""
    list_id: str = ""
    client_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a tranche without quantity or stop."""
        if self.quantity <= 0 or self.stop_price <= 0:
            raise ValueError(f"tranche {self.label}: quantity and stop must be positive")


@dataclass(frozen=True, slots=True)
class Leg:
    """One partial exit: what was sold, for how much, why, and what it earned net of all fees."""

    reason: ExitReason
    quantity: Decimal
    price: Decimal
    pnl_quote: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """A long holding of one symbol.

    `initial_quantity` is what was received (after a base fee). `cost_quote` is what was paid for it in all, fees in the
    quote asset included; `cost_open_quote` the part that still belongs to `remaining_quantity`. `proceeds_quote` is
    what exits have brought, net of fees. `stop` is the lowest resting stop level and never moves down.
    `max_price_seen` is the highest price since the entry.
    """

    position_id: str
    symbol: Symbol
    status: PositionStatus
    opened_at: datetime
    entry_price: Decimal
    initial_quantity: Decimal
    remaining_quantity: Decimal
    cost_quote: Decimal
    stop: Decimal
    target_1: Decimal
    target_2: Decimal
    max_price_seen: Decimal
    cost_open_quote: Decimal = ZERO
    proceeds_quote: Decimal = ZERO
    fees_quote: Decimal = ZERO
    realized_quote: Decimal = ZERO
    tp1_hit: bool = False
    tp2_hit: bool = False
    trailing_active: bool = False
    tranches: tuple[Tranche, ...] = ()
    legs: tuple[Leg, ...] = ()
    planned_loss_quote: Decimal = ZERO
    atr_frac: float = 0.0
    confidence: float = 0.0
    score: float = 0.0
    bundle_version: int | None = None
    data_source: str = ""
    dust_quantity: Decimal = ZERO
    protected_at: datetime | None = None
    stop_replaced_at: datetime | None = None
    closed_at: datetime | None = None
    close_reason: ExitReason | None = None
    close_blocked_reason: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible positions."""
        require_utc(self.opened_at)
        if self.entry_price <= 0 or self.stop <= 0:
            raise ValueError(f"{self.symbol}: entry and stop must be positive, got {self.entry_price}/{self.stop}")
        if not ZERO <= self.remaining_quantity <= self.initial_quantity:
            raise ValueError(f"{self.symbol}: remaining {self.remaining_quantity} of {self.initial_quantity}")

    @property
    def is_open(self) -> bool:
        """Whether anything is held."""
        return self.status is PositionStatus.OPEN

    def notional_quote(self, price: Decimal) -> Decimal:
        """Worth of what remains at a price."""
        return self.remaining_quantity * price

    def unrealized_quote(self, price: Decimal) -> Decimal:
        """Profit of what remains at a price, before the exit fee."""
        return self.notional_quote(price) - self.cost_open_quote

    def as_dict(self) -> dict[str, object]:
        """Give the shape users see."""
        return {
            "symbol": str(self.symbol),
            "side": "LONG",
            "size_usdt": float(self.remaining_quantity * self.entry_price),
            "entry_price": float(self.entry_price),
            "stop_loss": float(self.stop),
            "take_profit_1": float(self.target_1),
            "take_profit_2": float(self.target_2),
            "opened_at": iso(self.opened_at),
            "status": self.status.value,
            "trailing_stop": self.trailing_active,
            "tp1_hit": self.tp1_hit,
            "tp2_hit": self.tp2_hit,
            "remaining_base_qty": float(self.remaining_quantity),
            "pnl_usdt": float(self.realized_quote),
            "close_reason": self.close_reason.value if self.close_reason else None,
        }

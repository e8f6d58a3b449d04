"""What the account is worth and what it has gained or lost in the period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import ZERO, Symbol


class ControlState(Enum):
    """What may be done: anything; exits and stops only; cancel and flatten only."""

    NORMAL = "NORMAL"
    REDUCE_ONLY = "REDUCE_ONLY"
    HALTED = "HALTED"


@dataclass(frozen=True, slots=True)
class Control:
    """The committed control state; `epoch` grows with every start and every change.

    `owner` is the epoch of the start that owns the book: only its process may write orders.
    """

    epoch: int
    state: ControlState
    reason: str
    since: datetime
    set_by: str
    owner: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """What the exchange holds for us of one asset."""

    asset: str
    free: Decimal
    locked: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """Free plus locked."""
        return self.free + self.locked


@dataclass(frozen=True, slots=True)
class Period:
    """Counters of one UTC day or ISO week. Amounts in the quote asset.

    `key` is `2023-06-10` or `2023-W23`. `planned_loss` sums the loss planned (entry to stop) of trades opened in the
    period.
    """

    key: str
    opening_equity: Decimal
    realized: Decimal = ZERO
    planned_loss: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class TradeStatistics:
    """Counts and sums over closed positions, net of all fees, in the quote asset."""

    closed: int = 0
    wins: int = 0
    losses: int = 0
    sum_wins: Decimal = ZERO
    sum_losses: Decimal = ZERO
    consecutive_losses: int = 0
    loss_pause_until: datetime | None = None
    half_size: bool = False

    @property
    def win_rate(self) -> float:
        """Share of winners, 0 without trades."""
        return self.wins / self.closed if self.closed else 0.0

    @property
    def payoff(self) -> float:
        """Average win over average loss; 0 until both exist."""
        if not (self.wins and self.losses and self.sum_losses):
            return 0.0
        return float((self.sum_wins / self.wins) / (abs(self.sum_losses) / self.losses))


@dataclass(frozen=True, slots=True)
class AccountState:
    """The account as of `at`, rebuilt after every fill. Amounts in the quote asset.

    `equity` = free and locked quote plus positions at the bid. `exposure` = notional of positions plus what open and
    unresolved buys may still add. `cooldown_until` holds symbols closed at a loss. `equity_returns` are the changes of
    equity from one UTC day's opening to the next, oldest first.
    """

    at: datetime
    equity: Decimal
    quote_free: Decimal
    quote_total: Decimal
    exposure: Decimal
    unrealized: Decimal
    equity_peak: Decimal
    day: Period
    week: Period
    statistics: TradeStatistics = field(default_factory=TradeStatistics)
    symbol_exposure: Mapping[Symbol, Decimal] = field(default_factory=dict)
    cooldown_until: Mapping[Symbol, datetime] = field(default_factory=dict)
    reserved_quote: Decimal = ZERO
    equity_returns: tuple[float, ...] = ()

    @property
    def drawdown_frac(self) -> float:
        """Loss from the equity peak as a fraction of the peak."""
        return float(1 - self.equity / self.equity_peak) if self.equity_peak > 0 else 0.0

    @property
    def exposure_frac(self) -> float:
        """Exposure over equity."""
        return float(self.exposure / self.equity) if self.equity > 0 else 0.0

    def period_change_frac(self, period: Period) -> float:
        """Change of equity since the period opened, realized and unrealized."""
        return float(self.equity / period.opening_equity - 1) if period.opening_equity > 0 else 0.0

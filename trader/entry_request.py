"""Everything risk may look at to judge one entry, gathered before it judges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.account import AccountState, Control
from bn_ml.domain.market import ZERO, MarketRules, Quote, Symbol
from bn_ml.domain.orders import IntentRecord, Side
from bn_ml.domain.positions import Position
from bn_ml.domain.signals import Opportunity, ScanReport
from trader.breakers import BreakerStatus


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """One opportunity with the state of the market, the account and the bot at `now`.

    `positions` are the open ones, `intents` all that are not terminal. `orders_last_minute` counts orders sent in the
    last 60 s, `notional_today` the quote bought since UTC midnight. `fee_frac` is the account's own rate per side, None
    to take the configured one. `real_money` is True where orders spend real money. `equity_returns` are returns of
    equity per UTC day, oldest first, of the value-at-risk window.
    """

    opportunity: Opportunity
    quote: Quote
    rules: MarketRules
    account: AccountState
    control: Control
    scan: ScanReport
    now: datetime
    disk_free_mb: float
    positions: tuple[Position, ...]
    intents: tuple[IntentRecord, ...]
    breakers: tuple[BreakerStatus, ...]
    orders_last_minute: int = 0
    notional_today: Decimal = ZERO
    frozen: frozenset[Symbol] = frozenset()
    quarantined: frozenset[Symbol] = frozenset()
    data_source: str = ""
    real_money: bool = False
    fee_frac: Decimal | None = None
    equity_returns: tuple[float, ...] = ()

    @property
    def symbol(self) -> Symbol:
        """The symbol to be bought."""
        return self.opportunity.symbol

    @property
    def buys_in_flight(self) -> tuple[IntentRecord, ...]:
        """Buys that may still fill: sent, open or unknown."""
        return tuple(
            record for record in self.intents if record.intent.side is Side.BUY and not record.state.is_terminal
        )

    @property
    def held(self) -> tuple[Symbol, ...]:
        """Every symbol held or being bought, once each, in order."""
        held = [position.symbol for position in self.positions if position.is_open]
        return tuple(dict.fromkeys(held + [record.intent.symbol for record in self.buys_in_flight]))


def may_still_spend(record: IntentRecord) -> Decimal:
    """Give the quote amount an order that is not terminal may still spend, at most; 0 for sells and finished orders."""
    intent = record.intent
    if intent.side is not Side.BUY or record.state.is_terminal:
        return ZERO
    if intent.reserved_quote > 0:
        return max(intent.reserved_quote - record.filled_quote, ZERO)
    price = intent.limit_price or intent.reference_price or ZERO
    return max(intent.quantity - record.filled_quantity, ZERO) * price

"""The closed set of facts the journal keeps: past tense, frozen, aware UTC, small."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.market import Symbol, iso


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at an instant."""

    at: datetime

    @property
    def kind(self) -> str:
        """The name of the fact."""
        return type(self).__name__

    def payload(self) -> dict[str, object]:
        """Give the fields as plain values, in declared order, without the instant."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self) if item.name != "at"}


@dataclass(frozen=True, slots=True)
class LiveStarted(Event):
    """Trading with real money began after every check of the preflight."""

    account: str
    capital: Decimal
    config_hash: str


@dataclass(frozen=True, slots=True)
class CycleStarted(Event):
    """A turn of the loop began."""

    cycle: int


@dataclass(frozen=True, slots=True)
class ScanFinished(Event):
    """A scan ended; `funnel` counts symbols per reason code."""

    cycle: int
    symbols: int
    opportunities: int
    funnel: dict[str, int]


@dataclass(frozen=True, slots=True)
class RiskRefused(Event):
    """Risk refused an entry."""

    symbol: Symbol
    rule: str
    value: float
    limit: float


@dataclass(frozen=True, slots=True)
class EntryApproved(Event):
    """Risk approved an entry."""

    symbol: Symbol
    size_quote: Decimal
    binding: str
    confidence: float
    score: float


@dataclass(frozen=True, slots=True)
class OrderSent(Event):
    """An intent was committed and is about to be sent."""

    symbol: Symbol
    client_id: str
    side: str
    type: str
    quantity: Decimal
    purpose: str
    limit_price: Decimal | None
    stop_price: Decimal | None


@dataclass(frozen=True, slots=True)
class OrderRejected(Event):
    """The exchange definitively refused an order."""

    symbol: Symbol
    client_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OrderOutcomeUnknown(Event):
    """Nobody can say yet whether an order was placed."""

    symbol: Symbol
    client_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OrderFinished(Event):
    """An order reached a terminal state."""

    symbol: Symbol
    client_id: str
    state: str


@dataclass(frozen=True, slots=True)
class OrderFilled(Event):
    """One trade of one of our orders was booked."""

    symbol: Symbol
    client_id: str
    trade_id: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str


@dataclass(frozen=True, slots=True)
class OrderOverfilled(Event):
    """An order traded more than it asked for, or sold more than was held; all of it is booked."""

    symbol: Symbol
    client_id: str
    asked: Decimal
    filled: Decimal


@dataclass(frozen=True, slots=True)
class OrphanAdopted(Event):
    """An open order carries our kind of id and no intent: it counts as ours and nobody knows why it exists."""

    symbol: Symbol
    client_id: str
    side: str
    quantity: Decimal
    exchange_id: str


@dataclass(frozen=True, slots=True)
class ForeignOrderSeen(Event):
    """An open order of another program or person was seen for the first time; it is left alone."""

    symbol: Symbol
    client_id: str
    side: str
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class BalanceUnexplained(Event):
    """The exchange holds another amount of an asset than ledger and declared foreign amounts explain.

    `orders` are our open orders that touch the asset, `trades` those of the account that no order of ours explains.
    """

    asset: str
    ledger: Decimal
    foreign: Decimal
    expected: Decimal
    exchange: Decimal
    difference: Decimal
    orders: tuple[str, ...]
    trades: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForeignDeclared(Event):
    """An amount of an asset on the account was declared not ours; a negative one was taken back."""

    asset: str
    amount: Decimal
    note: str


@dataclass(frozen=True, slots=True)
class DifferenceWrittenOff(Event):
    """An operator accepted that an amount the ledger held is gone from the account; it earned nothing."""

    asset: str
    amount: Decimal
    note: str


@dataclass(frozen=True, slots=True)
class PositionReconciled(Event):
    """A part of a position is gone from the account; its cost is lost."""

    symbol: Symbol
    position_id: str
    missing: Decimal
    lost_quote: Decimal


@dataclass(frozen=True, slots=True)
class PositionOpened(Event):
    """Something is held."""

    symbol: Symbol
    position_id: str
    quantity: Decimal
    entry_price: Decimal
    stop: Decimal


@dataclass(frozen=True, slots=True)
class PositionProtected(Event):
    """Every tranche of a position has its stop resting on the exchange."""

    symbol: Symbol
    position_id: str
    tranches: int


@dataclass(frozen=True, slots=True)
class StopMoved(Event):
    """A stop was raised."""

    symbol: Symbol
    position_id: str
    old_stop: Decimal
    new_stop: Decimal


@dataclass(frozen=True, slots=True)
class LegTaken(Event):
    """A part of a position was sold."""

    symbol: Symbol
    position_id: str
    reason: str
    quantity: Decimal
    price: Decimal
    pnl_quote: Decimal


@dataclass(frozen=True, slots=True)
class PositionClosed(Event):
    """Nothing is held any more but possibly dust."""

    symbol: Symbol
    position_id: str
    reason: str
    pnl_quote: Decimal
    held_s: float


@dataclass(frozen=True, slots=True)
class BreakerTripped(Event):
    """A rule that stops all entries began to."""

    breaker: str
    value: float
    limit: float


@dataclass(frozen=True, slots=True)
class BreakerCleared(Event):
    """A rule that stopped all entries ended."""

    breaker: str


@dataclass(frozen=True, slots=True)
class ControlChanged(Event):
    """The control state was committed anew."""

    state: str
    reason: str
    set_by: str
    epoch: int


@dataclass(frozen=True, slots=True)
class BundleAdopted(Event):
    """A verified bundle began to serve."""

    symbol: Symbol
    version: int


@dataclass(frozen=True, slots=True)
class BundleRefused(Event):
    """A bundle did not verify and does not serve."""

    symbol: Symbol
    reason: str


@dataclass(frozen=True, slots=True)
class MoodChanged(Event):
    """The mood of the whole market became another: its signal or its regime."""

    signal: str
    regime: str
    confidence: float
    score: float


@dataclass(frozen=True, slots=True)
class DriftDetected(Event):
    """What a bundle says stopped coming true; of the whole market when `symbol` is None.

    `chart` is the one that went too far: loss, return, coverage; market or benchmark for the market.
    """

    symbol: Symbol | None
    chart: str
    score: float
    limit: float
    bundle_version: int | None


@dataclass(frozen=True, slots=True)
class BackupMade(Event):
    """A backup was made and verified."""

    backup_id: str
    size_bytes: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class BackupFailed(Event):
    """A backup could not be made."""

    error: str


@dataclass(frozen=True, slots=True)
class BookRestored(Event):
    """This book was put in place from a backup; what happened after `made_at` is not in it.

    `newest` is the instant of its newest fact, None in an empty one; `cause` says who asked for it and why.
    """

    backup_id: str
    made_at: datetime
    newest: datetime | None
    cause: str


@dataclass(frozen=True, slots=True)
class CycleFailed(Event):
    """An unexpected error ended a cycle without further entries."""

    cycle: int
    stage: str
    error: str


@dataclass(frozen=True, slots=True)
class CycleFinished(Event):
    """A turn of the loop ended."""

    cycle: int
    equity: Decimal
    open_positions: int
    opened: int
    closed: int


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, datetime):
        return iso(value)
    return value

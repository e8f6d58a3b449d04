"""What is held: distance to each exit, protection, time left, and what it has cost so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from bn_ml.domain.positions import PositionStatus
from bn_ml.state_reader import PositionRow
from monitoring.plain_values import mapping, number, sequence
from monitoring.wording import amount


class Shield(Enum):
    """Whether a stop rests."""

    RESTING = "stop resting on the exchange"
    SIMULATED = "stop resting, simulated"
    MISSING = "STOP MISSING"
    DUST = "only dust, too small for a stop"


@dataclass(frozen=True, slots=True)
class Holding:
    """An open position. Prices and amounts are in the quote asset, distances fractions of `now`, NaN is unknown.

    `risk_units` is the gain so far over the distance from the entry to the first stop. `cost_so_far` are the fees paid.
    """

    symbol: str
    quantity: float
    entry: float
    now: float
    stop: float
    target_1: float
    target_2: float
    unrealized: float
    unrealized_frac: float
    realized: float
    cost_so_far: float
    shield: Shield
    is_target_1_hit: bool
    is_target_2_hit: bool
    is_trailing: bool
    opened_at: datetime
    time_left_s: float
    risk_units: float
    blocked: str
    price_source: str

    @property
    def worth(self) -> float:
        """What it is worth at `now`, at the entry price while that is unknown."""
        return self.quantity * (self.now if math.isfinite(self.now) else self.entry)

    def distance(self, level: float) -> float:
        """How far a level is from now, as a fraction of now; positive above."""
        return level / self.now - 1.0 if self.now > 0.0 and level > 0.0 else math.nan

    def levels(self) -> Mapping[str, float]:
        """Give the prices that matter and are known."""
        levels = {"stop": self.stop, "entry": self.entry, "now": self.now, "TP1": self.target_1, "TP2": self.target_2}
        return {name: level for name, level in levels.items() if math.isfinite(level) and level > 0.0}

    def places(self) -> Mapping[str, float]:
        """Give where each level lies between the lowest (0) and the highest (1) one."""
        known = self.levels()
        low, high = min(known.values(), default=0.0), max(known.values(), default=0.0)
        if high <= low:
            return dict.fromkeys(known, 0.0)
        return {name: (level - low) / (high - low) for name, level in known.items()}


def prices_of(account_book: object, scan: object) -> Mapping[str, tuple[float, str]]:
    """Give the last price seen of each symbol and where it is from: the account's own bids, else the newest scan."""
    found: dict[str, tuple[float, str]] = {}
    for item in sequence(mapping(scan).get("rows")):
        row = mapping(item)
        price = number(row.get("price"))
        if math.isfinite(price) and price > 0.0:
            found[str(row.get("symbol"))] = (price, "newest scan")
    for symbol, value in mapping(mapping(account_book).get("marks")).items():
        price = amount(value)
        if math.isfinite(price) and price > 0.0:
            found[symbol] = (price, "bid at the last cycle")
    return found


def holdings_of(
    rows: Sequence[PositionRow],
    prices: Mapping[str, tuple[float, str]],
    longest: timedelta,
    now: datetime,
    *,
    on_exchange: bool,
) -> tuple[Holding, ...]:
    """Give the open positions, the one nearest to its stop first."""
    open_rows = [row for row in rows if row.status == PositionStatus.OPEN.value]
    found = [_holding(row, prices, longest, now, on_exchange=on_exchange) for row in open_rows]
    return tuple(sorted(found, key=_urgency))


def held_worth(rows: Sequence[PositionRow], account_book: Mapping[str, object]) -> Mapping[str, float]:
    """Give the worth of each open position at the account's last bids, at entry where there is none."""
    prices = prices_of(account_book, None)
    worth = {}
    for row in rows:
        if row.status == PositionStatus.OPEN.value:
            price, _ = prices.get(str(row.symbol), (row.entry_price, ""))
            quantity = number(row.extra.get("remaining_base_qty"))
            worth[str(row.symbol)] = price * quantity if math.isfinite(quantity) else row.size_usdt
    return worth


def loss_if_all_fall(holdings: Sequence[Holding], fraction: float) -> tuple[float, float]:
    """Give what would be lost if every holding fell by a fraction: with stops that hold, and without any stop."""
    with_stops = without = 0.0
    for held in holdings:
        price = held.now if math.isfinite(held.now) else held.entry
        fallen = price * (1.0 - fraction)
        floor = held.stop if held.shield in (Shield.RESTING, Shield.SIMULATED) else 0.0
        with_stops += held.quantity * max(price - max(fallen, min(floor, price)), 0.0)
        without += held.quantity * price * fraction
    return with_stops, without


def _urgency(held: Holding) -> tuple[bool, float, str]:
    distance = -held.distance(held.stop)
    return (held.shield is not Shield.MISSING, distance if math.isfinite(distance) else math.inf, held.symbol)


def _holding(
    row: PositionRow,
    prices: Mapping[str, tuple[float, str]],
    longest: timedelta,
    now: datetime,
    *,
    on_exchange: bool,
) -> Holding:
    extra = row.extra
    quantity = number(extra.get("remaining_base_qty"))
    price, source = prices.get(str(row.symbol), (math.nan, "no price seen"))
    first_risk = row.entry_price - _first_stop(row)
    gain = price - row.entry_price
    return Holding(
        symbol=str(row.symbol),
        quantity=quantity,
        entry=row.entry_price,
        now=price,
        stop=row.stop_loss,
        target_1=row.take_profit_1,
        target_2=row.take_profit_2,
        unrealized=gain * quantity,
        unrealized_frac=gain / row.entry_price if row.entry_price > 0.0 else math.nan,
        realized=number(extra.get("pnl_usdt")),
        cost_so_far=number(extra.get("fees_usdt")),
        shield=_shield(extra, quantity, on_exchange=on_exchange),
        is_target_1_hit=extra.get("tp1_hit") is True,
        is_target_2_hit=extra.get("tp2_hit") is True,
        is_trailing=extra.get("trailing_active") is True,
        opened_at=row.opened_at,
        time_left_s=(row.opened_at + longest - now).total_seconds(),
        risk_units=gain / first_risk if first_risk > 0.0 else math.nan,
        blocked=str(extra.get("close_blocked_reason") or ""),
        price_source=source,
    )


def _first_stop(row: PositionRow) -> float:
    """Give the stop the risk is measured by: the one in force until it is at the entry or above, then unknown."""
    return row.stop_loss if row.stop_loss < row.entry_price else math.nan


def _shield(extra: Mapping[str, object], quantity: float, *, on_exchange: bool) -> Shield:
    if extra.get("stop_order_id"):
        return Shield.RESTING if on_exchange else Shield.SIMULATED
    dust = number(extra.get("dust_qty"))
    if math.isfinite(quantity) and math.isfinite(dust) and quantity <= dust:
        return Shield.DUST
    return Shield.MISSING

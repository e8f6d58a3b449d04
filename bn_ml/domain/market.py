"""What is traded and at what price: symbols, timeframes, bars, quotes and the venue's rules for a symbol.

Prices and quantities are `Decimal`; instants are aware UTC `datetime`. A bar is named by its open time and known
from its close time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from enum import Enum

ZERO = Decimal(0)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Symbol(str):
    """A spot symbol written `BASE/QUOTE`.

    >>> Symbol("BTC/USDC").key
    'BTC_USDC'
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Symbol:
        """Accept `BASE/QUOTE` in any case; raises `ValueError` on anything else."""
        name = str(text).strip().upper()
        base, slash, quote = name.partition("/")
        if not (slash and base.isalnum() and quote.isalnum()):
            raise ValueError(f"symbol must look like BTC/USDC, got {text!r}")
        return super().__new__(cls, name)

    @classmethod
    def from_key(cls, key: str) -> Symbol:
        """Give the symbol of a file or URL key such as `BTC_USDC`."""
        base, _, quote = key.rpartition("_")
        return cls(f"{base}/{quote}")

    @property
    def base(self) -> str:
        """The asset bought."""
        return self.partition("/")[0]

    @property
    def quote(self) -> str:
        """The asset paid with."""
        return self.partition("/")[2]

    @property
    def key(self) -> str:
        """The name used in files and URLs."""
        return self.replace("/", "_")


class Timeframe(Enum):
    """A bar length; the value is the venue's own name for it."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"

    @property
    def ms(self) -> int:
        """Length in milliseconds."""
        return _TIMEFRAME_MS[self]

    @property
    def length(self) -> timedelta:
        """Length as a time difference."""
        return timedelta(milliseconds=self.ms)


_MINUTE_MS = 60_000
_TIMEFRAME_MS = {
    Timeframe.M1: _MINUTE_MS,
    Timeframe.M5: 5 * _MINUTE_MS,
    Timeframe.M15: 15 * _MINUTE_MS,
    Timeframe.H1: 60 * _MINUTE_MS,
    Timeframe.H4: 240 * _MINUTE_MS,
    Timeframe.D1: 1440 * _MINUTE_MS,
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One closed OHLCV interval; `volume` in the base asset."""

    open_at: datetime
    close_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def __post_init__(self) -> None:
        """Refuse an impossible bar."""
        require_utc(self.open_at)
        require_utc(self.close_at)
        if not (ZERO < self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high):
            raise ValueError(f"impossible bar o={self.open} h={self.high} l={self.low} c={self.close}")
        if self.volume < 0:
            raise ValueError(f"bar volume must be >= 0, got {self.volume}")


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask, the last trade, and what rests within 1 % of the middle, at one instant."""

    symbol: Symbol
    bid: Decimal
    ask: Decimal
    last: Decimal
    at: datetime
    source: str
    depth_quote: Decimal = ZERO
    volume_24h_quote: Decimal = ZERO

    def __post_init__(self) -> None:
        """Refuse a crossed, empty or non-finite quote."""
        require_utc(self.at)
        if not all(price.is_finite() and price > 0 for price in (self.bid, self.ask, self.last)):
            raise ValueError(f"{self.symbol}: quote must be finite and positive, got {self.bid}/{self.ask}/{self.last}")
        if self.bid > self.ask:
            raise ValueError(f"{self.symbol}: crossed quote, bid {self.bid} > ask {self.ask}")

    @property
    def middle(self) -> Decimal:
        """Half way between bid and ask."""
        return (self.bid + self.ask) / 2

    @property
    def spread_frac(self) -> Decimal:
        """Spread as a fraction of the middle."""
        return (self.ask - self.bid) / self.middle

    def age_s(self, now: datetime) -> float:
        """Seconds since the quote was true."""
        return (now - self.at).total_seconds()


@dataclass(frozen=True, slots=True)
class MarketRules:
    """The venue's filters for one symbol; a zero turns that part of a filter off.

    Names follow the venue's `exchangeInfo`: tick and price bounds (PRICE_FILTER), step and quantity bounds (LOT_SIZE,
    MARKET_LOT_SIZE), NOTIONAL, PERCENT_PRICE_BY_SIDE, order counts and TRAILING_DELTA (basis points, below the market).
    `stops_allowed`, `lists_allowed`, `replace_allowed`, `trailing_allowed` tell which orders the symbol takes at all.
    """

    symbol: Symbol
    tick: Decimal
    step: Decimal
    min_notional: Decimal
    min_price: Decimal = ZERO
    max_price: Decimal = ZERO
    min_quantity: Decimal = ZERO
    max_quantity: Decimal = ZERO
    market_step: Decimal = ZERO
    market_min_quantity: Decimal = ZERO
    market_max_quantity: Decimal = ZERO
    max_notional: Decimal = ZERO
    notional_applies_to_market: bool = True
    bid_multiplier_up: Decimal = Decimal(5)
    bid_multiplier_down: Decimal = Decimal("0.2")
    ask_multiplier_up: Decimal = Decimal(5)
    ask_multiplier_down: Decimal = Decimal("0.2")
    max_orders: int = 200
    max_algo_orders: int = 5
    max_order_lists: int = 20
    min_trailing_delta: int = 10
    max_trailing_delta: int = 2000
    trading: bool = True
    listed_at: datetime | None = None
    stops_allowed: bool = True
    lists_allowed: bool = True
    replace_allowed: bool = True
    trailing_allowed: bool = True

    def __post_init__(self) -> None:
        """Refuse rules without a tick, a step or a minimum."""
        for name in ("tick", "step", "min_notional"):
            value = getattr(self, name)
            if not (value.is_finite() and value > 0):
                raise ValueError(f"{self.symbol}: {name} must be positive, got {value}")

    def may_trail(self, basis_points: int) -> bool:
        """Tell whether the venue lets a sell stop trail at this distance."""
        within = self.min_trailing_delta <= basis_points <= self.max_trailing_delta
        return self.trailing_allowed and basis_points > 0 and within

    def price_down(self, price: Decimal) -> Decimal:
        """Round a price down to the tick."""
        return quantise(price, self.tick, up=False)

    def price_up(self, price: Decimal) -> Decimal:
        """Round a price up to the tick."""
        return quantise(price, self.tick, up=True)

    def quantity_down(self, quantity: Decimal) -> Decimal:
        """Round a quantity down to the step."""
        return quantise(quantity, self.step, up=False)


def quantise(value: Decimal, step: Decimal, *, up: bool) -> Decimal:
    """Round `value` to a multiple of `step`, towards +infinity if `up`, else towards zero.

    >>> quantise(Decimal("1.2345"), Decimal("0.01"), up=False)
    Decimal('1.23')
    """
    count = (value / step).to_integral_value(ROUND_UP if up else ROUND_DOWN)
    return (count * step).quantize(step) if step < 1 else count * step


def require_utc(instant: datetime) -> None:
    """Raise `ValueError` unless the instant is aware and in UTC."""
    if instant.tzinfo is None or instant.utcoffset() != timedelta(0):
        raise ValueError(f"instant must be aware UTC, got {instant!r}")


def to_ms(instant: datetime) -> int:
    """Give whole milliseconds since 1970 of an aware instant."""
    return (instant - EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int) -> datetime:
    """Give the aware UTC instant of milliseconds since 1970."""
    return EPOCH + timedelta(milliseconds=int(ms))


def iso(instant: datetime) -> str:
    """Write an instant as ISO 8601 UTC with `Z`.

    >>> iso(EPOCH)
    '1970-01-01T00:00:00.000Z'
    """
    return instant.strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03d}Z"


def from_iso(text: str) -> datetime:
    """Read an ISO 8601 instant; a missing offset means UTC."""
    instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return instant if instant.tzinfo else instant.replace(tzinfo=timezone.utc)


def exact(value: float) -> Decimal:
    """Turn a configured or modelled float into a `Decimal` by its shortest decimal form.

    Raises `ValueError` on NaN and infinities.

    >>> exact(0.1)
    Decimal('0.1')
    """
    amount = Decimal(repr(float(value)))
    if not amount.is_finite():
        raise ValueError(f"amount must be finite, got {value}")
    return amount

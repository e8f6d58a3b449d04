"""What every endpoint works with: the venue, the market, the listings, the account's keys and counters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.market import Symbol, from_ms
from bn_ml.venue.venue import Venue
from public_api.sandbox.limits import LimitSettings, OrderMeter
from public_api.sandbox.listings import Listings
from public_api.sandbox.market_data import MarketData
from public_api.sandbox.requests import Parameters
from public_api.sandbox.signing import KeyRing

ACCOUNT_ID = 354937868


@dataclass(slots=True)
class Desk:
    """One account at one venue. `reference_price_off` symbols have no reference price."""

    venue: Venue
    markets: MarketData
    keys: KeyRing
    limits: LimitSettings
    seed: int = 0
    listings: Listings = field(init=False)
    orders: OrderMeter = field(init=False)
    maintenance: bool = False
    _numbers: int = 0

    def __post_init__(self) -> None:
        """Set up the counters."""
        self.listings = Listings(self.venue)
        self.orders = OrderMeter(self.limits)

    def fresh_id(self) -> str:
        """Give a client id the venue makes up: 22 characters, never the same twice."""
        self._numbers += 1
        return hashlib.sha256(f"id {self.seed} {self._numbers}".encode()).hexdigest()[:22]

    def number(self) -> int:
        """Give the next number of a run that all answers share."""
        self._numbers += 1
        return self._numbers


@dataclass(frozen=True, slots=True)
class Call:
    """One admitted request: its parameters and when it reaches the matching engine."""

    params: Parameters
    now_ms: int

    @property
    def now(self) -> datetime:
        """The instant of the call."""
        return from_ms(self.now_ms)

    def symbol(self, desk: Desk) -> Symbol:
        """Give the mandatory symbol."""
        return desk.listings.named(self.params.needed("symbol"))

    def optional_symbol(self, desk: Desk) -> Symbol | None:
        """Give the symbol, None when none was sent."""
        name = self.params.text("symbol")
        return None if name is None else desk.listings.named(name)


def fraction(rate: Decimal) -> int:
    """Write a commission rate as the account's old whole numbers do, in basis points."""
    return int(rate * 10_000)

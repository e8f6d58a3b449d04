"""Free and locked amounts per asset, and what a trade costs in commission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO
from bn_ml.venue.errors import insufficient_balance

UNIT = Decimal("0.00000001")
DISCOUNT_ASSET = "BNB"


def truncate(amount: Decimal) -> Decimal:
    """Cut an amount to the venue's 8 decimals, towards zero.

    >>> truncate(Decimal("0.123456789"))
    Decimal('0.12345678')
    """
    return amount.quantize(UNIT, ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class FeeRates:
    """Commission as fractions of the received amount; `discount` multiplies them when paid in the discount asset."""

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")
    pay_with_discount_asset: bool = False
    discount: Decimal = Decimal("0.75")

    def __post_init__(self) -> None:
        """Refuse rates that are not fractions."""
        if not all(ZERO <= rate < 1 for rate in (self.maker, self.taker)) or not ZERO <= self.discount <= 1:
            raise ValueError(f"fee rates must be fractions, got {self.maker}/{self.taker} discount {self.discount}")

    def rate(self, *, maker: bool) -> Decimal:
        """Give the undiscounted rate."""
        return self.maker if maker else self.taker


class Account:
    """What one client owns. No amount ever becomes negative: `ValueError` would mean a fault of the venue itself."""

    def __init__(self, balances: Mapping[str, Balance]) -> None:
        """Start from known balances."""
        self._balances = dict(balances)

    def of(self, asset: str) -> Balance:
        """Give free and locked of an asset, zero when it was never held."""
        return self._balances.get(asset) or Balance(asset, ZERO)

    def all(self) -> Mapping[str, Balance]:
        """Give every asset ever held."""
        return dict(self._balances)

    def lock(self, asset: str, amount: Decimal) -> None:
        """Reserve; raises `VenueError` when the free amount does not suffice."""
        if self.of(asset).free < amount:
            raise insufficient_balance()
        self.move(asset, free=-amount, locked=amount)

    def unlock(self, asset: str, amount: Decimal) -> None:
        """Give back a reservation (or, if negative, enlarge it)."""
        self.move(asset, free=amount, locked=-amount)

    def move(self, asset: str, *, free: Decimal = ZERO, locked: Decimal = ZERO) -> None:
        """Add to free and to locked."""
        before = self.of(asset)
        after = Balance(asset, before.free + free, before.locked + locked)
        if after.free < 0 or after.locked < 0:
            raise ValueError(f"{asset}: balance would become {after.free} free, {after.locked} locked")
        self._balances[asset] = after

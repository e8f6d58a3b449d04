"""The price range rule: no taker trades further from a reference price than the rule allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.orders import Side
from bn_ml.venue.liquidity import Level


@dataclass(frozen=True, slots=True)
class PriceRange:
    """Multipliers of a reference price between which takers may trade: buys by the bid's, sells by the ask's."""

    reference: Decimal
    bid_up: Decimal
    bid_down: Decimal
    ask_up: Decimal
    ask_down: Decimal

    def __post_init__(self) -> None:
        """Refuse a range that excludes the reference price itself."""
        if not (self.reference > 0 and self.bid_down <= 1 <= self.bid_up and self.ask_down <= 1 <= self.ask_up):
            raise ValueError(f"a price range must hold its reference price, got {self}")

    def within(self, levels: Sequence[Level], side: Side) -> tuple[Level, ...]:
        """Give the levels before the first one out of range."""
        up, down = (self.bid_up, self.bid_down) if side is Side.BUY else (self.ask_up, self.ask_down)
        kept = []
        for level in levels:
            if not self.reference * down <= level.price <= self.reference * up:
                break
            kept.append(level)
        return tuple(kept)

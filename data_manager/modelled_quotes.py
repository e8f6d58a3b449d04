"""What spread and depth a symbol of a given daily turnover shows.

Spreads are the medians of active pairs on the venue by 24 h quote volume. Depth within 1 % of the middle (both sides
together) is taken as a fixed share of the day's turnover, a cautious estimate set by judgement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.market import MarketRules, Quote, exact

_BASIS_POINT = 1e-4
_TIERS = ((100e6, 1.2), (20e6, 2.1), (5e6, 4.5), (1e6, 6.4))
_THINNEST_BP = 9.2
_DEPTH_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Turnover:
    """What was traded in the last 24 h, in the quote asset."""

    quote_volume: float

    @property
    def spread_frac(self) -> float:
        """The usual spread as a fraction of the middle."""
        for floor, basis_points in _TIERS:
            if self.quote_volume >= floor:
                return basis_points * _BASIS_POINT
        return _THINNEST_BP * _BASIS_POINT

    @property
    def depth_quote(self) -> float:
        """What rests within 1 % of the middle, in the quote asset."""
        return self.quote_volume * _DEPTH_SHARE


def modelled_quote(rules: MarketRules, last: float, at: datetime, source: str, turnover: Turnover) -> Quote:
    """Give the quote around a price: half a spread to each side, on the tick, never locked."""
    half = last * turnover.spread_frac / 2
    tick = float(rules.tick)
    below = max(1, math.floor((last - half) / tick + 1e-9))
    above = max(below + 1, math.ceil((last + half) / tick - 1e-9))
    return Quote(
        symbol=rules.symbol,
        bid=below * rules.tick,
        ask=above * rules.tick,
        last=exact(last),
        at=at,
        source=source,
        depth_quote=Decimal(round(turnover.depth_quote)),
        volume_24h_quote=Decimal(round(turnover.quote_volume)),
    )

"""The spread and depth a symbol must offer in a scan."""

from __future__ import annotations

from dataclasses import dataclass

from bn_ml.domain.market import Quote, Symbol
from bn_ml.pair_limits import depth_floor, spread_limit
from bn_ml.settings import ScannerSettings


@dataclass(frozen=True, slots=True)
class LiquidityLimits:
    """Widest spread (fraction of the middle) and least depth within 1 % of the middle (quote units)."""

    spread_max_frac: float
    depth_min_quote: float

    def refusal(self, quote: Quote) -> str | None:
        """Give the reason code of what the quote fails, None when it passes."""
        if float(quote.spread_frac) > self.spread_max_frac:
            return "spread"
        if float(quote.depth_quote) < self.depth_min_quote:
            return "depth"
        return None


def limits_for(symbol: Symbol, settings: ScannerSettings) -> LiquidityLimits:
    """Give the limits of one symbol."""
    return LiquidityLimits(spread_limit(symbol, settings), depth_floor(symbol, settings))

"""The spread and depth a symbol must offer: general limits, factors for majors and the rest, overrides by symbol."""

from __future__ import annotations

from dataclasses import dataclass

from bn_ml.domain.market import Quote, Symbol
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
    """Give the limits of one symbol; an override replaces limit and factor alike."""
    filters = settings.dynamic_pair_filters
    spread, depth = settings.spread_max_pct, settings.depth_min_usdt
    if filters.enabled:
        major = symbol.base in filters.major_bases
        spread *= filters.spread_factor_major if major else filters.spread_factor_alt
        depth *= filters.depth_factor_major if major else filters.depth_factor_alt
    own = filters.by_symbol.get(str(symbol)) if filters.enabled else None
    if own is not None and own.spread_max_pct is not None:
        spread = own.spread_max_pct
    if own is not None and own.depth_min_usdt is not None:
        depth = own.depth_min_usdt
    return LiquidityLimits(spread, depth)

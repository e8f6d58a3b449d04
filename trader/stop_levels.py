"""Prices of protective orders against the symbol's present filters and the present quote. Pure."""

from __future__ import annotations

from dataclasses import replace

from bn_ml.domain.market import MarketRules, Quote
from bn_ml.domain.positions import Tranche


def fitted(tranche: Tranche, rules: MarketRules, quote: Quote | None) -> Tranche:
    """Give a tranche with prices the filters accept: the stop never lower than it was, the target as near as allowed.

    Without a quote the price band, which is relative to the last trade, is left to the venue.
    """
    stop, target = rules.price_up(tranche.stop_price), tranche.target_price
    if target is not None:
        target = rules.price_up(target)
    if quote is not None:
        stop = max(stop, rules.price_up(quote.last * rules.ask_multiplier_down))
        ceiling = rules.price_down(quote.last * rules.ask_multiplier_up)
        if target is not None and ceiling > 0:
            target = min(target, ceiling)
    stop = max(stop, rules.min_price)
    return replace(tranche, stop_price=stop, target_price=target)


def is_past_stop(tranche: Tranche, quote: Quote) -> bool:
    """Tell whether a stop at this level would sell at once."""
    return quote.bid <= tranche.stop_price or quote.last <= tranche.stop_price


def is_past_target(tranche: Tranche, quote: Quote) -> bool:
    """Tell whether the target can be had at once."""
    target = tranche.target_price
    return target is not None and (quote.last >= target or quote.bid >= target)

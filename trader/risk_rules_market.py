"""Risk rules about liquidity, costs and the venue's filters."""

from __future__ import annotations

from decimal import Decimal

from bn_ml.domain.decisions import RuleVerdict
from bn_ml.domain.market import ZERO, MarketRules, Quote, exact
from bn_ml.pair_limits import depth_floor, spread_limit
from trader.risk_rules import Case

DEPTH_SHARE = Decimal("0.05")
"""Largest share of the resting depth one entry may take."""

VOLUME_SHARE = Decimal("0.01")
"""Largest share of the 24 h turnover one entry may be."""

LEAST_STOP_TICKS = 2
"""A stop nearer than this is more rounding than plan, and one tick of noise would hit it."""


def spread(case: Case) -> RuleVerdict:
    """The spread must not exceed the limit of the symbol."""
    value, limit = case.request.quote.spread_frac, exact(spread_limit(case.request.symbol, case.settings.scanner))
    return RuleVerdict("spread", float(value), float(limit), value <= limit)


def depth(case: Case) -> RuleVerdict:
    """What rests near the middle must reach the floor of the symbol and bear the size."""
    value = case.request.quote.depth_quote
    limit = max(exact(depth_floor(case.request.symbol, case.settings.scanner)), case.probe_quote / DEPTH_SHARE)
    return RuleVerdict("depth", float(value), float(limit), value >= limit)


def volume(case: Case) -> RuleVerdict:
    """The turnover of 24 h must bear the size; of a symbol found by discovery it must still pass that filter."""
    value, universe = case.request.quote.volume_24h_quote, case.settings.universe
    limit = case.probe_quote / VOLUME_SHARE
    if case.request.symbol not in universe.training_symbols:
        limit = max(limit, exact(universe.discovery.min_24h_volume_usdt))
    return RuleVerdict("volume", float(value), float(limit), value >= limit)


def net_profit(case: Case) -> RuleVerdict:
    """The first target must leave the least profit after both fees, slippage, the spread and what is left as dust."""
    quote, risk = case.request.quote, case.settings.risk
    gross = case.terms.levels.target_1 / quote.ask - 1
    value = gross - 2 * case.terms.fee_frac - 2 * exact(risk.slippage_pct) - quote.spread_frac - _dust_frac(case)
    limit = exact(risk.min_net_profit_pct)
    return RuleVerdict("net_profit", float(value), float(limit), value >= limit)


def _dust_frac(case: Case) -> Decimal:
    """Give the share of a buy that cannot be sold again: what the base fee leaves below one step."""
    quantity = case.size.quantity
    if quantity <= 0:
        return ZERO
    received = quantity * (1 - case.terms.fee_frac)
    return (received - case.request.rules.quantity_down(received)) / quantity


def no_valid_stop(case: Case) -> RuleVerdict:
    """The stop and both targets must pass the symbol's filters, the stop below the bid. Value: stop, limit: bid.

    The symbol must take stop orders at all, and one for the whole of what is bought.
    """
    request, levels = case.request, case.terms.levels
    passed = (
        case.atr_known
        and request.rules.stops_allowed
        and _fits_one_stop(case.size.quantity, levels.stop, request.rules)
        and levels.stop < request.quote.bid
        and price_passes(levels.stop, request.quote, request.rules)
        and price_passes(levels.target_2, request.quote, request.rules)
        and price_passes(levels.target_1, request.quote, request.rules)
        and request.quote.ask - levels.stop >= LEAST_STOP_TICKS * request.rules.tick
    )
    return RuleVerdict("no_valid_stop", float(levels.stop), float(request.quote.bid), passed)


def _fits_one_stop(quantity: Decimal, stop: Decimal, rules: MarketRules) -> bool:
    """Tell whether one stop may sell it all: largest quantity and largest notional."""
    few = rules.max_quantity == 0 or quantity <= rules.max_quantity
    return few and (rules.max_notional == 0 or quantity * stop <= rules.max_notional)


def price_passes(price: Decimal, quote: Quote, rules: MarketRules) -> bool:
    """Tell whether a sell price passes PRICE_FILTER and PERCENT_PRICE_BY_SIDE with the last trade as reference."""
    on_tick = price % rules.tick == 0
    above = price >= rules.min_price and price > 0
    below = rules.max_price == 0 or price <= rules.max_price
    low, high = quote.last * rules.ask_multiplier_down, quote.last * rules.ask_multiplier_up
    in_band = price >= low and (high == 0 or price <= high)
    return on_tick and above and below and in_band

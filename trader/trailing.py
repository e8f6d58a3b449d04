"""When and how a resting stop is raised: to a fixed level, or handed to the venue, which then trails by itself.

A stop is handed over only where the venue would start at least as high as the stop that rests now, with room for the
next trade to be a little lower (tracking begins with the next trade, not with the last one), and not noticeably below
what our own trailing asks for. From then on our record follows the trades seen, never above what the venue's order
guarantees and never down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal

from bn_ml.domain.market import ZERO, Bar, MarketRules, Quote
from bn_ml.domain.orders import OrderIntent

BASIS_POINTS = Decimal(10_000)
SLIP_SHARE = Decimal("0.25")
"""How much of the distance the next trade may be below the last one without starting the venue below the old stop."""

LAG_SHARE = Decimal("0.1")
"""How much of the distance the venue may start below the level that our own trailing asks for."""

NEWEST_S = 2.0
"""A stop is handed over on a quote of at most this age: tracking begins wherever the market is by then."""

SETTLED = timedelta(seconds=1)
"""How long after an order was made a trade counts as later than its acceptance."""


@dataclass(frozen=True, slots=True)
class StopMove:
    """Where a stop goes: `stop` is the level guaranteed afterwards; with `trailing_bp` the venue trails from there."""

    stop: Decimal
    trailing_bp: int = 0


def trailing_bp(distance_frac: Decimal) -> int:
    """Give a trailing distance in whole basis points, towards the tighter side.

    >>> trailing_bp(Decimal("0.00437"))
    43
    """
    return int((distance_frac * BASIS_POINTS).to_integral_value(ROUND_FLOOR))


def trigger(price: Decimal, basis_points: int) -> Decimal:
    """Give the level of a trailing stop whose best price is `price`."""
    return price * (1 - basis_points / BASIS_POINTS)


def start_level(last: Decimal, basis_points: int, rules: MarketRules) -> Decimal:
    """Give the level a trailing stop starts at, should the next trade be lower by as much as is allowed for."""
    slip = basis_points / BASIS_POINTS * SLIP_SHARE
    return rules.price_down(trigger(last, basis_points) * (1 - slip))


def may_start(last: Decimal, basis_points: int, resting: Decimal, rules: MarketRules) -> bool:
    """Tell whether the venue may trail from here: it takes the distance, and starts no lower than what rests."""
    return rules.may_trail(basis_points) and start_level(last, basis_points, rules) >= resting


def stop_move(
    resting: Decimal, wanted: Decimal, last: Decimal, rules: MarketRules, *, distance_frac: Decimal | None
) -> StopMove | None:
    """Decide about one fixed stop; None when it stays.

    `resting` is its level, `wanted` the one that break-even and trailing ask for, `distance_frac` that of the trailing
    stop, None while nothing trails.
    """
    if distance_frac is not None:
        handed = _handed_over(resting, wanted, last, rules, distance_frac)
        if handed is not None:
            return handed
    return StopMove(wanted) if wanted > resting else None


def guaranteed(intent: OrderIntent, quote: Quote, bars: Iterable[Bar], rules: MarketRules) -> Decimal:
    """Give the level below which the venue's trailing order cannot be, from the trades seen since; 0 when none was.

    `bars` are of real trades. A last price equal to the one before the order proves no trade.
    """
    since = intent.created_at + SETTLED
    prices = [bar.high for bar in bars if bar.open_at >= since and bar.volume > 0]
    if quote.at >= since and quote.last != intent.reference_price:
        prices.append(quote.last)
    return rules.price_down(trigger(max(prices), intent.trailing_bp)) if prices else ZERO


def _handed_over(
    resting: Decimal, wanted: Decimal, last: Decimal, rules: MarketRules, distance_frac: Decimal
) -> StopMove | None:
    basis_points = trailing_bp(distance_frac)
    lags = trigger(last, basis_points) < wanted * (1 - distance_frac * LAG_SHARE)
    if lags or not may_start(last, basis_points, resting, rules):
        return None
    return StopMove(start_level(last, basis_points, rules), basis_points)

"""What a taker does: its trades, why its rest ends, and which own orders self-trade prevention ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.market import MarketRules
from bn_ml.domain.orders import Side
from bn_ml.venue.liquidity import Level
from bn_ml.venue.matching import size, take
from bn_ml.venue.orders import Expiry, SelfTrade, VenueOrder
from bn_ml.venue.price_range import PriceRange


@dataclass(frozen=True, slots=True)
class Taking:
    """A plan: trades in order; `rest_ends` is why what is left expires, empty when the book decides alone.

    `expiring` are own resting orders ended by self-trade prevention.
    """

    trades: tuple[Level, ...]
    rest_ends: str = ""
    expiring: tuple[VenueOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a taker wants: at most `quantity`, no worse than `limit`, for at most `budget` quote; None: no bound."""

    side: Side
    quantity: Decimal | None
    limit: Decimal | None = None
    budget: Decimal | None = None
    self_trade: SelfTrade = SelfTrade.EXPIRE_MAKER


def plan_taking(
    ladder: Sequence[Level],
    wish: Wish,
    rules: MarketRules,
    *,
    own: Iterable[VenueOrder],
    allowed: PriceRange | None,
) -> Taking:
    """Plan a taker against a ladder; `own` are the account's orders of the symbol."""
    levels = tuple(ladder) if allowed is None else allowed.within(ladder, wish.side)
    ranged = len(levels) < len(ladder)
    met = _met(levels, wish, rules, own)
    blocks = wish.self_trade in (SelfTrade.EXPIRE_TAKER, SelfTrade.EXPIRE_BOTH) and bool(met)
    if blocks:
        levels = tuple(level for level in levels if _better(level.price, met[0].price, wish.side))
    trades = _trades(levels, wish, rules)
    expiring = {SelfTrade.EXPIRE_MAKER: met, SelfTrade.EXPIRE_BOTH: met[:1]}.get(wish.self_trade, ())
    if blocks:
        return Taking(trades, Expiry.SELF_TRADE, expiring)
    if ranged and size(_trades(ladder, wish, rules)) > size(trades):
        return Taking(trades, Expiry.PRICE_RANGE, expiring)
    return Taking(trades, "", expiring)


def _trades(levels: Sequence[Level], wish: Wish, rules: MarketRules) -> tuple[Level, ...]:
    return take(levels, wish.side, quantity=wish.quantity, rules=rules, limit=wish.limit, budget=wish.budget)


def _met(levels: Sequence[Level], wish: Wish, rules: MarketRules, own: Iterable[VenueOrder]) -> tuple[VenueOrder, ...]:
    if wish.self_trade is SelfTrade.NONE:
        return ()
    trades = _trades(levels, wish, rules)
    unfinished = wish.quantity is not None and size(trades) < wish.quantity
    reach = wish.limit if unfinished else None
    if not unfinished and trades:
        reach = trades[-1].price
    rivals = [order for order in own if order.rests and order.side is not wish.side]
    if reach is not None:
        rivals = [order for order in rivals if not _better(reach, order.price, wish.side)]
    elif not unfinished:
        return ()
    sign = 1 if wish.side is Side.BUY else -1
    return tuple(sorted(rivals, key=lambda order: (sign * order.price, order.order_id)))


def _better(price: Decimal, than: Decimal, side: Side) -> bool:
    return price < than if side is Side.BUY else price > than

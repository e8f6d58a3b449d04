"""How a position is split into tranches: by what sells, by the venue's minimum at the stop, and by its free places.

One tranche with one stop over everything is always better than none, so the split never ends empty while the whole can
be sold at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.market import ZERO, MarketRules
from bn_ml.domain.orders import OrderReport, OrderType

FIRST, SECOND, RUNNER = "tp1", "tp2", "runner"
_CONTINGENT = frozenset(
    {OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
)
_LADDERS = ((FIRST, SECOND, RUNNER), (FIRST, RUNNER), (RUNNER,))
"""Which tranches are kept when places are short; the share of one that is dropped joins the next."""

Slice = tuple[str, Decimal]


@dataclass(frozen=True, slots=True)
class Slots:
    """How many more orders the venue lets rest for a symbol: orders in all, contingent ones (stops), and lists."""

    orders: int
    stops: int
    lists: int

    @property
    def takes_a_stop(self) -> bool:
        """Whether one plain stop has a place."""
        return self.orders > 0 and self.stops > 0

    def fit(self, labels: Sequence[str]) -> bool:
        """Tell whether a stop for every tranche, with a target beside all but the runner's, has its places."""
        pairs = sum(label != RUNNER for label in labels)
        return len(labels) + pairs <= self.orders and len(labels) <= self.stops and pairs <= self.lists


PLENTY = 1_000
ENOUGH = Slots(PLENTY, PLENTY, PLENTY)


def free_slots(rules: MarketRules, resting: Iterable[OrderReport], ours: Mapping[str, OrderType]) -> Slots:
    """Give the places left for a symbol, the orders of other programs counted.

    `resting` are all open orders of the account, `ours` the types of our own by client id. What an order of another
    program is, its report does not say: each counts as a stop.
    """
    here = [report for report in resting if report.symbol == rules.symbol]
    stops = sum(ours.get(report.client_id, OrderType.STOP_LOSS) in _CONTINGENT for report in here)
    lists = {report.list_id for report in here if report.list_id}
    return Slots(
        orders=_left(rules.max_orders, len(here)),
        stops=_left(rules.max_algo_orders, stops),
        lists=_left(rules.max_order_lists, len(lists)) if rules.lists_allowed else 0,
    )


def slices(shares: Sequence[tuple[str, Decimal]], total: Decimal, stop: Decimal, rules: MarketRules) -> list[Slice]:
    """Split a sellable quantity by shares; what is below the minimum at the stop price joins the next one.

    The last joins the one before it. The quantities sum to `total`; empty when even the whole is below the minimum.
    """
    whole = sum((share for _, share in shares), ZERO)
    if whole <= 0:
        return _merged([(RUNNER, total)], stop, rules)
    cut = [(label, rules.quantity_down(total * share / whole)) for label, share in shares[:-1]]
    rest = total - sum((quantity for _, quantity in cut), ZERO)
    return _merged([*cut, (shares[-1][0], rest)], stop, rules)


def ladder(
    shares: Sequence[tuple[str, Decimal]], total: Decimal, stop: Decimal, rules: MarketRules, slots: Slots = ENOUGH
) -> list[Slice]:
    """Give the tranches a position gets: the most that both the venue's minimum and its free places allow.

    `shares` are those of the first target, the second and the runner, a target already taken with 0.
    """
    for kept in _LADDERS:
        cut = slices(_joined(shares, kept), total, stop, rules)
        if slots.fit([label for label, _ in cut]):
            return cut
    return [(RUNNER, total)] if is_sellable(total, stop, rules) else []


def is_sellable(quantity: Decimal, price: Decimal, rules: MarketRules) -> bool:
    """Tell whether a sell order of this quantity passes the symbol's minimum at a price."""
    enough = quantity >= max(rules.min_quantity, rules.step)
    return enough and quantity * price >= rules.min_notional


def _joined(shares: Sequence[tuple[str, Decimal]], kept: Sequence[str]) -> list[tuple[str, Decimal]]:
    joined, carried = [], ZERO
    for label, share in shares:
        carried += share
        if label in kept:
            joined.append((label, carried))
            carried = ZERO
    return joined


def _left(maximum: int, present: int) -> int:
    """Give the places left; a maximum of 0 is none at all."""
    return max(maximum - present, 0) if maximum else PLENTY


def _merged(cut: Sequence[Slice], stop: Decimal, rules: MarketRules) -> list[Slice]:
    kept: list[Slice] = []
    carried = ZERO
    for label, quantity in cut:
        carried += quantity
        if is_sellable(carried, stop, rules):
            kept.append((label, carried))
            carried = ZERO
    if not kept or carried == 0:
        return kept
    label, quantity = kept[-1]
    return [*kept[:-1], (label, quantity + carried)]

"""Pairing the trades of two runs, and what differs inside a pair. Pure."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from bn_ml.domain.market import Symbol
from bn_ml.domain.positions import Position

ONE_BAR = timedelta(minutes=15)
EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Pair:
    """The same decision in both runs: one symbol, entered within one bar."""

    first: Position
    second: Position


@dataclass(frozen=True, slots=True)
class Matching:
    """How trades of two runs correspond; each trade is in exactly one place."""

    pairs: tuple[Pair, ...]
    only_first: tuple[Position, ...]
    only_second: tuple[Position, ...]


def matched(first: Sequence[Position], second: Sequence[Position], within: timedelta = ONE_BAR) -> Matching:
    """Pair trades of a symbol whose entries lie at most `within` apart, nearest first, each at most once."""
    others: dict[Symbol, list[Position]] = defaultdict(list)
    for position in sorted(second, key=lambda position: (position.opened_at, position.position_id)):
        others[position.symbol].append(position)
    near = [
        (abs(other.opened_at - position.opened_at), position.opened_at, place, other.opened_at, other)
        for place, position in enumerate(first)
        for other in _near(others[position.symbol], position, within)
    ]
    taken: dict[int, Position] = {}
    used: set[str] = set()
    for _, _, place, _, other in sorted(near, key=lambda item: (*item[:4], item[4].position_id)):
        if place not in taken and other.position_id not in used:
            taken[place] = other
            used.add(other.position_id)
    return Matching(
        pairs=tuple(Pair(first[place], taken[place]) for place in sorted(taken)),
        only_first=tuple(position for place, position in enumerate(first) if place not in taken),
        only_second=tuple(position for position in second if position.position_id not in used),
    )


def causes(pair: Pair) -> tuple[str, ...]:
    """Name what differs in a pair, the decisive one first; empty when the trades are equal."""
    a, b = pair.first, pair.second
    found = {
        "entry_time": a.opened_at != b.opened_at,
        "entry_price": _differ(a.entry_price, b.entry_price),
        "size": _differ(a.initial_quantity, b.initial_quantity),
        "exit_reason": a.close_reason is not b.close_reason or _reasons(a) != _reasons(b),
        "exit_time": a.closed_at != b.closed_at,
        "exit_price": _differ(_received(a), _received(b)),
        "fees": _differ(a.fees_quote, b.fees_quote),
        "result": _differ(a.realized_quote, b.realized_quote),
    }
    return tuple(cause for cause, is_so in found.items() if is_so)


def _near(others: Sequence[Position], position: Position, within: timedelta) -> Sequence[Position]:
    times = [other.opened_at for other in others]
    first = bisect.bisect_left(times, position.opened_at - within)
    last = bisect.bisect_right(times, position.opened_at + within)
    return others[first:last]


def _reasons(position: Position) -> tuple[str, ...]:
    return tuple(leg.reason.value for leg in position.legs)


def _received(position: Position) -> Decimal:
    quantity = sum((leg.quantity for leg in position.legs), start=Decimal(0))
    amount = sum((leg.quantity * leg.price for leg in position.legs), start=Decimal(0))
    return amount / quantity if quantity else Decimal(0)


def _differ(one: Decimal, other: Decimal) -> bool:
    return abs(float(one) - float(other)) > EQUAL * max(abs(float(one)), abs(float(other)), 1e-12)

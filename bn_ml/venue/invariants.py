"""What must hold after every request, whatever the market and the client did."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import Side
from bn_ml.venue.order_lists import group_lock
from bn_ml.venue.state import VenueState


def violations(state: VenueState) -> tuple[str, ...]:
    """Give a line for each broken invariant: conservation, reservations, no negative amount. Empty when all hold."""
    return (*_unconserved(state), *_wrongly_locked(state), *_negative(state))


def _unconserved(state: VenueState) -> list[str]:
    expected: dict[str, Decimal] = defaultdict(Decimal, state.deposits)
    for trade in state.all_trades():
        sign = 1 if trade.side is Side.BUY else -1
        expected[trade.symbol.base] += sign * trade.quantity
        expected[trade.symbol.quote] -= sign * trade.quote_quantity
        expected[trade.fee_asset] -= trade.fee
    balances = state.account.all()
    return [
        f"{asset}: holds {state.account.of(asset).total}, deposits and trades make {expected[asset]}"
        for asset in sorted(expected.keys() | balances.keys())
        if state.account.of(asset).total != expected[asset]
    ]


def _wrongly_locked(state: VenueState) -> list[str]:
    reserved: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for order in state.open_orders():
        group = state.group(order)
        first = next(leg for leg in group if leg.is_open)
        if order.order_id == first.order_id:
            reserved[order.lock_asset] += group_lock(group)
    return [
        f"{asset}: {balance.locked} locked, open orders reserve {reserved[asset]}"
        for asset, balance in sorted(state.account.all().items())
        if balance.locked != reserved[asset]
    ]


def _negative(state: VenueState) -> list[str]:
    return [
        f"{asset}: {balance.free} free, {balance.locked} locked"
        for asset, balance in sorted(state.account.all().items())
        if balance.free < 0 or balance.locked < 0
    ]

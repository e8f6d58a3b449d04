"""What must hold after every request, whatever the market and the client did."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import Side
from bn_ml.venue.order_lists import group_lock
from bn_ml.venue.orders import VenueTrade
from bn_ml.venue.state import VenueState


def violations(state: VenueState) -> tuple[str, ...]:
    """Give a line for each broken invariant: conservation, reservations, no negative amount. Empty when all hold."""
    return (*Conservation(state).violations(), *momentary_violations(state))


def momentary_violations(state: VenueState) -> tuple[str, ...]:
    """Give a line for each broken invariant that can be seen without the trades."""
    return (*_wrongly_locked(state), *_negative(state))


class Conservation:
    """What deposits and trades have made of each asset; told of new trades, it need not read the old ones again."""

    def __init__(self, state: VenueState) -> None:
        """Add up all saved trades."""
        self._state = state
        self._traded: dict[str, Decimal] = defaultdict(Decimal)
        for trade in state.all_trades():
            self.add(trade)

    def add(self, trade: VenueTrade) -> None:
        """Take a new trade into account."""
        sign = 1 if trade.side is Side.BUY else -1
        self._traded[trade.symbol.base] += sign * trade.quantity
        self._traded[trade.symbol.quote] -= sign * trade.quote_quantity
        self._traded[trade.fee_asset] -= trade.fee

    def violations(self) -> list[str]:
        """Give a line for each asset whose balance is not what deposits and trades make."""
        deposits, account = self._state.deposits, self._state.account
        expected = {
            asset: deposits.get(asset, ZERO) + self._traded.get(asset, ZERO)
            for asset in sorted(deposits.keys() | self._traded.keys() | account.all().keys())
        }
        return [
            f"{asset}: holds {account.of(asset).total}, deposits and trades make {amount}"
            for asset, amount in expected.items()
            if account.of(asset).total != amount
        ]


def _wrongly_locked(state: VenueState) -> list[str]:
    reserved: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for order in state.open_orders():
        opened = [leg for leg in state.group(order) if leg.is_open and not leg.waits]
        if opened and order.order_id == opened[0].order_id:
            reserved[order.lock_asset] += group_lock(opened)
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

"""Order lists. OCO: two legs over one quantity, one above and one below the market; what happens to one ends the other.

OTO: a working order, then one order or an OCO pair that is placed when the working order is fully filled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import OrderStatus, OrderType, Side
from bn_ml.venue.errors import VenueError, wrong_relationship
from bn_ml.venue.orders import CONTINGENT, NO_LIST, RESTING, STOPS, Expiry, OrderRequest, VenueOrder

_ALLOWED = CONTINGENT | {OrderType.LIMIT_MAKER}


@dataclass(frozen=True, slots=True)
class OcoRequest:
    """Two orders of one symbol, side and quantity."""

    list_client_id: str
    above: OrderRequest
    below: OrderRequest

    @property
    def symbol(self) -> Symbol:
        """The symbol of both legs."""
        return self.above.symbol

    @property
    def legs(self) -> tuple[OrderRequest, OrderRequest]:
        """The legs in the order they are numbered: the one below first."""
        return self.below, self.above


@dataclass(frozen=True, slots=True)
class OtoRequest:
    """A working order, and what is placed once it is filled: one order, or an OCO pair given as (below, above).

    `sized_by_working`: the pending legs sell what the working order bought, less commission taken from it.
    """

    list_client_id: str
    working: OrderRequest
    pending: tuple[OrderRequest, ...]
    sized_by_working: bool = False

    @property
    def symbol(self) -> Symbol:
        """The symbol of all legs."""
        return self.working.symbol

    @property
    def legs(self) -> tuple[OrderRequest, ...]:
        """The legs in the order they are numbered."""
        return (self.working, *self.pending)

    @property
    def pair(self) -> OcoRequest | None:
        """The pending OCO, None when one order is pending."""
        if len(self.pending) == 1:
            return None
        below, above = self.pending
        return OcoRequest(self.list_client_id, above=above, below=below)


def check_oto_structure(oto: OtoRequest) -> None:
    """Refuse a working order that cannot wait in the book, and legs that do not fit together."""
    ids = {leg.client_id for leg in oto.legs}
    if oto.working.type not in RESTING or len(ids) != len(oto.legs) or {leg.symbol for leg in oto.legs} != {oto.symbol}:
        raise VenueError(-1014, "Unsupported order combination.")
    if oto.sized_by_working and oto.working.side is not Side.BUY:
        raise VenueError(-1222, "Working order in an OPO list must be a bid.")
    if oto.sized_by_working and any(leg.side is not Side.SELL for leg in oto.pending):
        raise VenueError(-1223, "Pending orders in an OPO list must be asks.")
    if oto.pair is not None:
        check_structure(oto.pair)


def check_structure(oco: OcoRequest) -> None:
    """Refuse legs that do not fit together or stand on the wrong side."""
    above, below = oco.above, oco.below
    shared = {(leg.symbol, leg.side, leg.quantity) for leg in oco.legs}
    if len(shared) != 1 or above.client_id == below.client_id:
        raise VenueError(-1014, "Unsupported order combination.")
    for leg in oco.legs:
        if leg.type not in _ALLOWED:
            raise VenueError(-1158, "Order type not supported in OCO.")
    if above.type is OrderType.LIMIT_MAKER and below.type is OrderType.LIMIT_MAKER:
        raise VenueError(-1168, "At least one OCO order must be contingent.")
    sells = above.side is Side.SELL
    misplaced = below if sells else above
    if misplaced.type is OrderType.LIMIT_MAKER:
        raise VenueError(*(_SELL_LIMIT if sells else _BUY_LIMIT))
    if (above if sells else below).type in STOPS:
        raise VenueError(*(_SELL_STOP if sells else _BUY_STOP))
    if misplaced.type not in STOPS:
        raise VenueError(*(_SELL_TARGET if sells else _BUY_TARGET))


_SELL_LIMIT = (-1166, "A limit order in a sell OCO must be above.")
_BUY_LIMIT = (-1165, "A limit order in a buy OCO must be below.")
_BUY_STOP = (-1196, "A stop loss order in a buy OCO must be above.")
_SELL_STOP = (-1197, "A stop loss order in a sell OCO must be below.")
_BUY_TARGET = (-1198, "A take profit order in a buy OCO must be below.")
_SELL_TARGET = (-1199, "A take profit order in a sell OCO must be above.")


def check_relationship(oco: OcoRequest, last: Decimal) -> None:
    """Refuse prices that do not enclose the last price: above > last > below."""
    above, below = _mark(oco.above), _mark(oco.below)
    if (above is not None and above <= last) or (below is not None and below >= last):
        raise wrong_relationship()


def group_lock(orders: Iterable[VenueOrder]) -> Decimal:
    """Give what one list (or one lone order) reserves: the greatest of its open legs, never their sum."""
    return max((order.locked for order in orders), default=ZERO)


def siblings_ended(order: VenueOrder, group: Iterable[VenueOrder], at_ms: int) -> tuple[VenueOrder, ...]:
    """Give the other open legs of the same phase, expired because `order` traded or triggered."""
    return tuple(
        leg.ended(OrderStatus.EXPIRED, at_ms, Expiry.OTHER_LEG)
        for leg in group
        if leg.order_id != order.order_id and leg.is_open and leg.pending is order.pending
    )


def _mark(leg: OrderRequest) -> Decimal | None:
    return leg.price if leg.type is OrderType.LIMIT_MAKER else leg.stop_price


def waiting_behind(order: VenueOrder, group: Iterable[VenueOrder]) -> tuple[VenueOrder, ...]:
    """Give the legs that wait for `order` to be filled."""
    if order.pending or order.list_id == NO_LIST:
        return ()
    return tuple(leg for leg in group if leg.waits)

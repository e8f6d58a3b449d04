"""Orders somebody places and cancels on the exchange's own pages, past every client and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from bn_ml.domain.market import Symbol, from_ms
from bn_ml.domain.orders import OrderType, Side, TimeInForce
from bn_ml.venue.orders import TIMED, OrderRequest
from public_api.sandbox.answers import Json
from public_api.sandbox.order_answers import queried
from public_api.sandbox.protection_audit import BY_HAND
from public_api.sandbox.world import World


def place_by_hand(world: World, wish: Mapping[str, Json]) -> Json:
    """Place an order: `symbol`, `side`, `type`, `quantity` or `quote_quantity`, `price`, `stop_price`, `client_id`.

    Raises `VenueError` when the venue refuses it.
    """
    now_ms = world.move()
    kind = OrderType(str(wish.get("type", "MARKET")))
    request = OrderRequest(
        symbol=Symbol(str(wish["symbol"])),
        side=Side(str(wish["side"])),
        type=kind,
        client_id=str(wish.get("client_id", f"{BY_HAND}{world.dialect.desk.fresh_id()}")),
        quantity=_amount(wish, "quantity"),
        quote_quantity=_amount(wish, "quote_quantity"),
        price=_amount(wish, "price"),
        stop_price=_amount(wish, "stop_price"),
        time_in_force=TimeInForce(str(wish.get("time_in_force", "GTC"))) if kind in TIMED else None,
    )
    order = world.venue.place(request, from_ms(now_ms))
    world.settle(now_ms)
    return queried(order)


def cancel_by_hand(world: World, wish: Mapping[str, Json]) -> Json:
    """Cancel the order `client_id` of `symbol`, with its list; raises `VenueError` when it is not open."""
    now_ms = world.move()
    ended = world.venue.cancel(Symbol(str(wish["symbol"])), str(wish["client_id"]), from_ms(now_ms))
    world.settle(now_ms)
    return [queried(order) for order in ended]


def _amount(wish: Mapping[str, Json], name: str) -> Decimal | None:
    return Decimal(str(wish[name])) if name in wish else None

"""Other programs, refusals and hands at the venue, for tests of what protects a position."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import OrderType, Purpose, Side
from bn_ml.errors import Refused
from bn_ml.venue.orders import OrderRequest
from tests.fakes.money_world import AAA, MoneyWorld

D = Decimal
TOO_MANY = Refused("Too many new orders; current limit is 100 orders per 10 SECOND.", -1015)
LATE = Refused("Timestamp for this request is outside of the recvWindow.", -1021)
BANNED = Refused("status 418: banned", -1003)
ODD = Refused("Filter failure: PRICE_FILTER", -1013)


def foreign_stop(world: MoneyWorld, *numbers: int) -> None:
    """Another program's stops to buy."""
    world.bot.paper.order_status(AAA, "nothing")
    for number in numbers:
        request = OrderRequest(AAA, Side.BUY, OrderType.STOP_LOSS, f"theirs-{number}", D("0.05"), stop_price=D(150))
        world.bot.venue.place(request, world.clock.now())


def foreign_sale(world: MoneyWorld, quantity: str) -> None:
    """Another program's sell order over some of what we hold."""
    request = OrderRequest(AAA, Side.SELL, OrderType.LIMIT_MAKER, "theirs", D(quantity), price=D(150))
    world.bot.venue.place(request, world.clock.now())


def before_first(world: MoneyWorld, method: str, act: Callable[[], None]) -> None:
    """Let something happen at the venue just before the first call of a method arrives."""
    left = [act]

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called == method and left:
            left.pop()()

    world.faults.before_call = hook


def refuse(world: MoneyWorld, error: Exception, *, sales: bool = False) -> None:
    """Refuse every protective order from now on, and market sales too when asked."""

    def hook(called: str, client_ids: tuple[str, ...]) -> None:
        if called in ("create_oco", "replace_order"):
            raise error
        record = world.bot.store.intent(client_ids[0]) if called == "create_order" else None
        if record is not None and (record.intent.purpose is Purpose.STOP or sales) and record.intent.side is Side.SELL:
            raise error

    world.faults.before_call = hook


def heal(world: MoneyWorld) -> None:
    world.faults.before_call = lambda method, ids: None


def labels(world: MoneyWorld) -> list[str]:
    return [item.label for item in world.held().tranches]


def offered(world: MoneyWorld) -> Decimal:
    return sum((item.intent.quantity for item in world.live(Purpose.STOP)), D(0))


def state(world: MoneyWorld) -> ControlState:
    return world.bot.store.control().state


def cancel_by_hand(world: MoneyWorld) -> None:
    for order in world.bot.venue.open_orders(AAA):
        if world.bot.venue.find(AAA, client_id=order.client_id).is_open:  # type: ignore[union-attr]
            world.bot.venue.cancel(AAA, order.client_id, world.clock.now())

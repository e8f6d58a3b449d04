"""What the world does besides answering calls: hands, other programs, the venue's decisions, feed and clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from bn_ml.client_ids import make_client_id
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import OrderType, Side, TimeInForce
from bn_ml.state_store import StateStore
from bn_ml.venue.errors import VenueError
from bn_ml.venue.orders import OrderRequest, VenueTrade
from tests.sim.plan import Happening

if TYPE_CHECKING:
    from tests.sim.world import SimWorld


class Happenings:
    """Acts on the world; `must_halt` names why the bot has to be HALTED at the end, empty when it must not."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self.must_halt = ""
        self.may_halt = False
        self.taken_over = False
        self.killed_by_switch = False
        self.foreign: dict[str, Symbol] = {}
        self.orphans: set[str] = set()
        self.moved_by_hand: dict[str, Decimal] = {}
        self._undo: list[Callable[[], None]] = []

    def happen(self, item: Happening) -> None:
        """Do what was planned, if it is to be done."""
        if self._world.faults.of_happening(item.name, item.kind, item.number):
            self._world.tell(f"{item.kind} {item.symbol} {item.length_ms} {item.number}")
            getattr(self, f"_{item.kind}")(item)

    def end_all(self) -> None:
        """End everything that lasts."""
        for undo in self._undo:
            undo()
        self._undo = []
        market = self._world.market
        market.down.clear()
        market.frozen.clear()
        market.depth.clear()

    def halt_from_outside(self) -> None:
        """Another process commits HALTED, as the kill switch does first of all."""
        world = self._world
        self.must_halt = self.must_halt or "kill_switch"
        self.killed_by_switch = True
        self._set_control(ControlState.HALTED, "kill_switch: by hand")
        world.tell("HALTED by a second process")
        world.watch.halt_due_ms = world.clock.ms

    def strange(self, trade: VenueTrade) -> None:
        """Something traded that the bot did not order: a hand, another program, or the network's copy of an order."""
        sign = 1 if trade.side is Side.BUY else -1
        self._moved(trade.symbol.base, sign * trade.quantity)
        self._moved(trade.symbol.quote, -sign * trade.quote_quantity)
        self._moved(trade.fee_asset, -trade.fee)
        self._expect_halt("strange trade")

    def _lasting(self, item: Happening, undo: Callable[[], None]) -> None:
        world = self._world
        self._undo.append(undo)

        def end() -> None:
            undo()
            world.excuse(f"{item.kind} ends")

        world.clock.at(world.clock.ms + item.length_ms, end)

    def _halt(self, item: Happening) -> None:
        market = self._world.market
        market.change_rules(item.symbol, trading=False)
        self._world.venue.set_rules(market.rule[item.symbol])

        def undo() -> None:
            market.change_rules(item.symbol, trading=True)
            self._world.tell_venue(market.true_quote(item.symbol))

        self._lasting(item, undo)

    def _filters(self, item: Happening) -> None:
        market = self._world.market
        rules = market.rule[item.symbol]
        match item.number % 3:
            case 0:
                market.change_rules(item.symbol, min_notional=Decimal(8))
            case 1:
                market.change_rules(item.symbol, tick=Decimal("0.05"))
            case _:
                market.change_rules(item.symbol, step=rules.step * 10, min_quantity=rules.step * 10)
        self._world.venue.set_rules(market.rule[item.symbol])

    def _quota(self, item: Happening) -> None:
        market = self._world.market
        market.change_rules(item.symbol, max_algo_orders=1 + item.number % 3)
        self._world.venue.set_rules(market.rule[item.symbol])

        def undo() -> None:
            market.change_rules(item.symbol, max_algo_orders=5)
            self._world.venue.set_rules(market.rule[item.symbol])

        self._lasting(item, undo)

    def _thin(self, item: Happening) -> None:
        market, thin = self._world.market, self._world.plan.thin
        market.depth[item.symbol] = Decimal(thin[item.number % len(thin)])
        self._lasting(item, lambda: market.depth.pop(item.symbol, None) and None)

    def _freeze(self, item: Happening) -> None:
        market = self._world.market
        market.freeze(item.symbol)
        # Long enough for the exit limit to matter.
        self._lasting(
            replace(item, length_ms=item.length_ms * 2), lambda: market.frozen.pop(item.symbol, None) and None
        )

    def _down(self, item: Happening) -> None:
        market = self._world.market
        market.take_down(item.symbol)
        self._lasting(item, lambda: market.down.pop(item.symbol, None) and None)

    def _hand_cancel(self, item: Happening) -> None:
        world = self._world
        resting = [order for order in world.truth.resting() if order.client_id in world.truth.sent]
        if not resting:
            return
        order = resting[item.number % len(resting)]
        world.venue.cancel(order.symbol, order.client_id, world.clock.now())
        world.watch.changed()
        world.tell(f"cancelled by hand {order.client_id}")

    def _foreign_order(self, item: Happening) -> None:
        world = self._world
        name = f"web_{item.name}"
        price = (world.market.price[item.symbol] * Decimal("0.5")).quantize(Decimal("0.1"))
        quantity = world.market.rule[item.symbol].quantity_down(Decimal(15) / price)
        request = OrderRequest(
            item.symbol,
            Side.BUY,
            OrderType.LIMIT,
            name,
            quantity=quantity,
            price=price,
            time_in_force=TimeInForce.GTC,
        )
        if self._place(request):
            self.foreign[name] = item.symbol

    def _orphan(self, item: Happening) -> None:
        world = self._world
        price = (world.market.price[item.symbol] * Decimal("0.5")).quantize(Decimal("0.1"))
        quantity = world.market.rule[item.symbol].quantity_down(Decimal(15) / price)
        request = OrderRequest(
            item.symbol,
            Side.BUY,
            OrderType.LIMIT,
            make_client_id("bnml", "zzzzzz", 99),
            quantity=quantity,
            price=price,
            time_in_force=TimeInForce.GTC,
        )
        if self._place(request):
            self.orphans.add(request.client_id)
            self._expect_halt("orphan")

    def _hand_trade(self, item: Happening) -> None:
        world = self._world
        request = OrderRequest(
            item.symbol,
            Side.BUY,
            OrderType.MARKET,
            f"web_{item.name}",
            quantity=world.market.rule[item.symbol].quantity_down(Decimal(20) / world.market.price[item.symbol]),
        )
        self._place(request)

    def _hand_deposit(self, item: Happening) -> None:
        asset = ("USDC", item.symbol.base)[item.number % 2]
        amount = Decimal(1 + item.number % 50) / 10
        self._world.venue.deposit(asset, amount)
        self._moved(asset, amount)
        self._expect_halt("hand deposit")

    def _ban(self, item: Happening) -> None:
        world = self._world
        world.banned_until_ms = max(world.banned_until_ms, world.clock.ms + item.length_ms)
        self._lasting(item, lambda: None)

    def _wall_jump(self, item: Happening) -> None:
        self._world.clock.wall_offset_ms += (item.number % 7_200_000) - 600_000

    def _kill_switch(self, item: Happening) -> None:
        self.halt_from_outside()

    def _reduce_only(self, item: Happening) -> None:
        if self._world.control_state() == "HALTED":
            return
        self._set_control(ControlState.REDUCE_ONLY, "operator: careful")

    def _takeover(self, item: Happening) -> None:
        with self._other_process() as store:
            store.start_epoch(self._world.clock.now(), "other process")
        self.taken_over = True
        self._world.tell("the book was taken over")

    def _set_control(self, state: ControlState, reason: str) -> None:
        with self._other_process() as store:
            store.set_control(state, reason, "operator", self._world.clock.now())

    @contextmanager
    def _other_process(self) -> Iterator[StateStore]:
        """Write the book as another process: the bot's own death does not strike it."""
        self._world.is_outside = True
        store = self._world.second_store()
        try:
            yield store
        finally:
            store.close()
            self._world.is_outside = False

    def _place(self, request: OrderRequest) -> bool:
        world = self._world
        try:
            world.venue.place(request, world.clock.now())
        except VenueError as refusal:
            world.tell(f"a hand was refused: {refusal.text}")
            return False
        world.watch.changed()
        return True

    def _moved(self, asset: str, amount: Decimal) -> None:
        self.moved_by_hand[asset] = self.moved_by_hand.get(asset, Decimal(0)) + amount

    def _expect_halt(self, why: str) -> None:
        self.must_halt = self.must_halt or why
        self._world.watch.halt_due_ms = self._world.clock.ms

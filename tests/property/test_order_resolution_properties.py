"""Orders over a venue whose answers are lost, late or out of date: what is written down is true, and all of it is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bn_ml.domain.account import Balance, ControlState
from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import Fill, IntentState, OrderIntent, OrderReport, OrderStatus, Purpose, Side
from bn_ml.errors import OutcomeUnknown, Refused, Transient
from tests.fakes.told_exchange import OrderWorld, ToldExchange, a_trade, order_world, report
from tests.fakes.venue_world import StepClock
from trader.gate import LimitReached
from trader.lost_orders import LAG
from trader.position_manager import dust

D = Decimal
STEP = D("0.001")
READ_LAG = timedelta(seconds=5)
assert READ_LAG < LAG
ENDED = {
    OrderStatus.FILLED: {IntentState.FILLED},
    OrderStatus.CANCELED: {IntentState.CANCELED},
    OrderStatus.EXPIRED: {IntentState.EXPIRED},
}


@dataclass
class TrueOrder:
    """What the venue really knows, with every state it was ever in."""

    intent: OrderIntent
    past: list[tuple[datetime, OrderReport]] = field(default_factory=list)
    is_wiped: bool = False

    @property
    def now(self) -> OrderReport:
        return self.past[-1][1]


class LateVenue(ToldExchange):
    """A truthful book read through caches of up to five seconds; writes may be lost on the way there or back."""

    def __init__(self, clock: StepClock) -> None:
        super().__init__()
        self.clock = clock
        self.orders: dict[str, TrueOrder] = {}
        self.draw: Callable[[str], int] = lambda kind: 0
        self.fate = "heard"
        self.is_calm = False

    def create_order(self, intent: OrderIntent) -> OrderReport:
        assert intent.client_id not in self.orders, "sent twice"
        if self.fate == "refused":
            raise Refused("Filter failure", -1013)
        if self.fate == "lost":
            raise OutcomeUnknown("timed out")
        true = TrueOrder(intent)
        self.orders[intent.client_id] = true
        self._now(true, report(intent, OrderStatus.NEW))
        if self.fate == "unheard":
            raise OutcomeUnknown("reset")
        return true.now

    def cancel_order(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        if self.fate == "lost":
            raise OutcomeUnknown("timed out")
        true = self.orders.get(client_id)
        if true is None or true.is_wiped or not true.now.status.is_open:
            return None
        self._now(true, replace(true.now, status=OrderStatus.CANCELED))
        if self.fate == "unheard":
            raise OutcomeUnknown("reset")
        # As the venue does: the answer to a cancel tells of quantities and of no trades.
        return replace(true.now, fills=())

    def order_status(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        if not self.is_calm and self.draw("fail") == 0:
            raise Transient("503")
        true = self.orders.get(client_id)
        if true is None or true.is_wiped:
            return None
        return self._seen(true)

    def open_orders(self) -> tuple[OrderReport, ...]:
        seen = [self._seen(true) for true in self.orders.values() if not true.is_wiped]
        return tuple(item for item in seen if item is not None and item.status.is_open)

    def trades(self, symbol: Symbol, since: datetime) -> tuple[Fill, ...]:
        return tuple(
            replace(fill, client_id="", order_id=true.now.exchange_id)
            for true in self.orders.values()
            for fill in true.now.fills
        )

    def balances(self) -> dict[str, Balance]:
        held = {"USDC": D(1000), "AAA": ZERO}
        for true in self.orders.values():
            for fill in true.now.fills:
                sign = 1 if fill.side is Side.BUY else -1
                held["AAA"] += sign * fill.quantity
                held["USDC"] -= sign * fill.quote_quantity
        return {asset: Balance(asset, amount) for asset, amount in held.items() if amount}

    def trade(self, true: TrueOrder, share: int) -> None:
        """Trade some of an order: all that is left for a share of 4."""
        left = true.intent.quantity - true.now.executed_quantity
        part = left if share == 4 else (left * share / 4).quantize(STEP)
        if part > 0:
            number = str(sum(len(item.now.fills) for item in self.orders.values()) + 1)
            fills = (*true.now.fills, a_trade(true.intent, number, str(part), at=self.clock.now()))
            status = OrderStatus.FILLED if part == left else OrderStatus.PARTIALLY_FILLED
            self._now(true, report(true.intent, status, *fills))

    def end(self, true: TrueOrder, status: OrderStatus) -> None:
        self._now(true, replace(true.now, status=status))

    def _now(self, true: TrueOrder, state: OrderReport) -> None:
        true.past.append((self.clock.now(), state))

    def _seen(self, true: TrueOrder) -> OrderReport | None:
        """An answer of some moment of the last five seconds; its trades may be younger or older than its state."""
        if self.is_calm:
            return true.now
        at = self.clock.now() - timedelta(seconds=self.draw("lag"))
        older = [state for since, state in true.past if since <= at]
        if not older:
            return None
        fills = true.now.fills if self.draw("fills") else older[-1].fills[:-1]
        return replace(older[-1], fills=fills)


def open_positions(world: OrderWorld) -> list[str]:
    return [item.position_id for item in world.orders.positions.open_positions()]


def check_truth(world: OrderWorld, venue: LateVenue) -> None:
    """Nothing on disk says more than the venue knows."""
    true_trades = {fill.trade_id: fill for true in venue.orders.values() for fill in true.now.fills}
    for record in world.store.recent_intents(1000):
        true = venue.orders.get(record.intent.client_id)
        for fill in world.store.fills_of(record.intent.client_id):
            assert fill == true_trades[fill.trade_id]
        if record.state in (IntentState.REFUSED, IntentState.NEVER_ACCEPTED):
            assert true is None
        elif record.state.is_terminal:
            assert true is not None
            assert true.is_wiped or record.state in ENDED[true.now.status], (record, true)
            assert record.filled_quantity == true.now.executed_quantity, (record, true)
    assert world.orders.open_intents() == world.store.open_intents()
    bought = world.store.ledger_balance("AAA")
    held = sum((item.remaining_quantity for item in world.store.open_positions()), ZERO)
    assert bought == held + dust(world.store).get("AAA", ZERO)


def send(world: OrderWorld, draw: st.DataObject) -> None:
    held = world.orders.positions.open_positions()
    try:
        if held and draw.draw(st.booleans()):
            entry = world.store.intents_of(held[0].position_id)[0].intent
            quantity = min(held[0].remaining_quantity, D(draw.draw(st.sampled_from(["0.5", "1", "2"]))))
            intent = world.sale(entry, str(quantity), Purpose.EXIT)
        else:
            intent = world.buy()
    except LimitReached:
        return
    world.orders.send(intent)


def play(world: OrderWorld, venue: LateVenue, draw: st.DataObject) -> None:
    for _ in range(draw.draw(st.integers(5, 40))):
        venue.fate = draw.draw(st.sampled_from(["heard", "heard", "unheard", "lost", "refused"]))
        alive = [item for item in venue.orders.values() if item.now.status.is_open and not item.is_wiped]
        open_ids = [item.intent.client_id for item in world.orders.open_intents() if item.state is IntentState.OPEN]
        known = [client_id for client_id in open_ids if venue.orders[client_id] in alive]
        match draw.draw(st.sampled_from(["send", "trade", "trade", "cancel", "end", "wipe", "look", "look", "time"])):
            case "send":
                send(world, draw)
            case "trade" if alive:
                venue.trade(draw.draw(st.sampled_from(alive)), draw.draw(st.integers(1, 4)))
            case "end" if alive:
                venue.end(alive[0], draw.draw(st.sampled_from([OrderStatus.CANCELED, OrderStatus.EXPIRED])))
            case "wipe" if known and draw.draw(st.integers(0, 3)) == 0:
                venue.orders[known[0]].is_wiped = True
            case "cancel" if world.orders.open_intents():
                world.orders.cancel(draw.draw(st.sampled_from(world.orders.open_intents())))
            case "look":
                with suppress(Transient):
                    world.orders.refresh()
        world.clock.sleep_until(world.clock.now() + timedelta(seconds=draw.draw(st.integers(0, 4))))
        check_truth(world, venue)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_whatever_the_answers_books_never_say_more_than_is_true_and_in_the_end_all_of_it(draw: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = order_world(Path(folder), exchange=LateVenue)
        live = world.exchange
        assert isinstance(live, LateVenue)
        chances = {"fail": st.integers(0, 5), "lag": st.integers(0, 5), "fills": st.integers(0, 2)}
        live.draw = lambda kind: draw.draw(chances[kind])
        play(world, live, draw)
        live.is_calm, live.fate = True, "heard"
        for _ in range(6):
            world.clock.sleep_until(world.clock.now() + timedelta(seconds=4))
            world.orders.refresh()
        check_truth(world, live)
        assert world.store.control().state is ControlState.NORMAL
        assert all(item.state is IntentState.OPEN for item in world.orders.open_intents())
        resting = {item.client_id for item in live.open_orders()}
        assert {item.intent.client_id for item in world.orders.open_intents()} == resting
        held = {asset: balance.total for asset, balance in live.balances().items()}
        ledger = {asset: amount for asset, amount in world.store.ledger_balances().items() if amount}
        assert ledger == held
        world.store.close()

"""The `Exchange` port over the venue and a bad line: every call takes time, and what the seed says goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, Replacement, receive_window
from bn_ml.errors import OutcomeUnknown, Refused, Transient, Unreachable
from bn_ml.paper_exchange import PaperExchange
from tests.sim.draws import Draws
from tests.sim.faults import NOTHING, Fault

if TYPE_CHECKING:
    from tests.sim.world import SimWorld

T = TypeVar("T")
REFUSALS = (
    (-1013, "Filter failure: NOTIONAL"),
    (-1013, "Filter failure: LOT_SIZE"),
    (-2010, "Account has insufficient balance for requested action."),
    (-2010, "Order would trigger immediately."),
    (-1021, "Timestamp for this request is outside of the recvWindow."),
    (-1015, "Too many new orders."),
    (-2015, "Invalid API-key, IP, or permissions for action."),
)
TIMEOUT_MS = 10_000


class Engine(PaperExchange):
    """The venue's own doing; the world keeps its prices up to date, so nothing needs to be walked."""

    def _bring_up_to_date(self, symbol: Symbol, now: datetime) -> bool:
        return True


class SimDoor:
    """What the bot calls."""

    def __init__(self, world: SimWorld, engine: Engine) -> None:
        self._world = world
        self._engine = engine
        self._seen: dict[str, tuple[int, object]] = {}

    def create_order(self, intent: OrderIntent) -> OrderReport:
        return self._write("create_order", (intent,), lambda: self._engine.create_order(intent))

    def create_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[OrderReport, OrderReport]:
        return self._write("create_oco", (target, stop), lambda: self._engine.create_oco(target, stop))

    def replace_order(self, client_id: str, intent: OrderIntent) -> Replacement:
        self._world.watch.before_cancel(intent.symbol, client_id)
        fault = self._enter("replace_order", (intent,))
        if fault.kind == "half_done":
            canceled = self._engine.cancel_order(intent.symbol, client_id)
            if canceled is None:
                return self._leave("replace_order", fault, self._refused(-2011, "Unknown order sent."))
            code, text = REFUSALS[fault.number % 4]
            return self._leave("replace_order", fault, lambda: Replacement(canceled, None, text, code))
        return self._carried("replace_order", fault, (intent,), lambda: self._engine.replace_order(client_id, intent))

    def cancel_order(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        self._world.watch.before_cancel(symbol, client_id)
        fault = self._enter("cancel_order", ())
        if fault.kind == "race":
            self._world.race(symbol, fault.number)
        return self._carried("cancel_order", fault, (), lambda: self._engine.cancel_order(symbol, client_id))

    def order_status(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        fault = self._enter("order_status", ())
        order = self._world.venue.find(symbol, client_id=client_id)
        young = order is not None and self._world.clock.ms - order.created_ms < 1500 + fault.number % 2500
        if fault.kind == "lag" and young:
            return self._leave("order_status", fault, lambda: None)
        answer = self._read("order_status", fault, lambda: self._engine.order_status(symbol, client_id))
        if fault.kind == "race":
            self._world.race(symbol, fault.number)
        return answer

    def open_orders(self) -> Sequence[OrderReport]:
        def present() -> Sequence[OrderReport]:
            return tuple(replace(report, fills=()) for report in self._engine.open_orders())

        fault = self._enter("open_orders", ())
        answer = self._read("open_orders", fault, lambda: self._maybe_old("open_orders", fault, present))
        if fault.kind == "race":
            self._world.race(None, fault.number)
        return answer

    def balances(self) -> Mapping[str, Balance]:
        fault = self._enter("balances", ())
        answer = self._read("balances", fault, lambda: self._maybe_old("balances", fault, self._engine.balances))
        if fault.kind == "race":
            self._world.race(None, fault.number)
        return answer

    def trades(self, symbol: Symbol, since: datetime) -> Sequence[Fill]:
        fault = self._enter("trades", ())

        def made() -> Sequence[Fill]:
            return tuple(replace(fill, client_id="") for fill in self._engine.trades(symbol, since))

        return self._read("trades", fault, made)

    def _write(self, method: str, intents: tuple[OrderIntent, ...], call: Callable[[], T]) -> T:
        return self._carried(method, self._enter(method, intents), intents, call)

    def _enter(self, method: str, intents: tuple[OrderIntent, ...]) -> Fault:
        world = self._world
        world.crash_point(f"{method}.before")
        world.watch.before_call(method, intents)
        for intent in intents:
            world.truth.note(intent, world.clock.ms)
        fault = world.faults.of_call(method)
        world.tell(f"{method} {' '.join(item.client_id for item in intents)} {fault.kind}")
        latency = Draws(world.plan.seed, "latency", world.clock.ms).between(4, 40)
        world.clock.advance(world.clock.ms + latency)
        if world.is_banned:
            world.known_ban_ms = world.banned_until_ms
            if method in ("open_orders", "balances", "order_status", "trades"):
                raise Unreachable("429: way too much request weight used")
            raise self._refused_as(-1003, "Way too many requests; IP banned.") from None
        return fault

    def _carried(self, method: str, fault: Fault, intents: tuple[OrderIntent, ...], call: Callable[[], T]) -> T:
        """Carry a state-changing call out as the fault says."""
        world, number = self._world, fault.number
        if fault.kind == "lost":
            world.clock.advance(world.clock.ms + number % 3000)
            world.excuse(fault.kind)
            raise OutcomeUnknown("timed out")
        if fault.kind == "refused":
            return self._leave(method, fault, self._refused(*REFUSALS[number % len(REFUSALS)]))
        if fault.kind == "late":
            arrival = world.clock.ms + 200 + number % 6500
            world.clock.at(arrival, lambda: self._arrive(method, intents, call))
            world.clock.advance(world.clock.ms + (number // 7) % 3000)
            world.excuse(fault.kind)
            raise OutcomeUnknown("connection reset")
        if fault.kind == "slow" and number % 2:
            world.clock.advance(world.clock.ms + 300 + number % 9000)
            world.excuse("slow")
        if fault.kind == "moved" and intents:
            world.set_price(intents[0].symbol, moved(world.market.price[intents[0].symbol], number))
        if fault.kind == "thinned" and intents:
            world.thin_out(intents[0].symbol, number)
        self._require_window(intents)
        answer = self._leave(method, NOTHING, call)
        if fault.kind == "duplicate":
            self._arrive(method, intents, call)
        if fault.kind == "slow" and not number % 2:
            world.clock.advance(world.clock.ms + 300 + number % 9000)
            world.excuse("slow")
        if fault.kind == "unheard":
            world.clock.advance(world.clock.ms + number % 3000)
            world.excuse(fault.kind)
            raise OutcomeUnknown("the answer was lost")
        return answer

    def _arrive(self, method: str, intents: tuple[OrderIntent, ...], call: Callable[[], object]) -> None:
        """A request reaches the venue while nobody waits for its answer any more."""
        try:
            self._require_window(intents)
            call()
        except Refused as refusal:
            self._world.tell(f"arrived {method}, refused {refusal.code}")
        else:
            self._world.tell(f"arrived {method}")
            self._world.watch.changed()
            self._world.excuse("a request was carried out late")

    def _read(self, method: str, fault: Fault, call: Callable[[], T]) -> T:
        world = self._world
        if fault.kind == "slow":
            world.clock.advance(world.clock.ms + 200 + fault.number % 4000)
            world.excuse("slow")
        if fault.kind == "transient":
            raise Transient("503 Service Unavailable")
        return self._leave(method, fault, call)

    def _leave(self, method: str, fault: Fault, call: Callable[[], T]) -> T:
        world = self._world
        try:
            answer = call()
        except Refused as refusal:
            world.tell(f"refused {refusal.code} {refusal}")
            world.watch.refused()
            raise
        world.clock.advance(world.clock.ms + 3)
        world.crash_point(f"{method}.after")
        world.watch.after_call(method)
        return answer

    def _maybe_old(self, name: str, fault: Fault, present: Callable[[], T]) -> T:
        at_ms, old = self._seen.get(name, (0, None))
        answer = present()
        self._seen[name] = (self._world.clock.ms, answer)
        recent = self._world.clock.ms - at_ms <= 4000
        return old if fault.kind == "stale" and recent else answer  # type: ignore[return-value]

    def _require_window(self, intents: tuple[OrderIntent, ...]) -> None:
        configured = timedelta(milliseconds=self._world.plan.settings.exchange.recv_window_ms)
        latest = [to_ms(item.created_at + receive_window(item, configured)) for item in intents]
        if any(self._world.clock.ms > instant for instant in latest):
            raise self._refused_as(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _refused_as(self, code: int, text: str) -> Refused:
        self._world.watch.refused()
        return Refused(text, code)

    def _refused(self, code: int, text: str) -> Callable[[], T]:
        def refuse() -> T:
            raise self._refused_as(code, text)

        return refuse


def moved(price: Decimal, number: int) -> Decimal:
    """Give a price up to 3 % away."""
    return (price * (9700 + number % 600) / 10_000).quantize(Decimal("0.01"))

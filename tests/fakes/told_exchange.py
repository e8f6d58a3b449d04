"""An exchange that says what a test tells it, and a money path without a market on top of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bn_ml.domain.account import Balance
from bn_ml.domain.market import Bar, MarketRules, Quote, Symbol
from bn_ml.domain.orders import (
    Fill,
    OrderIntent,
    OrderReport,
    OrderStatus,
    OrderType,
    Purpose,
    Replacement,
    Side,
    TimeInForce,
)
from bn_ml.errors import MarketDataError, OutcomeUnknown
from bn_ml.journal import Journal
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from tests.fakes.venue_world import StepClock
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.entry_plan import EntryPlan, save_plan
from trader.exit_manager import ExitManager
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager

D = Decimal
AAA = Symbol("AAA/USDC")
RULES = MarketRules(AAA, tick=D("0.01"), step=D("0.001"), min_notional=D(5))
Answer = OrderReport | Exception


@dataclass
class ToldExchange:
    """Answers writes from a queue, unclearly once it is empty, and reads from what the test has set."""

    answers: deque[Any] = field(default_factory=deque)
    known: dict[str, Answer] = field(default_factory=dict)
    resting: list[OrderReport] = field(default_factory=list)
    made: list[Fill] = field(default_factory=list)
    held: dict[str, Decimal] = field(default_factory=dict)
    failing: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def create_order(self, intent: OrderIntent) -> OrderReport:
        return self._answer()  # type: ignore[no-any-return]

    def create_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[OrderReport, OrderReport]:
        return self._answer()  # type: ignore[no-any-return]

    def replace_order(self, client_id: str, intent: OrderIntent) -> Replacement:
        return self._answer()  # type: ignore[no-any-return]

    def cancel_order(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        return self._answer()  # type: ignore[no-any-return]

    def order_status(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        self.asked.append(client_id)
        found = self.known.get(client_id)
        if isinstance(found, Exception):
            raise found
        return found

    def open_orders(self) -> Sequence[OrderReport]:
        if self.failing is not None:
            raise self.failing
        return tuple(self.resting)

    def trades(self, symbol: Symbol, since: datetime) -> Sequence[Fill]:
        return [fill for fill in self.made if fill.symbol == symbol and fill.at >= since]

    def balances(self) -> Mapping[str, Balance]:
        return {asset: Balance(asset, amount) for asset, amount in self.held.items()}

    def _answer(self) -> Any:
        answer = self.answers.popleft() if self.answers else OutcomeUnknown("no answer")
        if isinstance(answer, Exception):
            raise answer
        return answer


class NoMarket:
    """Knows the filters and no price."""

    def quote(self, symbol: Symbol) -> Quote:
        raise MarketDataError(f"{symbol}: no quote")

    def path(self, symbol: Symbol, since: datetime, until: datetime) -> Sequence[Bar]:
        return ()

    def atr_frac(self, symbol: Symbol) -> float:
        return 0.003

    def rules(self, symbol: Symbol) -> MarketRules:
        return replace(RULES, symbol=symbol)


@dataclass
class OrderWorld:
    """Orders and positions of one symbol over a told exchange."""

    exchange: ToldExchange
    clock: StepClock
    desk: Desk
    orders: OrderManager
    store: StateStore

    def buy(self, name: str = "", quantity: str = "2") -> OrderIntent:
        """Commit an entry of 2 AAA at most 10 USDC each."""
        name = name or self.store.next_client_id()
        now = self.clock.now()
        save_plan(self.store, EntryPlan(f"p-{name}", RULES, D(1), 0.003, 0.6, 8.0, 1, "test"), now)
        intent = OrderIntent(
            name,
            AAA,
            Side.BUY,
            OrderType.LIMIT,
            D(quantity),
            Purpose.ENTRY,
            f"p-{name}",
            now,
            limit_price=D(10),
            time_in_force=TimeInForce.IOC,
            reserved_quote=D(quantity) * 10,
        )
        self.orders.commit(intent)
        return intent

    def bought(self, quantity: str = "2") -> OrderIntent:
        """Have a position."""
        intent = self.buy(quantity=quantity)
        self.exchange.answers.append(done(intent, a_trade(intent, "1", quantity)))
        self.orders.send(intent)
        return intent

    def sale(self, entry: OrderIntent, quantity: str, purpose: Purpose = Purpose.STOP, **terms: Any) -> OrderIntent:
        """Commit a sale of a position."""
        intent = self.a_sale(entry, quantity, purpose, **terms)
        self.orders.commit(intent)
        return intent

    def a_sale(self, entry: OrderIntent, quantity: str, purpose: Purpose = Purpose.STOP, **terms: Any) -> OrderIntent:
        """A sale of a position that is not committed yet."""
        is_stop = purpose is Purpose.STOP
        return OrderIntent(
            self.store.next_client_id(),
            AAA,
            Side.SELL,
            OrderType.STOP_LOSS if is_stop else OrderType.LIMIT_MAKER,
            D(quantity),
            purpose,
            entry.position_id,
            self.clock.now(),
            limit_price=None if is_stop else D(11),
            stop_price=D(9) if is_stop else None,
            tranche=terms.pop("tranche", "tp1"),
            reason="kill_switch" if purpose is Purpose.EXIT else "",
            **terms,
        )


def order_world(
    folder: Path,
    settings: Settings | None = None,
    exchange: Callable[[StepClock], ToldExchange] = lambda clock: ToldExchange(),
) -> OrderWorld:
    """Join the parts over a new book of 1000 USDC."""
    store, clock = StateStore(folder / "bn_ml.db"), StepClock()
    door = exchange(clock)
    store.session.execute("PRAGMA synchronous = OFF")
    store.deposit("USDC", D(1000), clock.now(), "capital")
    settings = settings or Settings.from_mapping({"base_quote": "USDC"})
    desk = Desk(store, Journal(store), clock, NoMarket(), door, settings, mode="live")
    positions = PositionManager(desk, ExitManager(settings.risk), AccountKeeper(desk))
    orders = OrderManager(desk, positions)
    orders.own(store.start_epoch(clock.now(), "test"))
    return OrderWorld(door, clock, desk, orders, store)


def a_trade(intent: OrderIntent, trade_id: str, quantity: str, price: str = "10", **changes: Any) -> Fill:
    """A trade of an order without a fee."""
    made = Fill(
        trade_id,
        intent.client_id,
        intent.symbol,
        intent.side,
        D(price),
        D(quantity),
        D(price) * D(quantity),
        D(0),
        intent.symbol.quote,
        changes.pop("at", intent.created_at),
    )
    return replace(made, **changes)


def report(
    intent: OrderIntent, status: OrderStatus, *fills: Fill, executed: str | None = None, order_id: str = ""
) -> OrderReport:
    """What the exchange says of an order; executed is what the fills add up to unless given."""
    total = sum((fill.quantity for fill in fills), D(0)) if executed is None else D(executed)
    return OrderReport(
        client_id=intent.client_id,
        symbol=intent.symbol,
        side=intent.side,
        status=status,
        quantity=intent.quantity,
        executed_quantity=total,
        executed_quote=total * 10,
        exchange_id=order_id or f"x-{intent.client_id}",
        fills=fills,
        list_id=intent.list_id,
    )


def done(intent: OrderIntent, *fills: Fill) -> OrderReport:
    """A filled order."""
    return report(intent, OrderStatus.FILLED, *fills)


def resting(intent: OrderIntent, *fills: Fill) -> OrderReport:
    """An order in the book."""
    return report(intent, OrderStatus.PARTIALLY_FILLED if fills else OrderStatus.NEW, *fills)


def ended(intent: OrderIntent, *fills: Fill) -> OrderReport:
    """A cancelled order."""
    return report(intent, OrderStatus.CANCELED, *fills)

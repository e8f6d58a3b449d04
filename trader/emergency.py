"""Flat without a book: from what the exchange itself remembers of orders under our client ids.

Sold is at most what our own orders bought and did not sell again, and at most what is free. Orders and holdings of
other programs and people are never touched. Every order is noted beside the database before it is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from bn_ml.client_ids import PREFIX, instance_of, is_client_id, make_client_id
from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO, MarketRules, Symbol, iso
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason
from bn_ml.errors import ExchangeError, MarketDataError, OutcomeUnknown, Refused, StateError, Transient
from bn_ml.ports import Clock, Exchange
from bn_ml.side_journal import SideJournal, SideStory
from trader.closing import sale_quantity
from trader.flatten import NOT_TRADING, UNCLEAR, is_told_too_small
from trader.kill_switch import SymbolResult
from trader.order_manager import ACCEPTANCE_SLACK

log = logging.getLogger(__name__)

NO_POSITION = "emergency"


class History(Protocol):
    """What the exchange remembers of our orders."""

    def fills(self, symbol: Symbol) -> Sequence[Fill]:
        """Give the trades of our own orders in a symbol, oldest first; raises `Transient`."""


@dataclass(frozen=True, slots=True)
class EmergencyParts:
    """What an emergency works with. `rules` raises `MarketDataError` for a symbol it does not know."""

    exchange: Exchange
    history: History
    rules: Callable[[Symbol], MarketRules]
    clock: Clock
    notes: SideJournal
    receive_window: timedelta


@dataclass(slots=True)
class _Task:
    """One symbol: every known trade of our orders in it, by trade id, and what was done in this run."""

    symbol: Symbol
    fills: dict[str, Fill] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    cancelled: int = 0
    why: str = ""
    pending: OrderIntent | None = None
    is_done: bool = False
    dust: Decimal = ZERO
    most: Decimal = ZERO

    @property
    def owned(self) -> Decimal:
        return owned(sorted(self.fills.values(), key=lambda fill: int(fill.trade_id)), self.symbol)

    @property
    def to_sell(self) -> Decimal:
        """What is still to be sold; in one run never more in all than was owned before its first sale."""
        if not self.sold:
            self.most = self.owned
        return min(self.owned, self.most - self.sold)

    @property
    def is_idle(self) -> bool:
        return self.pending is None and self.owned == 0

    @property
    def sold(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills.values() if fill.client_id in self.sent), ZERO)

    def learn(self, fills: Iterable[Fill]) -> None:
        self.fills.update((fill.trade_id, fill) for fill in fills)


class Emergency:
    """Cancels our orders and sells what they bought, symbol by symbol, as often as `run_pass` is called."""

    def __init__(
        self, parts: EmergencyParts, symbols: Iterable[Symbol], covers: Callable[[Symbol], bool] = lambda symbol: True
    ) -> None:
        """Read what is open and what we own in `symbols`; raises `Transient` while the exchange cannot be read.

        Symbols of our open orders belong to them, unless `covers` says otherwise.
        """
        self._parts = parts
        self._covers = covers
        self.is_done = False
        story = _story(parts.notes)
        wanted = sorted(set(symbols) | {order.symbol for order in self._our_orders()})
        self._tasks = list(self._begun(wanted, story))
        began = parts.clock.now()
        self._instance = instance_of(f"{NO_POSITION}|{iso(began)}|{began.microsecond}")
        self._number = 0

    def plan(self) -> tuple[SymbolResult, ...]:
        """Give what would be sold, touching nothing."""
        orders = self._our_orders()
        counts = {task.symbol: sum(1 for order in orders if order.symbol == task.symbol) for task in self._tasks}
        return tuple(
            SymbolResult(task.symbol, 0, ZERO, task.owned, ZERO, f"{counts[task.symbol]} orders to cancel")
            for task in self._tasks
            if task.owned > 0 or counts[task.symbol]
        )

    def run_pass(self) -> bool:
        """Try once to be flat; tells whether nothing of ours is left. Raises `Transient` while nothing can be read."""
        orders = self._our_orders()
        for task in self._tasks:
            mine = [order for order in orders if order.symbol == task.symbol]
            task.is_done = not mine and (task.is_done or task.is_idle)
            if task.is_done:
                continue
            task.why = ""
            try:
                self._work(task, mine)
            except (ExchangeError, MarketDataError) as error:
                task.why = str(error)
                log.error("not flat yet symbol=%s reason=%s", task.symbol, error)
        self.is_done = all(task.is_done for task in self._tasks) and not self._our_orders()
        return self.is_done

    def look_again(self) -> None:
        """Take over what the exchange remembers by now: an order of the bot may have been on its way when it ended."""
        for task in self._tasks:
            if task.fills or task.cancelled:
                task.learn(self._parts.history.fills(task.symbol))
                task.most = task.owned + task.sold
                task.is_done = False

    def results(self) -> tuple[SymbolResult, ...]:
        """Give what was done for each symbol that had anything of ours."""
        return tuple(
            SymbolResult(
                task.symbol, task.cancelled, task.sold, ZERO if task.is_done else task.owned, task.dust, task.why
            )
            for task in self._tasks
            if task.cancelled or task.sold or task.owned > 0 or task.why
        )

    def _our_orders(self) -> list[OrderReport]:
        found = self._parts.exchange.open_orders()
        return [order for order in found if is_client_id(order.client_id, PREFIX) and self._covers(order.symbol)]

    def _begun(self, symbols: Iterable[Symbol], story: SideStory) -> Iterator[_Task]:
        for symbol in symbols:
            task = _Task(symbol)
            task.learn(fill for fill in story.fills if fill.symbol == symbol)
            try:
                task.learn(self._parts.history.fills(symbol))
            except Transient:
                raise
            except ExchangeError as error:
                log.warning("nothing is known of a symbol symbol=%s reason=%s", symbol, error)
            task.pending = next((item for item in story.unsettled if item.symbol == symbol), None)
            yield task

    def _work(self, task: _Task, orders: Sequence[OrderReport]) -> None:
        rules = self._parts.rules(task.symbol)
        if not rules.trading:
            task.why = NOT_TRADING
            return
        if task.pending is not None and not self._settle(task, task.pending):
            task.why = UNCLEAR
            return
        for order in orders:
            self._cancel(task, order)
        while self._sell(task, rules):
            continue

    def _cancel(self, task: _Task, order: OrderReport) -> None:
        ended = self._parts.exchange.cancel_order(task.symbol, order.client_id)
        if ended is None:
            ended = self._parts.exchange.order_status(task.symbol, order.client_id)
        if ended is None or ended.status.is_open:
            raise OutcomeUnknown(f"order {order.client_id} is neither open nor ended")
        self._parts.notes.note(f"{task.symbol}: cancelled {order.client_id}")
        task.cancelled += 1
        # The venue's memory may lag behind what the order did last.
        task.learn(ended.fills)

    def _sell(self, task: _Task, rules: MarketRules) -> bool:
        """Sell once; True when something was sold and all is clear, so that there may be more to sell."""
        base = task.symbol.base
        free = self._parts.exchange.balances().get(base, Balance(base, ZERO)).free
        quantity = sale_quantity(min(task.to_sell, free), rules)
        if quantity <= 0 or quantity < max(rules.min_quantity, rules.market_min_quantity):
            task.is_done, task.dust = True, max(min(task.to_sell, free), ZERO)
            return False
        intent = self._intent(task.symbol, quantity)
        self._parts.notes.intent(intent)
        task.sent.add(intent.client_id)
        try:
            report = self._parts.exchange.create_order(intent)
        except Refused as error:
            self._parts.notes.settled(intent.client_id, f"refused: {error.code} {error}")
            highest = max((fill.price for fill in task.fills.values()), default=ZERO)
            if not is_told_too_small(str(error), quantity * highest, rules):
                raise
            task.is_done, task.dust = True, quantity
            return False
        except (OutcomeUnknown, Transient) as error:
            task.pending, task.why = intent, str(error)
            return False
        self._book(task, intent, report)
        return task.pending is None and bool(report.fills)

    def _settle(self, task: _Task, intent: OrderIntent) -> bool:
        """Find out what became of an order; True once it can do nothing more."""
        report = self._parts.exchange.order_status(task.symbol, intent.client_id)
        if report is not None:
            self._book(task, intent, report)
            return task.pending is None
        if self._parts.clock.now() <= intent.created_at + self._parts.receive_window + ACCEPTANCE_SLACK:
            return False
        self._parts.notes.settled(intent.client_id, "never accepted")
        task.pending = None
        return True

    def _book(self, task: _Task, intent: OrderIntent, report: OrderReport) -> None:
        if report.status.is_open:
            task.pending = intent
            return
        for fill in report.fills:
            self._parts.notes.fill(fill)
        task.learn(report.fills)
        self._parts.notes.settled(intent.client_id, report.status.value)
        task.pending = None
        log.critical("sold without a book symbol=%s quantity=%s", task.symbol, report.executed_quantity)

    def _intent(self, symbol: Symbol, quantity: Decimal) -> OrderIntent:
        self._number += 1
        now: datetime = self._parts.clock.now()
        return OrderIntent(
            client_id=make_client_id(PREFIX, self._instance, self._number),
            symbol=symbol,
            side=Side.SELL,
            type=OrderType.MARKET,
            quantity=quantity,
            purpose=Purpose.EXIT,
            position_id=NO_POSITION,
            created_at=now,
            reason=ExitReason.KILL_SWITCH.value,
        )


def owned(fills: Iterable[Fill], symbol: Symbol) -> Decimal:
    """Give what our own trades, oldest first, leave of the base asset.

    A sale of more than was bought before, as where the history begins in the middle, leaves nothing rather than less.
    """
    total = ZERO
    for fill in fills:
        fee = fill.fee if fill.fee_asset == symbol.base else ZERO
        total += (fill.quantity if fill.side is Side.BUY else -fill.quantity) - fee
        total = max(total, ZERO)
    return total


def _story(notes: SideJournal) -> SideStory:
    """Give what earlier runs left; without it the exchange's own memory has to do."""
    try:
        return notes.story()
    except StateError as error:
        log.critical("what earlier runs did is unknown: %s", error)
        return SideStory({}, frozenset(), ())

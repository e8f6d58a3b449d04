"""One life of the bot's process: its store, its desk and its engine, joined as the wiring joins them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from bn_ml.domain.account import Control
from bn_ml.domain.events import Event
from bn_ml.domain.market import from_ms
from bn_ml.journal import Journal
from bn_ml.live_exchange import LiveExchange
from bn_ml.ports import Clock, Exchange
from bn_ml.state_store import StateStore
from tests.sim.disk import FaultyDisk
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.engine import EngineParts, TradingEngine
from trader.entries import EntryMaker
from trader.exit_manager import ExitManager
from trader.exit_pass import ExitPass
from trader.live_capital import allot, note_started
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager
from trader.protection import Protection
from trader.reconciliation import Reconciler
from trader.risk_manager import RiskManager

if TYPE_CHECKING:
    from tests.sim.world import SimWorld


class Killed(BaseException):
    """The process is gone; no code may catch it."""


class Life:
    """A process from its start to its end. Raises what ends it."""

    def __init__(self, world: SimWorld, exchange: Exchange, clock: Clock, live: LiveExchange | None = None) -> None:
        self._world = world
        self._clock = clock
        self._live = live
        self.store = StateStore(world.path)
        self.owner = -1
        try:
            self.store.session.execute("PRAGMA synchronous = OFF")
            self._bind(exchange)
            FaultyDisk(self.store, world)
            self._follow_ownership()
            self.engine = self._joined(exchange)
        except BaseException:
            self.store.close()
            raise

    def run(self) -> None:
        """Live until the schedule is over."""
        world = self._world
        self.engine.run(lambda: world.clock.ms >= world.ends_ms)

    def emit(self, event: Event) -> None:
        """Hear of a committed fact."""
        self._world.heard(event)

    def _follow_ownership(self) -> None:
        """Tell the world which epoch this process owns the book by: one that nobody had before."""
        world, start_epoch = self._world, self.store.start_epoch

        def started(at: datetime, set_by: str) -> Control:
            newest = world.newest_epoch()
            control = start_epoch(at, set_by)
            taken = control.owner > newest
            world.watch.demand("P9", taken, f"started as owner {control.owner}, newest epoch was {newest}")
            world.owner = control.owner
            return control

        self.store.start_epoch = started  # type: ignore[method-assign]

    def _bind(self, exchange: Exchange) -> None:
        world = self._world
        self.store.bind_book("live", "sim", world.clock.now())
        world.watch.demand("book", not world.plan.paper_before, "a paper book was opened for live trading")
        allot(self.store, exchange.balances(), world.plan.settings, self._clock.now())

    def _follow_recovery(self) -> None:
        """Tell the world when the start has recovered the book."""
        start = self.reconciler.start

        def started() -> None:
            start()
            note_started(self.store, self._clock.now())
            self._world.watch.recovered()

        self.reconciler.start = started  # type: ignore[method-assign]

    def _banned_until(self) -> datetime | None:
        if self._live is not None:
            return self._live.weight.banned_until
        return from_ms(self._world.known_ban_ms) if self._world.known_ban_ms else None

    def _joined(self, exchange: Exchange) -> TradingEngine:
        world = self._world
        settings = world.plan.settings
        desk = Desk(
            self.store, Journal(self.store, (self,)), self._clock, world.market, exchange, settings, mode="live"
        )
        exits = ExitManager(settings.risk)
        keeper = AccountKeeper(desk)
        orders = OrderManager(desk, PositionManager(desk, exits, keeper))
        protection = Protection(desk, orders, exits)
        self.reconciler = Reconciler(desk, orders, protection)
        self._follow_recovery()
        parts = EngineParts(
            scanner=world.scanner,
            orders=orders,
            positions=orders.positions,
            keeper=keeper,
            exits=ExitPass(desk, orders, protection, exits),
            entries=EntryMaker(desk, RiskManager(settings), orders, protection, keeper),
            reconciler=self.reconciler,
            data_source="live",
            clock_offset_s=lambda: 0.0,
            banned_until=self._banned_until,
        )
        return TradingEngine(desk, parts)

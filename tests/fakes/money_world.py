"""The whole money path on real parts: a book on disk, the paper exchange, the trader, a scripted market and faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bn_ml.domain.events import Event
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import IntentRecord, Purpose
from bn_ml.domain.positions import Position
from bn_ml.journal import Journal
from bn_ml.ports import Background
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from bn_ml.venue.account import FeeRates
from bn_ml.venue.liquidity import Liquidity
from bn_ml.venue.venue import Venue
from bn_ml.venue_store import VenueStore
from tests.fakes.faulty_exchange import Faults, FaultyExchange, Killed, with_deadly_commits
from tests.fakes.scripted_market import ScriptedMarket, ScriptedScanner
from tests.fakes.venue_world import StepClock
from trader.account_keeper import AccountKeeper
from trader.cycle_report import CycleReport
from trader.desk import Desk
from trader.engine import EngineParts, TradingEngine
from trader.entries import EntryMaker
from trader.exchanges.paper import PaperExchange
from trader.exit_manager import ExitManager
from trader.exit_pass import ExitPass
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager
from trader.protection import Protection, is_covered
from trader.reconciliation import Reconciler
from trader.risk_manager import RiskManager
from trader.trailing import trigger

AAA = Symbol("AAA/USDC")
BBB = Symbol("BBB/USDC")
CCC = Symbol("CCC/USDC")
BTC = Symbol("BTC/USDC")
CAPITAL = Decimal(1000)


def money_settings(**sections: dict[str, Any]) -> Settings:
    """Settings under which a scan's wish is bought: everything default but the floor of the disk and what is given."""
    plain: dict[str, Any] = {"base_quote": "USDC", "storage": {"min_free_disk_mb": 0}}
    for name, values in sections.items():
        plain[name] = {**plain.get(name, {}), **values}
    return Settings.from_mapping(plain)


class Recorder:
    """Keeps every fact it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.kind == kind]


@dataclass
class Bot:
    """One life of the process."""

    store: StateStore
    desk: Desk
    venue: Venue
    paper: PaperExchange
    orders: OrderManager
    positions: PositionManager
    protection: Protection
    exits: ExitPass
    entries: EntryMaker
    keeper: AccountKeeper
    reconciler: Reconciler
    engine: TradingEngine


class MoneyWorld:
    """Clock, market, scanner and faults outlive the bot; the bot lives from what is on disk."""

    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        *,
        seed: int = 0,
        price: str = "100",
        background: Sequence[Background] = (),
        watchers: Sequence[Callable[[CycleReport], None]] = (),
        durable: bool = False,
    ) -> None:
        self.path = folder / "bn_ml.db"
        self.settings = settings or money_settings()
        self.clock = StepClock()
        self.market = ScriptedMarket(self.clock, {AAA: price, BBB: price, CCC: price, BTC: "20000"})
        self.scanner = ScriptedScanner(self.market)
        self.faults = Faults(seed)
        self.recorder = Recorder()
        self.reports: list[CycleReport] = []
        self._background = tuple(background)
        self._watchers = (*watchers, self.reports.append)
        self._durable = durable
        self.clock_offset_s: float | None = 0.0
        self.banned_until: datetime | None = None
        self.restarts_spent = False
        self.beats: list[tuple[str, datetime]] = []
        self.faults.is_young = self._is_young
        self.bot = self._open()

    def start(self) -> Bot:
        """Recover, as a start does."""
        self.bot.reconciler.start()
        return self.bot

    def close(self) -> None:
        """Close the book of the present life."""
        self.bot.store.close()

    def restart(self) -> Bot:
        """Die without a word and live again from the files."""
        self.close()
        self.bot = self._open()
        return self.start()

    def cycle(self) -> CycleReport:
        return self.bot.engine.run_cycle()

    def buy(self, *symbols: Symbol) -> CycleReport:
        """One cycle that wants the symbols."""
        self.scanner.want(*(symbols or (AAA,)))
        return self.cycle()

    def look(self, seconds: float = 5) -> None:
        """Let time pass and look at what is held."""
        self.clock.sleep_until(self.clock.now() + timedelta(seconds=seconds))
        self.bot.exits.run()

    def move(self, price: str, symbol: Symbol = AAA, *, seconds: float = 5) -> None:
        """Move the price after a while, then look at what is held."""
        self.clock.sleep_until(self.clock.now() + timedelta(seconds=seconds))
        self.market.move(symbol, price)
        self.bot.exits.run()

    def survive(self, action: Callable[[], object]) -> bool:
        """Do something; after a death live again until a start succeeds. Gives whether it lived through it."""
        try:
            action()
        except Killed:
            while True:
                try:
                    self.restart()
                except Killed:
                    continue
                return False
        return True

    def held(self, symbol: Symbol = AAA) -> Position:
        """The open position of a symbol."""
        (position,) = (item for item in self.bot.positions.open_positions() if item.symbol == symbol)
        return position

    def last_closed(self) -> Position:
        return self.bot.store.closed_positions()[-1]

    def live(self, purpose: Purpose | None = None) -> list[IntentRecord]:
        return [item for item in self.bot.orders.open_intents() if purpose in (None, item.intent.purpose)]

    def covered(self, symbol: Symbol = AAA) -> bool:
        """Whether every tranche has its stop by our book, and that stop rests at the venue."""
        position = self.held(symbol)
        live = self.bot.orders.open_of(position.position_id)
        resting = {order.client_id for order in self.bot.venue.open_orders(symbol)}
        return is_covered(position, live) and {item.intent.client_id for item in live} <= resting

    def stops(self, symbol: Symbol = AAA) -> dict[str, Decimal]:
        """Levels of the resting stops by tranche, as the venue has them; of one that trails, where it stands now."""
        intents = {item.intent.client_id: item.intent for item in self.live()}
        levels = {}
        for order in self.bot.venue.open_orders(symbol):
            intent = intents.get(order.client_id)
            label = intent.tranche if intent else order.client_id
            if order.trails and intent is not None and intent.reference_price is not None:
                levels[label] = order.trigger_level or trigger(intent.reference_price, intent.trailing_bp)
            elif order.stop_price:
                levels[label] = order.stop_price
        return levels

    def trailing(self, symbol: Symbol = AAA) -> set[str]:
        """Tranches whose stop the venue trails."""
        tranche = {item.intent.client_id: item.intent.tranche for item in self.live()}
        return {tranche[order.client_id] for order in self.bot.venue.open_orders(symbol) if order.trails}

    def kinds(self) -> list[str]:
        return [event.kind for event in self.recorder.events]

    def never_sent_twice(self) -> bool:
        return all(count == 1 for count in self.faults.sent.values())

    def _is_young(self, client_id: str) -> bool:
        record = self.bot.store.intent(client_id)
        return record is not None and self.clock.now() - record.intent.created_at < timedelta(seconds=5)

    def _open(self) -> Bot:
        store = StateStore(self.path)
        try:
            return self._opened(store)
        except BaseException:
            store.close()
            raise

    def _opened(self, store: StateStore) -> Bot:
        if not self._durable:
            store.session.execute("PRAGMA synchronous = OFF")
        store.bind_book("paper", "tests", self.clock.now())
        venue = Venue(
            VenueStore(store),
            fees=FeeRates(maker=Decimal("0.001"), taker=Decimal("0.001")),
            liquidity=Liquidity(participation=Decimal("0.01")),
        )
        paper = PaperExchange(venue, self.market, self.clock)
        paper.fund("USDC", CAPITAL)
        if not store.ledger_balances():
            store.deposit("USDC", CAPITAL, self.clock.now(), "starting capital")
        with_deadly_commits(store, self.faults)
        exchange = FaultyExchange(paper, self.faults)
        journal = Journal(store, (self.recorder,))
        desk = Desk(store, journal, self.clock, self.market, exchange, self.settings, mode="paper")
        return self._joined(desk, venue, paper)

    def _joined(self, desk: Desk, venue: Venue, paper: PaperExchange) -> Bot:
        exits = ExitManager(desk.settings.risk)
        keeper = AccountKeeper(desk)
        orders = OrderManager(desk, PositionManager(desk, exits, keeper))
        protection = Protection(desk, orders, exits)
        parts = EngineParts(
            scanner=self.scanner,
            orders=orders,
            positions=orders.positions,
            keeper=keeper,
            exits=ExitPass(desk, orders, protection, exits),
            entries=EntryMaker(desk, RiskManager(desk.settings), orders, protection, keeper),
            reconciler=Reconciler(desk, orders, protection),
            background=self._background,
            watchers=self._watchers,
            data_source="test",
            clock_offset_s=lambda: self.clock_offset_s,
            banned_until=lambda: self.banned_until,
            restarts_spent=lambda: self.restarts_spent,
            beat=lambda step: self.beats.append((step, self.clock.now())),
        )
        engine = TradingEngine(desk, parts)
        return Bot(
            desk.store,
            desk,
            venue,
            paper,
            orders,
            orders.positions,
            protection,
            parts.exits,
            parts.entries,
            keeper,
            parts.reconciler,
            engine,
        )


NewWorld = Callable[..., MoneyWorld]

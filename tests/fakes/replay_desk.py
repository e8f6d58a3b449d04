"""The money path over stored bars: a replayed market, the paper exchange, and the parts that guard a position."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, exact, to_ms
from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side
from bn_ml.domain.positions import Position
from bn_ml.journal import Journal
from bn_ml.settings import RiskSettings, Settings
from bn_ml.state_store import StateStore
from bn_ml.venue.account import FeeRates
from bn_ml.venue.liquidity import Liquidity
from bn_ml.venue.venue import Venue
from bn_ml.venue_store import VenueStore
from data_manager.data_manager import BinanceDataManager
from data_manager.sources.replay import ReplaySource
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.entry_plan import EntryPlan, save_plan
from trader.exchanges.paper import PaperExchange
from trader.exit_manager import ExitManager
from trader.exit_pass import ExitPass
from trader.gate import Gate, Means
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager
from trader.protection import Protection

BAR = Timeframe.M15.length
CAPITAL = Decimal(1_000_000)


class OpenGate(Gate):
    """Lets every entry through, so that exits can be watched on more than an account may hold; sales are held to it."""

    def require_room(self, intent: OrderIntent, means: Means | None = None) -> None:
        if intent.side is Side.SELL:
            super().require_room(intent, means)


@dataclass
class ReplayDesk:
    """A book, a clock that visits bar boundaries, and the trader's parts; entries are placed by the test itself."""

    desk: Desk
    clock: SimulatedClock
    orders: OrderManager
    protection: Protection
    exits: ExitPass

    def buy(self, symbol: Symbol, notional: Decimal, atr_frac: float) -> Position:
        """Buy at the present quote and protect what was bought."""
        store, now = self.desk.store, self.clock.now()
        rules, quote = self.desk.market.rules(symbol), self.desk.market.quote(symbol)
        position_id = f"{symbol.key}-{to_ms(now)}"
        intent = OrderIntent(
            client_id=store.next_client_id(),
            symbol=symbol,
            side=Side.BUY,
            type=OrderType.MARKET,
            quantity=rules.quantity_down(notional / quote.ask),
            purpose=Purpose.ENTRY,
            position_id=position_id,
            created_at=now,
            reason="test",
            reference_price=quote.ask,
        )
        plan = EntryPlan(position_id, rules, Decimal(1), atr_frac, 0.6, 8.0, None, "replay")
        with store.transaction():
            save_plan(store, plan, now)
            self.orders.commit(intent)
        self.orders.send(intent)
        self.protection.ensure(self.position(position_id))
        return self.position(position_id)

    def position(self, position_id: str) -> Position:
        """Give a position that must exist."""
        found = self.orders.positions.position(position_id)
        assert found is not None
        return found

    def next_bar(self) -> datetime:
        """Go to the next bar boundary and look at everything held."""
        self.clock.sleep_until(self.clock.now() + timedelta(seconds=1))
        self.exits.run()
        return self.clock.now()

    def close(self) -> None:
        """Close the book."""
        self.desk.store.close()


def replay_desk(folder: Path, history: Path, risk: RiskSettings, *, start: datetime, quote: str) -> ReplayDesk:
    """Join the parts over the bars stored in `history`; the book is a new file in `folder`."""
    clock = SimulatedClock(start, BAR)
    settings = Settings.from_mapping({"base_quote": quote, "data": {"replay_dir": str(history)}}).model_copy(
        update={"risk": risk}
    )
    store = StateStore(folder / "bn_ml.db")
    store.session.execute("PRAGMA synchronous = OFF")
    store.bind_book("paper", "tests", start)
    market = BinanceDataManager(settings, ReplaySource(history, clock), clock=clock)
    fee = exact(risk.fees_pct)
    venue = Venue(VenueStore(store), fees=FeeRates(maker=fee, taker=fee), liquidity=Liquidity())
    paper = PaperExchange(venue, market, clock)
    paper.fund(quote, CAPITAL)
    store.deposit(quote, CAPITAL, start, "starting capital")
    desk = Desk(store, Journal(store), clock, market, paper, settings, mode="paper")
    exits = ExitManager(risk)
    orders = OrderManager(desk, PositionManager(desk, exits, AccountKeeper(desk)))
    orders._gate = OpenGate(store, settings)
    protection = Protection(desk, orders, exits)
    return ReplayDesk(desk, clock, orders, protection, ExitPass(desk, orders, protection, exits))

"""Drives the real money path over a small made-up market, so that tests have whole books to check and to spoil."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Bar, MarketRules, Quote, Symbol, from_iso
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.errors import MarketDataError
from bn_ml.journal import Journal
from bn_ml.ports import Clock
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from bn_ml.venue.account import FeeRates
from bn_ml.venue.venue import Venue
from bn_ml.venue_store import VenueStore
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.engine import EngineParts, TradingEngine
from trader.entries import EntryMaker
from trader.exchanges.paper import PaperExchange
from trader.exit_manager import ExitManager
from trader.exit_pass import ExitPass
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager
from trader.protection import Protection
from trader.reconciliation import Reconciler
from trader.risk_manager import RiskManager

START = from_iso("2023-06-05T00:00:00Z")
QUARTER = timedelta(minutes=15)
SYMBOLS = tuple(Symbol(f"{base}/USDT") for base in ("BTC", "BBB", "CCC", "DDD", "EEE", "FFF"))
UNRELATED = {(a, b): 0.0 for a in SYMBOLS for b in SYMBOLS if a < b}
RELAXED = {
    "base_quote": "USDT",
    "universe": {"training_symbols": [str(symbol) for symbol in SYMBOLS]},
    "data": {"paper_market_data_mode": "replay"},
    "scanner": {"min_score": 0.0, "min_confidence": 0.0},
    "risk": {"max_open_positions": 4, "max_daily_risk_pct": 0.05, "max_weekly_risk_pct": 0.2, "max_correlation": 1.0},
}


class MadeUpMarket:
    """Random walks in steps of a quarter of an hour; the quote is the open of the bar that opens now."""

    def __init__(self, clock: Clock, bars: int, seed: int) -> None:
        self._clock = clock
        dice = np.random.default_rng(seed)
        self._bars = {symbol: _walk(dice, bars) for symbol in SYMBOLS}

    def quote(self, symbol: Symbol) -> Quote:
        now = self._clock.now()
        place = (now - START) // QUARTER
        if not 0 <= place < len(self._bars[symbol]):
            raise MarketDataError(f"{symbol}: the market is over")
        price = self._bars[symbol][place].open
        half = Decimal("0.005")
        return Quote(symbol, price - half, price + half, price, now, "replay", Decimal(3_000_000), Decimal(900_000_000))

    def path(self, symbol: Symbol, since: datetime, until: datetime) -> Sequence[Bar]:
        first, last = -((START - since) // QUARTER), (until - START) // QUARTER
        bars = self._bars[symbol][max(first, 0) : max(last, 0)]
        return [bar for bar in bars if bar.open_at >= since and bar.close_at <= until]

    def atr_frac(self, symbol: Symbol) -> float:
        return 0.01

    def rules(self, symbol: Symbol) -> MarketRules:
        return MarketRules(
            symbol,
            tick=Decimal("0.01"),
            step=Decimal("0.001"),
            min_notional=Decimal(5),
            min_quantity=Decimal("0.001"),
            max_quantity=Decimal(9000),
        )


class AlwaysBuys:
    """Recommends every symbol at every scan."""

    def __init__(self, market: MadeUpMarket) -> None:
        self._market = market

    def scan(self, now: datetime) -> ScanReport:
        return ScanReport(now, tuple(self._opportunity(symbol, now) for symbol in SYMBOLS), (), UNRELATED)

    def _opportunity(self, symbol: Symbol, now: datetime) -> Opportunity:
        signal = Signal(symbol, Action.BUY, Probabilities(0.1, 0.1, 0.8), now, data_source="replay")
        return Opportunity(signal, self._market.quote(symbol), score=8.0, atr_frac=0.01, volatility_frac=0.0005)


def write_book(path: Path, settings: Settings, *, bars: int, seed: int, restarts: int = 0) -> None:
    """Trade a made-up market from beginning to end, starting the bot anew as often as asked."""
    for part in range(restarts + 1):
        start = START + QUARTER * (bars * part // (restarts + 1))
        _trade(path, settings, start=start, cycles=bars // (restarts + 1) - 1, market=(bars, seed))


def _trade(path: Path, settings: Settings, *, start: datetime, cycles: int, market: tuple[int, int]) -> None:
    clock = SimulatedClock(start, QUARTER)
    prices = MadeUpMarket(clock, *market)
    store = StateStore(path)
    # Nobody pulls the plug on a test.
    store.session.execute("PRAGMA synchronous = OFF")
    fee = Decimal("0.001")
    exchange = PaperExchange(Venue(VenueStore(store), fees=FeeRates(maker=fee, taker=fee)), prices, clock)
    exchange.fund("USDT", Decimal(1000))
    if not store.ledger_balances():
        store.deposit("USDT", Decimal(1000), clock.now(), "starting capital")
    desk = Desk(store, Journal(store), clock, prices, exchange, settings, mode="paper")
    exits, keeper = ExitManager(settings.risk), AccountKeeper(desk)
    orders = OrderManager(desk, PositionManager(desk, exits, keeper))
    protection = Protection(desk, orders, exits)
    parts = EngineParts(
        scanner=AlwaysBuys(prices),
        orders=orders,
        positions=orders.positions,
        keeper=keeper,
        exits=ExitPass(desk, orders, protection, exits),
        entries=EntryMaker(desk, RiskManager(settings), orders, protection, keeper),
        reconciler=Reconciler(desk, orders, protection),
        data_source="replay",
    )
    TradingEngine(desk, parts).run(lambda: False, cycles)
    store.close()


def _walk(dice: np.random.Generator, bars: int) -> list[Bar]:
    price, made = 100.0 * float(np.exp(dice.normal(0, 0.3))), []
    for place in range(bars):
        opened = round(price, 2)
        path = opened * np.exp(np.cumsum(dice.normal(0.0001, 0.0025, size=8)))
        price = float(path[-1])
        numbers = [opened, max(opened, *path), min(opened, *path), price]
        first, high, low, last = (Decimal(f"{number:.2f}") for number in numbers)
        at = START + QUARTER * place
        made.append(Bar(at, at + QUARTER, first, high, low, last, Decimal(1_000_000)))
    return made

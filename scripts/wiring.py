"""The composition root: which clock, which market and which exchange the one loop runs on.

| | clock | market | exchange |
|---|---|---|---|
| paper, live prices | system | Binance | paper |
| paper, generated prices | scaled | synthetic | paper |
| paper, recorded bars | simulated, bar by bar | replay | paper |
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from bn_ml.book_identity import switch_book
from bn_ml.clock import ScaledClock, SimulatedClock, SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.market import Symbol, Timeframe, from_ms, iso
from bn_ml.errors import ConfigError
from bn_ml.journal import Journal
from bn_ml.ports import Background, Clock, EventSink
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from bn_ml.venue_store import VenueStore
from data_manager.cached_bars import CachedBars
from data_manager.data_manager import BinanceDataManager
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import BatchFeatureFeed, FeatureFeed, LiveFeatureFeed, MarketBasket
from data_manager.feed_checks import FeedLimits
from data_manager.open_source import open_source, replay_source, synthetic_source
from data_manager.source import DataSource
from data_manager.venue_listings import VenueListings
from ml_engine.bundle_signing import key_file
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from monitoring.exports import PositionsExport, ScanExports
from scanner.multi_pair_scanner import MultiPairScanner, ScanExtras
from scripts.background import BundleAdoption, Retention
from scripts.market_basket import basket
from scripts.model_records import ModelRecords
from scripts.venue_facts import banned_until, clock_offset_s, say_without_benchmark
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.engine import CycleWatcher, EngineParts, TradingEngine
from trader.entries import EntryMaker
from trader.exchanges.paper import PaperExchange, open_paper_exchange, starting_capital
from trader.exit_manager import ExitManager
from trader.exit_pass import ExitPass
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager
from trader.protection import Protection
from trader.reconciliation import Reconciler
from trader.risk_manager import RiskManager

log = logging.getLogger(__name__)

ACCOUNT = "paper"
GENERATED = ("synthetic", "synthetic_fallback")
DISTANT = from_ms(4_102_444_800_000)


@dataclass(frozen=True, slots=True)
class World:
    """The clock, the market and, in a replay, where it ends."""

    clock: Clock
    source: DataSource
    ends_at: datetime | None = None

    @property
    def is_replay(self) -> bool:
        """Whether time jumps from bar to bar."""
        return self.ends_at is not None


@dataclass(frozen=True, slots=True)
class PaperBot:
    """Everything a running paper bot is made of."""

    settings: Settings
    world: World
    store: StateStore
    desk: Desk
    engine: TradingEngine
    scanner: MultiPairScanner
    market: BinanceDataManager
    bundles: BundleStore
    predictor: MLEnsemblePredictor
    lock: ProcessLock
    feature_hash: str
    symbols: tuple[Symbol, ...]
    exports: tuple[ScanExports | PositionsExport, ...]

    def close(self) -> None:
        """Close the database and free the lock."""
        self.store.close()
        self.lock.release()


@dataclass(frozen=True, slots=True)
class Extras:
    """What a command adds to the bot: background work and watchers of cycles and events."""

    background: tuple[Background, ...] = ()
    watchers: tuple[CycleWatcher, ...] = ()
    observers: tuple[EventSink, ...] = ()
    symbols: tuple[Symbol, ...] = field(default=())


def open_world(settings: Settings, mode: str, stop: threading.Event) -> World:
    """Choose clock and market source once, for the life of the process.

    A book that was already traded on generated or recorded prices goes on where its last fact stands, so time never
    runs backwards for it.
    """
    reached = last_recorded(Path(settings.storage.sqlite_path))
    if mode == "replay":
        return _replay_world(settings, reached)
    notice = ""
    if mode == "auto":
        probe = open_source(settings, SystemClock(stop), "auto")
        if probe.name not in GENERATED:
            return World(SystemClock(stop), probe)
        mode, notice = "synthetic", probe.notice
    if mode == "synthetic":
        wall = SystemClock(stop).now()
        clock = ScaledClock(max(wall, reached or wall), settings.data.synthetic_speed, stop=stop)
        source = synthetic_source(settings, clock)
        source.notice = notice or source.notice
        return World(clock, source)
    wall_clock = SystemClock(stop)
    return World(wall_clock, open_source(settings, wall_clock, mode))


def open_bot(settings: Settings, world: World, extras: Extras) -> PaperBot:
    """Lock and open the book, then join all parts. Raises `LockHeld`, `StateError`, `ConfigError`."""
    path = Path(settings.storage.sqlite_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clock = world.clock
    lock = ProcessLock(path).acquire(clock.now())
    switched = switch_book(path, "paper", ACCOUNT, clock.now())
    if switched.archived:
        log.warning("the book of another environment was archived to %s", switched.archived)
    store = StateStore(path)
    store.bind_book("paper", ACCOUNT, clock.now())
    market = BinanceDataManager(settings, world.source, clock=clock)
    exchange = _paper_exchange(settings, store, market, clock)
    desk = Desk(store, Journal(store, extras.observers), clock, market, exchange, settings, mode="paper")
    engineer = FeatureEngineer(settings.model)
    bundles = open_bundles(settings, engineer.feature_hash)
    predictor = MLEnsemblePredictor(
        settings.model,
        bundles,
        feature_hash=engineer.feature_hash,
        as_of=world.is_replay,
        fees_frac=settings.risk.fees_pct,
    )
    scanned = _limited(settings, extras.symbols, world.source)
    say_without_benchmark(settings, world.source)
    feed = _feed(settings, world, market, engineer)
    scanner = MultiPairScanner(scanned, market, feed, predictor, extras=_scan_extras(scanned, world.source))
    exports = _exports(settings, store, each_cycle=not world.is_replay)
    chores: list[Background] = [BundleAdoption(predictor, live=not world.is_replay, records=ModelRecords(store))]
    if not world.is_replay:
        chores.append(Retention(store, settings.storage.retention_days))
    own = Extras(background=(*chores, *extras.background), watchers=(*exports, *extras.watchers))
    return PaperBot(
        settings=settings,
        world=world,
        store=store,
        desk=desk,
        engine=_engine(desk, scanner, world.source, own),
        scanner=scanner,
        market=market,
        bundles=bundles,
        predictor=predictor,
        lock=lock,
        feature_hash=engineer.feature_hash,
        symbols=_named(scanned),
        exports=exports,
    )


def open_bundles(settings: Settings, feature_hash: str | None) -> BundleStore:
    """Open the models folder of the settings."""
    model = settings.model
    return BundleStore(
        model.models_dir,
        feature_hash=feature_hash,
        trusted_keys=model.trusted_keys,
        keep_versions=model.keep_versions,
        signing_key=key_file(Path(model.models_dir), os.environ),
    )


def last_recorded(path: Path) -> datetime | None:
    """Give the instant of the newest fact in a book, None when there is none."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            row = connection.execute("SELECT max(at_ms) FROM journal").fetchone()
    except sqlite3.Error:
        # Whatever is wrong with the file, opening the store says it in full.
        return None
    return None if row is None or row[0] is None else from_ms(row[0])


def _limited(settings: Settings, symbols: tuple[Symbol, ...], source: DataSource) -> Settings:
    """Give the settings of the scanner: all symbols, or only those asked for, which the venue must list."""
    listed = source.markets()
    unknown = [str(symbol) for symbol in symbols if symbol not in listed]
    if unknown:
        raise ConfigError([f"--symbol {name}: not listed by the market data source {source.name}" for name in unknown])
    if not symbols:
        return settings
    none_beside = settings.universe.discovery.model_copy(update={"enabled": False})
    chosen = {"training_symbols": tuple(map(str, symbols)), "discovery": none_beside}
    universe = settings.universe.model_copy(update=chosen)
    return settings.model_copy(update={"universe": universe})


def _named(settings: Settings) -> tuple[Symbol, ...]:
    """Give the configured symbols that are to be traded, once each, in configured order."""
    universe = settings.universe
    return tuple(Symbol(name) for name in dict.fromkeys(universe.training_symbols) if name not in universe.exclude)


def _scan_extras(settings: Settings, source: DataSource) -> ScanExtras:
    """Give what joins a scan: the venue's list where symbols are to be discovered."""
    return ScanExtras(listings=VenueListings(source, settings) if settings.universe.discovery.enabled else None)


def _replay_world(settings: Settings, reached: datetime | None) -> World:
    data = settings.data
    step = Timeframe(settings.model.multi_timeframe.base_timeframe).length
    begin, end = data.replay_from, data.replay_to
    if begin is None or end is None:
        raise ConfigError(
            ["data.replay_from and data.replay_to: a replay needs both, for example 2023-06-01 and 2023-09-01"]
        )
    if reached is not None and reached + step >= end:
        log.warning(
            "nothing is left to replay: this book stands at %s, the replay ends at %s; for another replay point "
            "storage.sqlite_path to a new file",
            iso(reached),
            iso(end),
        )
    clock = SimulatedClock(max(begin, reached or begin), step)
    return World(clock, replay_source(settings, clock), end)


def _paper_exchange(settings: Settings, store: StateStore, market: BinanceDataManager, clock: Clock) -> PaperExchange:
    held = store.ledger_balances()
    if held and settings.base_quote not in held:
        raise ConfigError(
            [
                f"base_quote: this book is not kept in {settings.base_quote}, it holds {', '.join(sorted(held))}; "
                "go back to the former base_quote or point storage.sqlite_path to a new file"
            ]
        )
    exchange = open_paper_exchange(settings, VenueStore(store), market, clock)
    if not held:
        store.deposit(settings.base_quote, starting_capital(settings), clock.now(), "starting capital")
    return exchange


def _feed(settings: Settings, world: World, market: BinanceDataManager, engineer: FeatureEngineer) -> FeatureFeed:
    market_basket = _market_basket(settings, world.source)
    limits = FeedLimits(settings.data.max_bar_delay_sec, settings.data.max_gap_bars)
    if world.is_replay:
        ahead = replay_source(settings, SimulatedClock(DISTANT))
        most = max(len(market_basket.symbols if market_basket else ()), len(settings.universe.training_symbols))
        if settings.universe.discovery.enabled:
            most += min(settings.scanner.max_pairs, len(ahead.markets()))
        return BatchFeatureFeed(engineer, ahead, basket=market_basket, limits=limits, blocks=2 * most + 2)
    cached = CachedBars(market)
    return LiveFeatureFeed(engineer, cached, basket=market_basket, limits=limits, preparer=cached)


def _market_basket(settings: Settings, source: DataSource) -> MarketBasket | None:
    """Give the basket of the market columns, None without its benchmark, as a training without it would have none."""
    listed, benchmark = source.markets(), Symbol(settings.model.drift.benchmark_symbol)
    if benchmark in listed:
        return MarketBasket(basket(settings, listed), benchmark)
    log.warning("market columns stay empty: %s does not list the benchmark %s", source.name, benchmark)
    return None


def _exports(settings: Settings, store: StateStore, *, each_cycle: bool) -> tuple[ScanExports, PositionsExport]:
    return (
        ScanExports(Path(settings.monitoring.metrics_dir), each_cycle=each_cycle),
        PositionsExport(store.path.with_name("open_positions.json"), store.open_positions, each_cycle=each_cycle),
    )


def _engine(desk: Desk, scanner: MultiPairScanner, source: DataSource, extras: Extras) -> TradingEngine:
    exits = ExitManager(desk.settings.risk)
    keeper = AccountKeeper(desk)
    orders = OrderManager(desk, PositionManager(desk, exits, keeper))
    protection = Protection(desk, orders, exits)
    parts = EngineParts(
        scanner=scanner,
        orders=orders,
        positions=orders.positions,
        keeper=keeper,
        exits=ExitPass(desk, orders, protection, exits),
        entries=EntryMaker(desk, RiskManager(desk.settings), orders, protection, keeper),
        reconciler=Reconciler(desk, orders, protection),
        background=extras.background,
        watchers=extras.watchers,
        data_source=source.name,
        clock_offset_s=partial(clock_offset_s, source),
        banned_until=partial(banned_until, source),
    )
    return TradingEngine(desk, parts)

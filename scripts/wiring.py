"""The composition root: which clock, which market and which exchange the one loop runs on.

`scripts/worlds.py` chooses clock and market, `scripts/accounts.py` the account and its exchange; here they become one
bot.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bn_ml.book_identity import switch_book
from bn_ml.book_opening import open_book
from bn_ml.clock import SimulatedClock
from bn_ml.control import ProcessLock
from bn_ml.domain.market import Symbol, from_ms
from bn_ml.errors import ConfigError
from bn_ml.journal import Journal
from bn_ml.ports import Background, EventSink
from bn_ml.prediction_log import PredictionLog
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from data_manager.cached_bars import CachedBars
from data_manager.data_manager import BinanceDataManager
from data_manager.delayed_feed import DelayedFeed
from data_manager.feature_columns import BASE_TIMEFRAME
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import BatchFeatureFeed, FeatureFeed, LiveFeatureFeed, MarketBasket, WindowBars
from data_manager.feed_checks import FeedLimits
from data_manager.open_source import replay_source
from data_manager.source import DataSource, RemoteVenue
from data_manager.venue_listings import VenueListings
from ml_engine.bundle_signing import key_file
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from monitoring.exports import PositionsExport, ScanExports
from monitoring.mood_exports import MoodExports
from monitoring.realtime_prices import RealtimePrices, open_realtime_prices
from monitoring.symbols_to_stream import SymbolsToStream
from scanner.multi_pair_scanner import MultiPairScanner, ScanExtras
from scripts.accounts import Account, PaperAccount
from scripts.background import BundleAdoption, LoopBeat, Retention
from scripts.drift_watch import Watch, open_watch
from scripts.market_basket import basket
from scripts.market_mood import ScanMood, open_mood
from scripts.model_records import ModelRecords
from scripts.venue_facts import banned_until, clock_offset_s, say_without_benchmark
from scripts.worlds import World
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.engine import CycleWatcher, EngineParts, TradingEngine
from trader.entries import EntryMaker
from trader.exit_manager import ExitManager
from trader.exit_pass import ExitPass
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager
from trader.protection import Protection
from trader.reconciliation import Reconciler
from trader.risk_manager import RiskManager

log = logging.getLogger(__name__)

DISTANT = from_ms(4_102_444_800_000)


@dataclass(frozen=True, slots=True)
class TradingBot:
    """Everything a running bot is made of."""

    settings: Settings
    world: World
    account: Account
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
    exports: tuple[ScanExports | PositionsExport | MoodExports, ...]
    predictions: PredictionLog
    prices: RealtimePrices | None = None

    def close(self) -> None:
        """End the price stream, close the databases and free the lock."""
        if self.prices is not None:
            self.prices.stop()
        self.predictions.close()
        self.store.close()
        self.lock.release()


@dataclass(frozen=True, slots=True)
class Extras:
    """What a command adds to the bot: background work, watchers of cycles and events, and the keepers of its loop.

    `beat` is told the step the loop is at, at least once a second while it waits, but for a replay; `restarts_spent`
    tells whether a worker is down for good.
    """

    background: tuple[Background, ...] = ()
    watchers: tuple[CycleWatcher, ...] = ()
    observers: tuple[EventSink, ...] = ()
    symbols: tuple[Symbol, ...] = field(default=())
    beat: Callable[[str], None] = lambda step: None
    restarts_spent: Callable[[], bool] = lambda: False


def open_bot(settings: Settings, world: World, extras: Extras, account: Account | None = None) -> TradingBot:
    """Lock and open the book of an account (paper unless given), then join all parts.

    Raises `LockHeld`, `StateError`, `ConfigError`.
    """
    account = account or PaperAccount()
    path = Path(settings.storage.sqlite_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        lock = ProcessLock(path).acquire(world.clock.now())
        undo.callback(lock.release)
        store = _open_store(settings, world, account)
        undo.callback(store.close)
        bot = _joined(settings, world, extras, account, (lock, store))
        undo.pop_all()
    return bot


def _joined(
    settings: Settings, world: World, extras: Extras, account: Account, held: tuple[ProcessLock, StateStore]
) -> TradingBot:
    lock, store = held
    clock = world.clock
    prices = open_realtime_prices(settings, clock, world.source.name) if isinstance(world.source, RemoteVenue) else None
    market = BinanceDataManager(settings, world.source, clock=clock, board=prices.board if prices else None)
    exchange = account.open(settings, store, market, clock)
    desk = Desk(store, Journal(store, extras.observers), clock, market, exchange, settings, mode=account.mode)
    engineer = FeatureEngineer(settings.model)
    bundles = open_bundles(settings, engineer.feature_hash)
    predictor = _predictor(settings, bundles, engineer, as_of=world.is_replay)
    scanned = _limited(settings, extras.symbols, world.source)
    say_without_benchmark(settings, world.source)
    feeds = partial(feature_feed, settings, world, market, engineer, windows=predictor.window_bars)
    each_cycle = not world.is_replay
    moods = MoodExports(Path(settings.monitoring.metrics_dir), each_cycle=each_cycle)
    mood = open_mood(scanned, store, market, moods, source=world.source.name)
    watch = open_watch(settings, store, predictor, market, world=world, fresh_feed=feeds)
    joined = _scan_extras(scanned, world.source, mood, watch)
    scanner = MultiPairScanner(scanned, market, feeds(), predictor, extras=joined)
    exports = (*_exports(settings, store, each_cycle=each_cycle), moods)
    chores: list[Background] = [BundleAdoption(predictor, live=each_cycle, records=ModelRecords(store)), mood]
    if each_cycle:
        chores.append(Retention(store, settings.storage.retention_days))
    beside: list[CycleWatcher] = [watch.keep, *exports[:2], *_streams(prices, store, scanned), *extras.watchers]
    own = replace(extras, background=(*chores, watch.chore, *extras.background), watchers=tuple(beside))
    return TradingBot(
        settings=settings,
        world=world,
        account=account,
        store=store,
        desk=desk,
        engine=_engine(desk, scanner, world, account, own),
        scanner=scanner,
        market=market,
        bundles=bundles,
        predictor=predictor,
        lock=lock,
        feature_hash=engineer.feature_hash,
        symbols=_named(scanned),
        exports=exports,
        predictions=watch.predictions,
        prices=prices,
    )


def _open_store(settings: Settings, world: World, account: Account) -> StateStore:
    """Open the account's book, mended where it has to be; the book of a replay is begun anew at no loss."""
    now = world.clock.now()
    if not world.is_replay:
        return open_book(settings.storage, account.mode, account.name, now)
    path = Path(settings.storage.sqlite_path)
    switched = switch_book(path, account.mode, account.name, now)
    if switched.archived:
        log.warning("the book of another environment was archived to %s", switched.archived)
    store = StateStore(path)
    store.bind_book(account.mode, account.name, now)
    return store


def _predictor(
    settings: Settings, bundles: BundleStore, engineer: FeatureEngineer, *, as_of: bool
) -> MLEnsemblePredictor:
    """Give the judge of feature rows; `as_of` where time jumps from bar to bar."""
    return MLEnsemblePredictor(
        settings.model,
        bundles,
        feature_hash=engineer.feature_hash,
        as_of=as_of,
        fees_frac=settings.risk.fees_pct,
    )


def _streams(prices: RealtimePrices | None, store: StateStore, settings: Settings) -> tuple[CycleWatcher, ...]:
    """Choose what is streamed once prices stream in, what is held first; nothing without a stream."""
    if prices is None:
        return ()
    benchmark = Symbol(settings.risk.circuit_breakers.volatility_benchmark_symbol)
    chooser = SymbolsToStream(prices, store.open_positions, (benchmark, *_named(settings)))
    chooser.renew()
    return (chooser,)


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


def _scan_extras(settings: Settings, source: DataSource, mood: ScanMood, watch: Watch) -> ScanExtras:
    """Give what joins a scan: the market's mood, the watch on drift, and the venue's list where to discover symbols."""
    listings = VenueListings(source, settings) if settings.universe.discovery.enabled else None
    wanted = mood if settings.santrade_intelligence.enabled else None
    return ScanExtras(mood=wanted, drift=watch.monitor, listings=listings)


def feature_feed(
    settings: Settings, world: World, market: BinanceDataManager, engineer: FeatureEngineer, *, windows: WindowBars
) -> FeatureFeed:
    """Give the feature rows of a world: computed when asked, or a replay's weeks ahead; `windows` as the feeds say."""
    market_basket = _market_basket(settings, world.source)
    limits = FeedLimits(settings.data.max_bar_delay_sec, settings.data.max_gap_bars)
    if world.is_replay:
        ahead = replay_source(settings, SimulatedClock(DISTANT))
        most = max(len(market_basket.symbols if market_basket else ()), len(settings.universe.training_symbols))
        if settings.universe.discovery.enabled:
            most += min(settings.scanner.max_pairs, len(ahead.markets()))
        kept = 2 * most + 2
        feed = BatchFeatureFeed(engineer, ahead, basket=market_basket, limits=limits, blocks=kept, windows=windows)
        late = settings.backtest.latency_bars * BASE_TIMEFRAME.length
        return DelayedFeed(feed, late) if late else feed
    cached = CachedBars(market)
    return LiveFeatureFeed(engineer, cached, basket=market_basket, limits=limits, preparer=cached, windows=windows)


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


def _engine(desk: Desk, scanner: MultiPairScanner, world: World, account: Account, extras: Extras) -> TradingEngine:
    source = world.source
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
        clock_offset_s=partial(clock_offset_s, source, account),
        banned_until=partial(banned_until, source, account),
        restarts_spent=extras.restarts_spent,
        beat=(lambda step: None) if world.is_replay else LoopBeat(desk.store, desk.clock, extras.beat),
    )
    return TradingEngine(desk, parts)

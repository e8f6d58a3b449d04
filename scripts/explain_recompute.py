"""A decision worked out again from stored bars and the bundle of that time, where no log tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.domain.signals import Signal, hold
from bn_ml.errors import MarketDataError
from bn_ml.settings import Settings
from data_manager.bars import Bars
from data_manager.cached_bars import CachedBars
from data_manager.data_manager import BinanceDataManager
from data_manager.feature_columns import BASE_TIMEFRAME
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import BarProvider, LiveFeatureFeed, MarketBasket, WindowBars
from data_manager.feed_checks import FeedLimits
from data_manager.open_source import open_source
from data_manager.resampling import resample
from ml_engine.predictor import MLEnsemblePredictor
from scripts.explain_sources import open_store
from scripts.market_basket import basket

if TYPE_CHECKING:
    from data_manager.history import HistoryStore

_IN_MEMORY = ("synthetic", "replay")


@dataclass(frozen=True, slots=True)
class Recomputed:
    """The signal of an instant, the bars it was worked out from, and what kept a row from being made, if anything."""

    signal: Signal
    source: str
    problem: str = ""


def recompute(settings: Settings, symbol: Symbol, at: datetime, *, source: str) -> Recomputed:
    """Work out the signal of the newest bar closed at an instant; nothing is fetched from an exchange.

    `source` is what the bot ran on. Generated and recorded markets are read as the bot reads them, those of an exchange
    from the bars stored in `data.history_dir`.
    """
    engineer = FeatureEngineer(settings.model)
    predictor = MLEnsemblePredictor(
        settings.model,
        open_store(settings, feature_hash=engineer.feature_hash),
        feature_hash=engineer.feature_hash,
        as_of=True,
        fees_frac=settings.risk.fees_pct,
    )
    predictor.adopt(at)
    name = source
    try:
        name, feed = _feed(settings, at, source, engineer, windows=predictor.window_bars)
        return Recomputed(predictor.signal(feed.row(symbol, at), at), name)
    except MarketDataError as error:
        return Recomputed(hold(symbol, at, error.reason), name, str(error))


def mode_of(settings: Settings, source: str) -> str:
    """Give where bars are read again: synthetic, replay or stored; `source` may be unknown (empty)."""
    told = source or (settings.data.paper_market_data_mode if settings.environment == "paper" else "live")
    return next((mode for mode in _IN_MEMORY if told.startswith(mode)), "stored")


def _feed(
    settings: Settings, at: datetime, source: str, engineer: FeatureEngineer, *, windows: WindowBars
) -> tuple[str, LiveFeatureFeed]:
    limits = FeedLimits(settings.data.max_bar_delay_sec, settings.data.max_gap_bars)
    provider, listed, name = _provider(settings, at, mode_of(settings, source))
    benchmark = Symbol(settings.model.drift.benchmark_symbol)
    known = MarketBasket(basket(settings, listed), benchmark) if benchmark in listed else None
    return name, LiveFeatureFeed(engineer, provider, basket=known, limits=limits, windows=windows)


def _provider(settings: Settings, at: datetime, mode: str) -> tuple[BarProvider, frozenset[Symbol], str]:
    if mode == "stored":
        return _stored(settings)
    clock = SimulatedClock(at)
    origin = open_source(settings, clock, mode)
    return CachedBars(BinanceDataManager(settings, origin, clock=clock)), frozenset(origin.markets()), origin.name


def _stored(settings: Settings) -> tuple[BarProvider, frozenset[Symbol], str]:
    # Parquet costs time and memory: only stored bars need it.
    from data_manager.history import HistoryStore

    store = HistoryStore(settings.data.history_dir)
    return _StoredBars(store), frozenset(store.symbols()), f"bars stored in {store.root}"


class _StoredBars:
    """Gives spans of stored bars; longer ones that are not stored are made from base bars."""

    def __init__(self, store: HistoryStore) -> None:
        self._store = store

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`; raises `MarketDataError` when none are stored."""
        if self._store.has(symbol, timeframe):
            return self._store.read(symbol, timeframe).between(start_ms, end_ms)
        if not self._store.has(symbol, BASE_TIMEFRAME):
            raise MarketDataError(
                f"{symbol}: no bars are stored in {self._store.root}; fetch them with: bnml-data download",
                "data_unavailable",
            )
        return resample(self._store.read(symbol, BASE_TIMEFRAME).between(start_ms, end_ms), timeframe)

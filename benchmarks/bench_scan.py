"""A whole scan with the product's own parts: bars, cache, features, bundles, signals, quotes, ranking."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from benchmarks.bench_base import Judged, Result, cpu_seconds, say
from benchmarks.bench_bundles import Ensemble
from benchmarks.bench_features import HISTORY_BARS, TIMEFRAMES
from benchmarks.bench_market import BEGIN_MS, BENCHMARK, VenueLike, store_walks, symbols, walk
from benchmarks.features_reference import naive_columns
from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.settings import Settings
from data_manager.cached_bars import CachedBars
from data_manager.data_manager import BinanceDataManager
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import LiveFeatureFeed, MarketBasket
from data_manager.feed_checks import FeedLimits
from ml_engine.bundle_store import BundleStore
from ml_engine.predictor import MLEnsemblePredictor
from scanner.multi_pair_scanner import MultiPairScanner
from scripts.market_basket import basket

SIZES = (50, 150, 300)
# Equal, so that sizes are compared over the same days: a window's length grows through the week.
RUNS: Mapping[int, int] = {50: 5, 150: 5, 300: 5}
BUDGET_S = 2.0
GROWTH = 2.1
DAYS_HELD = HISTORY_BARS // 96
_RELAXED = {"skill_gate": False, "ev_gate": False, "outlier_gate": False, "min_buy_proba": 0.34, "min_margin": 0.0}


def measure(ensemble: Ensemble, folder: Path) -> list[Result]:
    """P17 and P18."""
    history, models = folder / "history", folder / "scan_models"
    names = symbols(max(SIZES))
    say(f"writing a history of {len(names)} symbols x {HISTORY_BARS} bars and their bundles")
    store_walks(history, names, HISTORY_BARS)
    # Members' files for users are left out here: they are read at the first scan only, which is not measured.
    ensemble.save(models, names, attach=False)
    figures = {count: _Scans(count, history, models, ensemble.feature_hash).run(RUNS[count]) for count in SIZES}
    naive = _naive_symbol(ensemble)
    results = [_cycle(count, figures[count], naive) for count in SIZES]
    large, half = (figures[count].new for count in (300, 150))
    growth = Result("P18_growth_300_vs_150_symbols", large, half, large / half, GROWTH, "ratio <=", "s CPU", RUNS[300])
    return [*results, growth]


class _Figures:
    """CPU seconds of scans with all bars new, with base bars new, with none new."""

    def __init__(self) -> None:
        self.all_new: list[float] = []
        self.base_new: list[float] = []
        self.none_new: list[float] = []
        self.rows = 0
        self.buys = 0

    @property
    def new(self) -> float:
        """The median of scans with all bars new."""
        return median(self.all_new)


class _Scans:
    """A scanner wired as in the bot, over a history that is asked like a live venue."""

    def __init__(self, count: int, history: Path, models: Path, feature_hash: str) -> None:
        names = symbols(count)
        self.settings = _settings(names)
        self.clock = SimulatedClock(_midnight(DAYS_HELD - 9) - timedelta(minutes=15))
        market = BinanceDataManager(self.settings, VenueLike(history, self.clock), clock=self.clock)
        engineer = FeatureEngineer(self.settings.model)
        bundles = BundleStore(models, feature_hash=feature_hash)
        predictor = MLEnsemblePredictor(self.settings.model, bundles, feature_hash=feature_hash, as_of=False)
        data = self.settings.data
        feed = LiveFeatureFeed(
            engineer,
            CachedBars(market),
            basket=MarketBasket(basket(self.settings), BENCHMARK),
            limits=FeedLimits(data.max_bar_delay_sec, data.max_gap_bars),
        )
        self.scanner = MultiPairScanner(self.settings, market, feed, predictor)
        self.count = count

    def run(self, runs: int) -> _Figures:
        """Scan before midnight, at midnight, five minutes and a quarter of an hour later, day by day."""
        say(f"scanning {self.count} symbols")
        figures = _Figures()
        self._scan()
        for _ in range(runs):
            figures.all_new.append(self._scan(timedelta(minutes=15), figures))
            figures.none_new.append(self._scan(timedelta(minutes=5)))
            figures.base_new.append(self._scan(timedelta(minutes=10)))
            self._scan(timedelta(hours=23, minutes=15))
        return figures

    def _scan(self, later: timedelta = timedelta(0), figures: _Figures | None = None) -> float:
        self.clock.sleep_until(self.clock.now() + later)
        started = time.process_time()
        report = self.scanner.scan(self.clock.now())
        spent = time.process_time() - started
        judged = [item for item in (*report.opportunities, *report.refused) if item.signal.members]
        if report.errors or len(judged) != self.count:
            raise RuntimeError(
                f"{len(judged)} of {self.count} symbols judged: {dict(report.funnel)} {report.errors[:3]}"
            )
        if figures is not None:
            figures.rows = len(judged)
            figures.buys = len(report.opportunities) + report.funnel.get("top_n", 0)
        return spent


def _cycle(count: int, figures: _Figures, naive: float) -> Result:
    note = (
        f"{figures.rows} rows computed and judged, {figures.buys} BUY with quotes; base bars new alone "
        f"{median(figures.base_new):.2f} s, none new {median(figures.none_new) * 1e3:.0f} ms; "
        f"reference: {count} x (4 naive frames + library ensemble once)"
    )
    reference = naive * count
    bar = BUDGET_S if count == 150 else None
    judged: Judged = "ours <=" if bar else "shown"
    return Result(
        f"P17_scan_cycle_{count}_symbols", figures.new, reference, reference / figures.new, bar, judged, "s CPU",
        len(figures.all_new), note,
    )  # fmt: skip


def _naive_symbol(ensemble: Ensemble) -> float:
    frames = [walk(BENCHMARK, 500, seed=number, timeframe=tf).to_frame() for number, tf in enumerate(TIMEFRAMES)]
    features = cpu_seconds(lambda: [naive_columns(frame) for frame in frames], runs=3)
    return features + cpu_seconds(lambda: ensemble.library.probabilities(ensemble.rows[-1:]), runs=5)


def _settings(names: tuple[Symbol, ...]) -> Settings:
    benchmark = str(BENCHMARK)
    return Settings.from_mapping(
        {
            "base_quote": BENCHMARK.quote,
            "universe": {"training_symbols": [str(name) for name in names], "auto_train_missing": False},
            "scanner": {"max_pairs": len(names)},
            "model": {
                "max_bundle_age_hours": 8760,
                "drift": {"benchmark_symbol": benchmark},
                "ensemble": _RELAXED,
            },
            "risk": {"circuit_breakers": {"volatility_benchmark_symbol": benchmark}},
        }
    )


def _midnight(day: int) -> datetime:
    return from_ms(BEGIN_MS + day * 96 * Timeframe.M15.ms)

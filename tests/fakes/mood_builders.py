"""Builders of scans and benchmark bars for the market mood."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import numpy as np

from bn_ml.domain.market import Quote, Symbol, Timeframe, to_ms
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal, hold
from data_manager.bars import Bars
from ml_engine.benchmark_view import BenchmarkView

START = datetime(2024, 3, 4, tzinfo=timezone.utc)
STEP = timedelta(minutes=15)
SYMBOLS = tuple(Symbol(f"{base}/USDC") for base in ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG"))


def an_item(
    symbol: Symbol,
    at: datetime = START,
    *,
    buy: float = 0.2,
    sell: float = 0.2,
    momentum: float = 5.0,
    technical: float = 5.0,
    atr: float = 0.004,
    depth: float | None = None,
    spread_bp: float = 2.0,
) -> Opportunity:
    """A judged symbol, HOLD by default; with a depth it has a quote."""
    signal = Signal(
        symbol,
        Action.HOLD,
        Probabilities(sell, 1.0 - buy - sell, buy),
        at,
        reason="proba_below_min",
        bundle_version=1,
    )
    quote = None
    if depth is not None:
        half = Decimal(str(spread_bp)) / 20000
        quote = Quote(
            symbol, bid=1 - half, ask=1 + half, last=Decimal(1), at=at, source="test", depth_quote=Decimal(str(depth))
        )
    return Opportunity(
        signal,
        quote,
        score=5.0,
        momentum_score=momentum,
        technical_score=technical,
        atr_frac=atr,
        volatility_frac=0.002,
    )


def unknown_item(symbol: Symbol, at: datetime = START, reason: str = "no_bundle") -> Opportunity:
    """A symbol about which nothing is known."""
    return Opportunity(hold(symbol, at, reason), None)


def a_scan(items: tuple[Opportunity, ...] | None = None, at: datetime = START, **changes: float) -> ScanReport:
    """A scan of seven symbols that all look alike."""
    chosen = items if items is not None else tuple(an_item(symbol, at, **changes) for symbol in SYMBOLS)
    return ScanReport(at, (), chosen)


def closes_until(at: datetime, closes: np.ndarray) -> BenchmarkView:
    """The benchmark's bars whose newest closes at or before `at`, with these closes, newest last."""
    end = to_ms(at) // Timeframe.M15.ms * Timeframe.M15.ms
    count = len(closes)
    opened = np.concatenate([closes[:1], closes[:-1]])
    bars = Bars(
        symbol=Symbol("BTC/USDC"),
        timeframe=Timeframe.M15,
        open_time=end - np.arange(count, 0, -1, dtype=np.int64) * Timeframe.M15.ms,
        open=opened,
        high=np.maximum(opened, closes),
        low=np.minimum(opened, closes),
        close=closes,
        volume=np.ones(count),
        source="test",
        quote_volume=closes,
        trades=np.ones(count, dtype=np.int64),
    )
    view = BenchmarkView.of(bars)
    assert view is not None
    return view


def a_walk(count: int, seed: int = 1, step: float = 0.002) -> np.ndarray:
    """A random walk of closes."""
    return 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, step, count)))

"""One reading of the market's mood, as the bot uses it and as users see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bn_ml.domain.market import iso
from bn_ml.domain.signals import MarketRegime
from ml_engine.scan_figures import ScanFigures

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class MoodSnapshot:
    """The mood at one scan.

    Scores run from -1 to 1. `probabilities` are BEARISH, NEUTRAL, BULLISH over the label horizon; `confidence` is that
    of the shown signal, 0 while outcomes are too few to tell. `streak` counts scans in a row that lean one way,
    negative downwards. `pressure` is the risk over its risk-off value.
    """

    at: datetime
    signal: str
    regime: MarketRegime
    confidence: float
    probabilities: Triple
    raw_score: float
    smoothed_score: float
    pressure: float
    figures: ScanFigures
    profile: str
    benchmark_symbol: str
    benchmark_price: float | None
    predicted_move_frac: float
    streak: int
    model_samples: int
    model_ready: bool
    model_speaks: bool
    data_source: str = ""

    def as_dict(self) -> dict[str, object]:
        """Give the shape users see."""
        figures = self.figures
        bearish, neutral, bullish = self.probabilities
        return {
            "timestamp": iso(self.at),
            "market_signal": self.signal,
            "confidence": self.confidence,
            "probas": {"BULLISH": bullish, "NEUTRAL": neutral, "BEARISH": bearish},
            "contributing_symbols": [str(symbol) for symbol in figures.contributing],
            "total_symbols": figures.total,
            "market_score": self.smoothed_score,
            "raw_market_score": self.raw_score,
            "smoothed_market_score": self.smoothed_score,
            "index_value": 50.0 * (1.0 + self.smoothed_score),
            "market_regime": self.regime.value,
            "profile": self.profile,
            "benchmark_symbol": self.benchmark_symbol,
            "benchmark_price": self.benchmark_price,
            "predicted_move_pct": self.predicted_move_frac,
            "buy_ratio": figures.buy_ratio,
            "sell_ratio": figures.sell_ratio,
            "hold_ratio": figures.hold_ratio,
            "avg_confidence": figures.confidence,
            "avg_score": figures.score,
            "avg_breadth": figures.breadth,
            "avg_momentum": figures.momentum,
            "avg_ml": figures.ml,
            "avg_technical": figures.technical,
            "avg_atr_pct": figures.atr_frac,
            "avg_spread_pct": figures.spread_frac,
            "avg_depth_usdt": figures.depth_quote,
            "risk_pressure": self.pressure,
            "score_dispersion": figures.dispersion,
            "data_coverage_ratio": figures.coverage,
            "directional_streak": self.streak,
            "model_samples": self.model_samples,
            "model_ready": self.model_ready,
            "model_speaks": self.model_speaks,
            "enabled": self.regime is not MarketRegime.DISABLED,
            "data_source": self.data_source,
        }


def disabled_snapshot(at: datetime, profile: str, benchmark: str) -> MoodSnapshot:
    """Give the snapshot of an intelligence that is switched off."""
    return MoodSnapshot(
        at=at,
        signal="NEUTRAL",
        regime=MarketRegime.DISABLED,
        confidence=0.0,
        probabilities=(0.0, 1.0, 0.0),
        raw_score=0.0,
        smoothed_score=0.0,
        pressure=0.0,
        figures=ScanFigures((), 0),
        profile=profile,
        benchmark_symbol=benchmark,
        benchmark_price=None,
        predicted_move_frac=0.0,
        streak=0,
        model_samples=0,
        model_ready=False,
        model_speaks=False,
    )

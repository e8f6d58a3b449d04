"""The answers about the market: the scan, the index and the intelligence."""

from __future__ import annotations

from pydantic import Field, JsonValue

from public_api.schemas_base import Aged, Answer, Listed, Open, Signals


class PredictionRow(Open):
    """What the newest scan says of one symbol."""

    symbol: str
    action: str = Field(default="HOLD", description="BUY, HOLD or SELL")
    confidence: float | None = Field(default=None, description="calibrated probability of the action, 0 to 1")
    score: float | None = Field(default=None, description="0 to 10")
    price: float | None = None
    ml_score: float | None = None
    technical_score: float | None = None
    momentum_score: float | None = None
    spread_pct: float | None = None
    depth_usdt: float | None = None
    correlation_btc: float | None = None
    expected_net_pct: float | None = None
    reason: str | None = Field(default=None, description="reason code of what stopped it, null when nothing did")
    probas: dict[str, float] | None = Field(default=None, description="probabilities of SELL, HOLD, BUY")
    bundle_version: int | None = None


class PredictionsAnswer(Listed):
    """The rows of the newest scan, opportunities first."""

    data_source: str | None = Field(description="where prices come from")
    synthetic: bool = Field(description="whether prices are invented")
    signals: Signals = Field(description="actions over all rows of the scan")
    rows: list[PredictionRow]


class IndexFields(Answer):
    """The market's mood as one number."""

    index_value: float | None = Field(default=None, description="0 (all down) to 100 (all up), 50 is neutral")
    market_score: float | None = Field(default=None, description="-1 to 1")
    confidence: float | None = Field(default=None, description="0 to 1")
    market_regime: str | None = None
    profile: str | None = None


class IndexAnswer(Aged, IndexFields):
    """The market index now."""

    signal: str | None = Field(default=None, description="BULLISH, NEUTRAL or BEARISH")
    benchmark_symbol: str | None = None
    benchmark_price: float | None = None
    predicted_move_pct: float | None = None
    model_samples: int | None = None
    enabled: bool = Field(default=False, description="whether the market intelligence runs")


class IndexRow(IndexFields):
    """The market index at one cycle."""

    ts: str
    signal: str | None = None
    probas: dict[str, float] | None = Field(default=None, description="kept of the newest reading only")
    symbols: int | None = Field(default=None, description="symbols it was made of; kept of the newest reading only")


class IndexHistoryAnswer(Listed):
    """The market index over time, the newest first."""

    rows: list[IndexRow]
    latest: IndexRow | None = Field(description="the newest reading of all, null before the first")


class IntelligenceAnswer(Aged, Open):
    """The whole reading of the market, or `enabled: false`."""

    enabled: bool = False
    market_signal: str | None = None
    confidence: float | None = None
    probas: dict[str, float] | None = None
    market_score: float | None = None
    index_value: float | None = None
    market_regime: str | None = None
    profile: str | None = None
    benchmark_symbol: str | None = None
    benchmark_price: float | None = None
    contributing_symbols: list[JsonValue] | None = None
    model_samples: int | None = None

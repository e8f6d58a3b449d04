"""What the models say and what the scan makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from bn_ml.domain.market import Quote, Symbol, iso, require_utc


class Action(Enum):
    """The three classes, in the column order of every probability array."""

    SELL = "SELL"
    HOLD = "HOLD"
    BUY = "BUY"


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Calibrated probabilities of the three classes; they sum to 1 within 1e-9."""

    sell: float
    hold: float
    buy: float

    def __post_init__(self) -> None:
        """Refuse anything that is not a distribution."""
        values = (self.sell, self.hold, self.buy)
        if not all(0.0 <= value <= 1.0 for value in values) or abs(sum(values) - 1.0) > 1e-9:
            raise ValueError(f"not a distribution: {values}")

    def of(self, action: Action) -> float:
        """Give the probability of one class."""
        return {Action.SELL: self.sell, Action.HOLD: self.hold, Action.BUY: self.buy}[action]

    def as_dict(self) -> dict[str, float]:
        """Give the shape users see."""
        return {"SELL": self.sell, "HOLD": self.hold, "BUY": self.buy}


UNKNOWN_PROBABILITIES = Probabilities(0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """One gate of the decision: its reason code, what was measured, the limit, and whether it let the signal pass."""

    reason: str
    value: float
    limit: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Signal:
    """What the ensemble says about one symbol, known at the close `at` of the newest bar used.

    `reason` is None for BUY or SELL and for a HOLD that is the models' own choice through no gate's refusal; otherwise
    the code of the first gate that failed. `base_rate` is the BUY share of the training labels, `width_frac` the label
    width the bundle was trained on at this bar (0 when unknown).
    """

    symbol: Symbol
    action: Action
    probabilities: Probabilities
    at: datetime
    reason: str | None = None
    base_rate: float = 0.0
    buy_threshold: float = 0.0
    expected_net_frac: float | None = None
    members: Mapping[str, Probabilities] = field(default_factory=dict)
    bundle_version: int | None = None
    data_source: str = ""
    gates: tuple[GateVerdict, ...] = ()
    width_frac: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a naive instant and a gated BUY."""
        require_utc(self.at)
        if self.reason is not None and self.action is not Action.HOLD:
            raise ValueError(f"{self.symbol}: {self.action.value} cannot carry the refusal {self.reason}")

    @property
    def confidence(self) -> float:
        """The calibrated probability of the shown action."""
        return self.probabilities.of(self.action)

    def as_dict(self) -> dict[str, object]:
        """Give the shape users see."""
        return {
            "symbol": str(self.symbol),
            "action": self.action.value,
            "confidence": self.confidence,
            "probas": self.probabilities.as_dict(),
            "reason": self.reason,
            "base_rate": self.base_rate,
            "expected_net_pct": self.expected_net_frac,
            "members": {name: probas.as_dict() for name, probas in self.members.items()},
            "bundle_version": self.bundle_version,
            "data_source": self.data_source,
            "at": iso(self.at),
        }


def hold(symbol: Symbol, at: datetime, reason: str, data_source: str = "") -> Signal:
    """Give the signal of a symbol about which nothing can be said."""
    return Signal(symbol, Action.HOLD, UNKNOWN_PROBABILITIES, at, reason, data_source=data_source)


@dataclass(frozen=True, slots=True)
class Opportunity:
    """A scored signal. Scores run from 0 to 10; `atr_frac` is ATR(14) over the close of the base timeframe.

    `volatility_frac` is the deviation of log returns of one base bar over the volatility window (96 bars).
    """

    signal: Signal
    quote: Quote | None
    score: float = 0.0
    ml_score: float = 0.0
    technical_score: float = 0.0
    momentum_score: float = 0.0
    correlation_btc: float = 0.0
    atr_frac: float = 0.0
    volatility_frac: float = 0.0
    reason: str | None = None

    @property
    def symbol(self) -> Symbol:
        """The symbol scored."""
        return self.signal.symbol

    @property
    def width_frac(self) -> float:
        """The label width of the bundle at this bar, 0 when unknown."""
        return self.signal.width_frac

    def as_dict(self) -> dict[str, object]:
        """Give the shape users see."""
        quote = self.quote
        return {
            "symbol": str(self.symbol),
            "action": self.signal.action.value,
            "confidence": self.signal.confidence,
            "score": self.score,
            "price": float(quote.last) if quote else None,
            "ml_score": self.ml_score,
            "technical_score": self.technical_score,
            "momentum_score": self.momentum_score,
            "spread_pct": float(quote.spread_frac) if quote else None,
            "depth_usdt": float(quote.depth_quote) if quote else None,
            "correlation_btc": self.correlation_btc,
            "expected_net_pct": self.signal.expected_net_frac,
            "reason": self.reason or self.signal.reason,
            "probas": self.signal.probabilities.as_dict(),
            "bundle_version": self.signal.bundle_version,
            "data_source": self.signal.data_source,
        }


class MarketRegime(Enum):
    """The mood of the whole scan."""

    DISABLED = "disabled"
    INSUFFICIENT_DATA = "insufficient_data"
    RISK_OFF = "risk_off"
    BULL_ACCELERATION = "bull_acceleration"
    BEAR_PRESSURE = "bear_pressure"
    MEAN_REVERSION = "mean_reversion"
    HIGH_RISK_NEUTRAL = "high_risk_neutral"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class MarketMood:
    """What the whole scan says about the market; it may only tighten decisions."""

    regime: MarketRegime = MarketRegime.DISABLED
    signal: str = "NEUTRAL"
    confidence: float = 0.0
    score: float = 0.0
    profile: str = ""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """One scan: the ranked BUY opportunities, everything refused with its reason, and what risk needs to know.

    `correlations` holds the pairwise correlation of log returns over the correlation window for pairs `(a, b)` with
    `a < b`. `volatility_ratio` is the benchmark's ATR over its own baseline, infinite when unknown. `funnel` counts
    the symbols stopped by each reason code.
    """

    at: datetime
    opportunities: tuple[Opportunity, ...]
    refused: tuple[Opportunity, ...]
    correlations: Mapping[tuple[Symbol, Symbol], float] = field(default_factory=dict)
    mood: MarketMood = field(default_factory=MarketMood)
    volatility_ratio: float = 1.0
    drifted: bool = False
    funnel: Mapping[str, int] = field(default_factory=dict)
    errors: tuple[str, ...] = ()

    def correlation(self, left: Symbol, right: Symbol) -> float | None:
        """Give the correlation of two symbols, None when it could not be measured."""
        if left == right:
            return 1.0
        pair = (left, right) if left < right else (right, left)
        return self.correlations.get(pair)

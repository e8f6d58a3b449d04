"""One scan in a dozen numbers: what all symbols together say, HOLD included, in the order of their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from bn_ml.domain.market import Symbol
from bn_ml.domain.signals import UNKNOWN_PROBABILITIES, Action, Opportunity, ScanReport
from bn_ml.settings import ProfileNumbers

SMALLEST_LEAN = 0.05
CALM_SHARE = 0.5
# An unknown ratio is infinite.
_LARGEST_RATIO = 10.0


@dataclass(frozen=True, slots=True)
class ScanFigures:
    """What a scan says. Biases run from -1 to 1; ratios are shares of the contributing symbols, 0 to 1.

    `breadth` is the depth-weighted share of symbols that lean up less that of those that lean down. `atr_frac`,
    `spread_frac` and `depth_quote` are means over the symbols they are known of, 0 where of none.
    """

    contributing: tuple[Symbol, ...]
    total: int
    breadth: float = 0.0
    momentum: float = 0.0
    ml: float = 0.0
    technical: float = 0.0
    dispersion: float = 0.0
    buy_ratio: float = 0.0
    sell_ratio: float = 0.0
    hold_ratio: float = 0.0
    confidence: float = 0.0
    score: float = 0.0
    atr_frac: float = 0.0
    spread_frac: float = 0.0
    depth_quote: float = 0.0
    volatility_ratio: float = 1.0

    @property
    def coverage(self) -> float:
        """Share of the scanned symbols that contribute."""
        return len(self.contributing) / self.total if self.total else 0.0

    def pressure(self, numbers: ProfileNumbers) -> float:
        """Give the larger of ATR and spread over the profile's risk-off value; 1 is risk-off."""
        parts = [
            value / limit if limit > 0.0 else 0.0
            for value, limit in (
                (self.atr_frac, numbers.atr_risk_off_ratio),
                (self.spread_frac, numbers.spread_risk_off_pct),
            )
        ]
        return max(parts)

    def rule_score(self, numbers: ProfileNumbers) -> float:
        """Give the market score from -1 to 1: the weighted biases less the penalty of risk above half its limit."""
        biases = (
            numbers.breadth_weight * self.breadth
            + numbers.momentum_weight * self.momentum
            + numbers.ml_weight * self.ml
            + numbers.global_weight * self.technical
        )
        penalty = numbers.risk_penalty_weight * min(max(self.pressure(numbers) - CALM_SHARE, 0.0), 1.0)
        return min(max(biases - penalty, -1.0), 1.0)

    def vector(self, rule_score: float) -> tuple[float, ...]:
        """Give the inputs of the online model."""
        return (
            self.breadth,
            self.momentum,
            self.ml,
            self.technical,
            self.dispersion,
            self.buy_ratio - self.sell_ratio,
            self.confidence,
            self.score / 10.0,
            self.atr_frac * 100.0,
            self.spread_frac * 1000.0,
            self.coverage,
            self.volatility_ratio,
            rule_score,
        )


INPUTS = 13


def figures_of(report: ScanReport) -> ScanFigures:
    """Sum up a scan; symbols whose bundle said nothing (no bundle, no data) count only in the total."""
    items = sorted((*report.opportunities, *report.refused), key=lambda item: item.symbol)
    spoken = [item for item in items if _spoke(item)]
    ratio = min(report.volatility_ratio, _LARGEST_RATIO)
    if not spoken:
        return ScanFigures((), len(items), volatility_ratio=ratio)
    weights = _weights(spoken)
    ml = np.array([_direction(item) for item in spoken])
    momentum = np.array([(item.momentum_score - 5.0) / 5.0 for item in spoken])
    technical = np.array([(item.technical_score - 5.0) / 5.0 for item in spoken])
    lean = (ml + momentum + technical) / 3.0
    votes = np.where(np.abs(lean) >= SMALLEST_LEAN, np.sign(lean), 0.0)
    actions = [item.signal.action for item in spoken]
    return ScanFigures(
        contributing=tuple(item.symbol for item in spoken),
        total=len(items),
        breadth=_mean(votes, weights),
        momentum=_mean(momentum, weights),
        ml=_mean(ml, weights),
        technical=_mean(technical, weights),
        dispersion=float(lean.std()),
        buy_ratio=actions.count(Action.BUY) / len(actions),
        sell_ratio=actions.count(Action.SELL) / len(actions),
        hold_ratio=actions.count(Action.HOLD) / len(actions),
        confidence=_plain([item.signal.confidence for item in spoken]),
        score=_plain([item.score for item in spoken]),
        atr_frac=_plain([item.atr_frac for item in spoken if item.atr_frac > 0.0]),
        spread_frac=_plain([float(item.quote.spread_frac) for item in spoken if item.quote]),
        depth_quote=_plain([float(item.quote.depth_quote) for item in spoken if item.quote]),
        volatility_ratio=ratio,
    )


def _spoke(item: Opportunity) -> bool:
    return item.signal.bundle_version is not None and item.signal.probabilities != UNKNOWN_PROBABILITIES


def _direction(item: Opportunity) -> float:
    """Give how much likelier up is than down, from -1 to 1."""
    probas = item.signal.probabilities
    both = probas.buy + probas.sell
    return (probas.buy - probas.sell) / both if both > 0.0 else 0.0


def _weights(items: Sequence[Opportunity]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Give weights of sum 1 by the logarithm of depth; a depth not asked for counts as the median of those known."""
    known = [float(item.quote.depth_quote) for item in items if item.quote and item.quote.depth_quote > 0]
    middle = median(known) if known else 1.0
    depths = [float(item.quote.depth_quote) if item.quote and item.quote.depth_quote > 0 else middle for item in items]
    raw = np.log1p(np.array(depths))
    weights: np.ndarray[tuple[int], np.dtype[np.float64]] = raw / raw.sum()
    return weights


def _mean(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], weights: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> float:
    return float((values * weights).sum())


def _plain(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0

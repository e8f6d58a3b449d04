"""What followed what was said: outcome shares by third of the score, and whether the online model beats them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ml_engine.online_classifier import FloatArray

BEARISH, NEUTRAL, BULLISH = 0, 1, 2
CLASS_NAMES = ("BEARISH", "NEUTRAL", "BULLISH")
LEAST_OUTCOMES = 30
_KEPT = 500
# One-sided 90 % of the standard normal.
_QUANTILE = 1.2815515655446004
_FLOOR = 1e-12


@dataclass(slots=True, eq=False)
class OutcomeMemory:
    """The newest outcomes with the score of their time, and by how much the model's loss beat the shares' each time.

    Losses are those of forecasts made before the outcome was known.
    """

    scores: list[float] = field(default_factory=list)
    outcomes: list[int] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)

    def shares(self) -> tuple[float, float, float]:
        """Give the running class shares, one imagined outcome of each class added."""
        counts = [self.outcomes.count(kind) + 1 for kind in range(3)]
        total = sum(counts)
        return counts[0] / total, counts[1] / total, counts[2] / total

    def shares_near(self, score: float) -> tuple[float, float, float] | None:
        """Give the outcome shares in the third of past scores this one lies in; None while outcomes are too few."""
        if len(self.scores) < 3 * LEAST_OUTCOMES:
            return None
        ordered = sorted(self.scores)
        low, high = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]
        third = _third(score, low, high)
        near = [
            outcome
            for past, outcome in zip(self.scores, self.outcomes, strict=True)
            if _third(past, low, high) == third
        ]
        if len(near) < LEAST_OUTCOMES:
            return None
        counts = [near.count(kind) for kind in range(3)]
        return counts[0] / len(near), counts[1] / len(near), counts[2] / len(near)

    def take(self, score: float, outcome: int, forecast: FloatArray | None) -> None:
        """Keep an outcome; `forecast` is what the model said of it before, None while it could not speak."""
        if forecast is not None:
            own = -math.log(max(float(forecast[outcome]), _FLOOR))
            self.gains.append(-math.log(self.shares()[outcome]) - own)
        self.scores.append(score)
        self.outcomes.append(outcome)
        for kept in (self.scores, self.outcomes, self.gains):
            del kept[:-_KEPT]

    def gain_bound(self) -> float:
        """Give the one-sided 90 % lower bound of the mean gain in log-loss; -inf under three forecasts."""
        count = len(self.gains)
        if count < 3:
            return -math.inf
        mean = sum(self.gains) / count
        variance = sum((gain - mean) ** 2 for gain in self.gains) / (count - 1)
        return mean - _QUANTILE * math.sqrt(variance / count)

    def as_dict(self) -> dict[str, object]:
        """Give everything as plain lists."""
        return {"scores": list(self.scores), "outcomes": list(self.outcomes), "gains": list(self.gains)}

    @classmethod
    def of(cls, content: Mapping[str, object]) -> OutcomeMemory:
        """Read what `as_dict` gave; raises `ValueError`, `KeyError` or `TypeError` on anything else."""
        scores, outcomes, gains = (_numbers(content[name]) for name in ("scores", "outcomes", "gains"))
        kinds = [int(kind) for kind in outcomes]
        if len(scores) != len(kinds) or any(kind not in (0, 1, 2) for kind in kinds):
            raise ValueError("each score needs one outcome of 0, 1, 2")
        return cls(list(scores), kinds, list(gains))


def outcome_of(move_frac: float, band_frac: float) -> int:
    """Give the class of the benchmark's move: neutral inside the band, its edges included.

    >>> CLASS_NAMES[outcome_of(-0.01, 0.004)]
    'BEARISH'
    """
    if move_frac > band_frac:
        return BULLISH
    return BEARISH if move_frac < -band_frac else NEUTRAL


def _third(score: float, low: float, high: float) -> int:
    return 0 if score < low else 1 if score < high else 2


def _numbers(value: object) -> Sequence[float]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"a list was expected, got {type(value).__name__}")
    numbers = [float(item) for item in value]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("numbers must be finite")
    return numbers

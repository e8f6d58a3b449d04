"""From probabilities to an action: the gates of a decision, each with what it measured and its limit.

Pure arithmetic. HOLD is raised by its bias wherever classes are ranked, and BUY must lead SELL by the same bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.signals import Action, GateVerdict, Probabilities
from ml_engine.bundle_metadata import BundleMetadata, ExpectedValuePart
from ml_engine.tree_arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the probabilities must reach."""

    min_buy_proba: float
    min_sell_proba: float
    min_margin: float
    hold_bias: float


def leaning(probabilities: Probabilities) -> Action:
    """Give the direction to judge: BUY when it is at least as likely as SELL."""
    return Action.BUY if probabilities.buy >= probabilities.sell else Action.SELL


def probability_gates(probabilities: Probabilities, direction: Action, limits: Thresholds) -> tuple[GateVerdict, ...]:
    """Judge a direction by the four probability rules, in order."""
    own, other = probabilities.buy, probabilities.sell
    least = limits.min_buy_proba
    if direction is Action.SELL:
        own, other, least = other, own, limits.min_sell_proba
    second = max(other, probabilities.hold + limits.hold_bias)
    lead = own - second
    return (
        GateVerdict("proba_below_min", own, least, own >= least),
        GateVerdict("not_top_class", lead, 0.0, lead > 0.0),
        GateVerdict("margin_too_small", lead, limits.min_margin, lead >= limits.min_margin),
        GateVerdict("hold_bias", own, other + limits.hold_bias, own >= other + limits.hold_bias),
    )


def skill_verdict(metadata: BundleMetadata, *, binding: bool, largest_p_value: float = float("inf")) -> GateVerdict:
    """Judge whether the bundle has proven skill: the smaller of the two lower bounds against 0.

    A bundle whose own verdict holds must also be accepted beside the others in service: then the value is its slope
    test's p-value and the limit `largest_p_value`. Without recorded bounds the value is 1 or 0 for the recorded verdict
    and the limit 1. A gate that does not bind passes with its true value.
    """
    skill = metadata.skill
    proven = metadata.tradable.verdict and (skill is None or skill.passed)
    p_value = None if skill is None else skill.slope_p_value
    if proven and p_value is not None and p_value > largest_p_value:
        return GateVerdict("no_skill", p_value, largest_p_value, not binding)
    if skill is None or skill.report.lower is None or skill.slope.lower is None:
        return GateVerdict("no_skill", float(proven), 1.0, proven or not binding)
    return GateVerdict("no_skill", min(skill.report.lower, skill.slope.lower), 0.0, proven or not binding)


@dataclass(frozen=True, slots=True, eq=False)
class ReturnLines:
    """Lines from score to gross trade return, one per resample (n,); a bundle without resamples has its one line."""

    intercepts: FloatArray
    slopes: FloatArray
    quantile: float

    @classmethod
    def of(cls, line: ExpectedValuePart) -> ReturnLines:
        """Take the lines of a bundle."""
        return cls(
            np.array(line.intercepts or (line.intercept,)), np.array(line.slopes or (line.slope,)), line.quantile
        )

    def lower(self, score: float) -> float:
        """Give the lower bound of the gross return expected at a score: the quantile over the lines."""
        lines = self.intercepts + self.slopes * score
        place = self.quantile * (len(lines) - 1)
        low = int(place)
        high = min(low + 1, len(lines) - 1)
        ordered = np.partition(lines, (low, high))
        return float(ordered[low] + (ordered[high] - ordered[low]) * (place - low))


def expected_value_verdict(expected_net: float, *, binding: bool) -> GateVerdict:
    """Judge the lower bound of the expected net return, which must be above 0."""
    return GateVerdict("ev_not_positive", expected_net, 0.0, expected_net > 0.0 or not binding)


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The training region: median, centre and scale (k,), precision (k, k) of scaled columns, largest distance."""

    median: FloatArray
    centre: FloatArray
    scale: FloatArray
    precision: FloatArray
    limit: float

    def distance(self, row: FloatArray) -> float:
        """Give the Mahalanobis distance of a row (k,); an unknown value counts as the median."""
        standard = (np.where(np.isfinite(row), row, self.median) - self.centre) / self.scale
        squared = float((standard[:, None] * self.precision * standard[None, :]).sum())
        return float(np.sqrt(max(squared, 0.0)))


def first_refusal(gates: Sequence[GateVerdict]) -> str | None:
    """Give the reason code of the first gate that did not let the signal pass."""
    return next((gate.reason for gate in gates if not gate.passed), None)

"""The three charts of one bundle together: they take one outcome after the other and say which has gone too far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bn_ml.settings_model import DriftSettings
from ml_engine.drift_charts import (
    COVERAGE_DAYS,
    COVERAGE_P,
    LARGEST_MOVE,
    LEAN_SCALE,
    Coverage,
    Cusum,
)
from ml_engine.drift_reference import ChartReference, Reference
from ml_engine.inference import PROBABILITY_FLOOR

LOSS, RETURN, COVERED = "loss", "return", "coverage"


@dataclass(frozen=True, slots=True)
class Score:
    """Where a test stands: its value, its limit, and whether it is beyond."""

    score: float
    limit: float
    beyond: bool


@dataclass(frozen=True, slots=True)
class Tripped:
    """A chart that went beyond its limit."""

    kind: str
    score: float
    limit: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A prediction whose window has closed: what was said, its class, and the return over the window in deviations."""

    said: tuple[float, float, float]
    label: int
    move: float


@dataclass(slots=True)
class Triggers:
    """The charts of one bundle; a chart its reference lacks is None. `prior` are the class shares to beat."""

    prior: Sequence[float]
    loss: Cusum | None
    adverse: Cusum | None
    coverage: Coverage | None
    outcomes: int = 0

    @classmethod
    def of(
        cls, reference: Reference, settings: DriftSettings, prior: Sequence[float], steps_per_day: float
    ) -> Triggers:
        """Begin the charts of a bundle with limits for the configured mean time between false alarms."""
        loss, adverse = (
            _chart(found, settings.false_alarm_days) if found else None for found in (reference.loss, reference.adverse)
        )
        if loss is not None and settings.loss_cusum_threshold != "auto":
            loss.limit = settings.loss_cusum_threshold
        floor = reference.coverage_floor
        window = round(COVERAGE_DAYS * steps_per_day)
        return cls(prior, loss, adverse, None if floor is None else Coverage.of(floor, window))

    def follow(self, ended: Ended) -> Tripped | None:
        """Take the next outcome; give the chart that went too far, after which all begin anew, None for none."""
        self.outcomes += 1
        of_outcome = ended.said[ended.label]
        excess = math.log(max(self.prior[ended.label], PROBABILITY_FLOOR) / max(of_outcome, PROBABILITY_FLOOR))
        size = min(max(ended.move, -LARGEST_MOVE), LARGEST_MOVE)
        adverse = -math.tanh((ended.said[2] - ended.said[0]) / LEAN_SCALE) * size
        if self.loss is not None:
            self.loss.follow(excess)
        if self.adverse is not None and math.isfinite(adverse):
            self.adverse.follow(adverse)
        if self.coverage is not None:
            self.coverage.follow(of_outcome)
        found = next(((kind, score) for kind, score in self.scores().items() if score.beyond), None)
        if found is None:
            return None
        self.restart()
        return Tripped(found[0], found[1].score, found[1].limit)

    def restart(self) -> None:
        """Begin all charts anew."""
        for chart in (self.loss, self.adverse, self.coverage):
            if chart is not None:
                chart.restart()

    def scores(self) -> dict[str, Score]:
        """Give where each chart stands, the fastest first; coverage by its p-value."""
        sums = {
            name: Score(chart.value, chart.limit, chart.value > chart.limit)
            for name, chart in ((RETURN, self.adverse), (LOSS, self.loss))
            if chart is not None
        }
        if self.coverage is None:
            return sums
        p_value = self.coverage.p_value
        return {**sums, COVERED: Score(p_value, COVERAGE_P, p_value < COVERAGE_P)}


def _chart(found: ChartReference, false_alarm_days: float) -> Cusum:
    return Cusum(found.standard, found.limit(false_alarm_days))

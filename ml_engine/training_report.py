"""What one training is worth: the figures of the report block and the two halves of the skill gate.

The report block is read here and nowhere else; its figures belong to the members fitted on the train block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bn_ml.settings import EnsembleSettings, ModelSettings
from data_manager.bars import Bars, BoolArray, FloatArray, IntArray
from ml_engine import metrics
from ml_engine.calibration import SMALLEST_ROWS
from ml_engine.dataset import Dataset
from ml_engine.drift_reference import Outcomes, chart_arrays, column_arrays, window_moves
from ml_engine.evidence import ExpectedValueLine, expected_value_line, scores, slope_test
from ml_engine.fitting import Grown, Vote
from ml_engine.metrics import ClassScore, Estimate, MoneyFigures
from ml_engine.outlier import TrainingRegion, distance_limit, training_region
from ml_engine.overfitting import UNTUNED, Luck
from ml_engine.validation import Blocks, days

ENSEMBLE = "ensemble"
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Members fitted on the train block and their vote, with the rows they are judged on."""

    data: Dataset
    blocks: Blocks
    grown: Grown
    vote: Vote

    @property
    def prior(self) -> FloatArray:
        """The class shares of the train block, shape (3,)."""
        return metrics.class_shares(self.data.labels[self.blocks.train.rows])

    def forecast(self, rows: IntArray) -> FloatArray:
        """Give the vote's probabilities (n, 3) of the given rows."""
        return self.vote.combine(self.grown.on(self.data, rows))

    def scores(self, rows: IntArray) -> FloatArray:
        """Give (p_buy - p_sell) * width of the given rows."""
        return scores(self.forecast(rows), self.data.width[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """Report-block figures of one forecaster; `skill` is against the class shares of the train block."""

    log_loss: float
    prior_log_loss: float
    skill: Estimate
    accuracy: float
    classes: Mapping[str, ClassScore]
    f1_macro: float
    confusion: IntArray
    ece: float
    ece_floor: float
    auc_direction: float


@dataclass(frozen=True, slots=True, eq=False)
class Gates:
    """What the decision gates need: the slope test on held-out rows, the line and the region with its limit.

    `slope_p_value` is one-sided; 1 is no evidence.
    """

    slope: Estimate
    line: ExpectedValueLine
    region: TrainingRegion
    distance_limit: float
    slope_p_value: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the bundle may trade, and if not which gates are closed and by how much."""

    verdict: str
    reasons: tuple[str, ...]

    @property
    def tradable(self) -> bool:
        """Whether nothing speaks against entries."""
        return not self.reasons


def measure_gates(candidate: Candidate, *, seed: int) -> Gates:
    """Fit the line and the region's limit on the calibrate block; test the slope on it and the select block together.

    No member saw either, and the select block alone is too short to prove a slope most planted signals have.
    """
    data, blocks = candidate.data, candidate.blocks
    calibrate = blocks.calibrate.rows
    held_out = np.concatenate((calibrate, blocks.select.rows))
    columns = np.array(candidate.grown.columns)
    region = training_region(data.values[np.ix_(blocks.train.rows, columns)])
    tested = slope_test(candidate.scores(held_out), data.trade_gross[held_out], days(data.t0[held_out]))
    return Gates(
        slope=tested.slope,
        line=expected_value_line(
            candidate.scores(calibrate), data.trade_gross[calibrate], days(data.t0[calibrate]), seed=seed
        ),
        region=region,
        distance_limit=distance_limit(region, data.values[np.ix_(calibrate, columns)]),
        slope_p_value=tested.p_value,
    )


def report(
    candidate: Candidate, *, settings: EnsembleSettings, round_trip: float, seed: int, luck: Luck = UNTUNED
) -> tuple[Mapping[str, Figures], MoneyFigures]:
    """Measure the vote and each member on the report block; `luck` is what the search for parameters had."""
    data, rows = candidate.data, candidate.blocks.report.rows
    raw = candidate.grown.on(data, rows)
    forecasts = {ENSEMBLE: candidate.vote.combine(raw), **candidate.vote.tempered(raw)}
    day, labels, prior = days(data.t0[rows]), data.labels[rows], candidate.prior
    figures = {name: figures_of(forecast, labels, prior, day, seed=seed) for name, forecast in forecasts.items()}
    entries = np.flatnonzero(buy_rows(forecasts[ENSEMBLE], settings))
    spans = (data.t0[rows], data.t1_trade[rows])
    gross = data.trade_gross[rows]
    return figures, metrics.money(entries, gross, spans, round_trip=round_trip, seed=seed, luck=luck)


def figures_of(forecast: FloatArray, labels: IntArray, prior: FloatArray, day: IntArray, *, seed: int) -> Figures:
    """Measure one forecast (n, 3) against labels (n,); `prior` (3,) are the shares it has to beat."""
    losses, prior_losses = metrics.row_losses(forecast, labels), metrics.prior_losses(prior, labels)
    classes = metrics.class_scores(forecast, labels)
    return Figures(
        log_loss=float(losses.mean()),
        prior_log_loss=float(prior_losses.mean()),
        skill=metrics.skill(losses, prior_losses, day, seed=seed),
        accuracy=metrics.accuracy(forecast, labels),
        classes=classes,
        f1_macro=float(np.mean([score.f1 for score in classes.values()])),
        confusion=metrics.confusion(forecast, labels),
        ece=metrics.calibration_error(forecast, labels),
        ece_floor=metrics.calibration_floor(forecast, seed=seed),
        auc_direction=metrics.direction_auc(forecast[:, 2] - forecast[:, 0], labels),
    )


def drift_arrays(candidate: Candidate, bars: Bars, model: ModelSettings) -> dict[str, FloatArray]:
    """Give what the watch on drift compares with: every h-th held-out row, and the columns of the train block."""
    data, horizon, blocks = candidate.data, model.labeling.horizon_bars, candidate.blocks
    rows = np.concatenate([blocks.select.rows[::horizon], blocks.report.rows[::horizon]])
    moves, volatility = window_moves(bars, data.t0[rows], horizon)
    outcomes = Outcomes(
        candidate.forecast(rows), data.labels[rows], candidate.prior, moves, volatility, horizon=horizon
    )
    seen = data.values[np.ix_(blocks.train.rows, np.array(candidate.grown.columns))]
    steps_per_day = _DAY_MS / (bars.timeframe.ms * horizon)
    return {
        **chart_arrays(outcomes, steps_per_day=steps_per_day, seed=model.random_state),
        **column_arrays(seen, window=model.drift.recent_window),
    }


def buy_rows(forecast: FloatArray, settings: EnsembleSettings) -> BoolArray:
    """Mask rows on which the probability rule says BUY; HOLD is raised by its bias in ranking and margin."""
    sell, hold, buy = forecast[:, 0], forecast[:, 1] + settings.hold_bias, forecast[:, 2]
    second = np.maximum(sell, hold)
    enters: BoolArray = (
        (buy >= settings.min_buy_proba)
        & (buy > second)
        & (buy - second >= settings.min_margin)
        & (buy >= sell + settings.hold_bias)
    )
    return enters


def judge(skill: Estimate, gates: Gates, vote: Vote, *, calibrate_rows: int) -> Verdict:
    """Say tradable, or no skill with each closed half and its bound.

    The slope has to be proven on the calibrate and select blocks together, and above 0 on the calibrate block alone.
    """
    reasons, slope = [], gates.slope
    if not skill.lower > 0.0:
        reasons.append(
            f"no_skill: report-block skill {skill.value:+.4f}, lower bound {_bound(skill.lower, 4)} is not above 0"
        )
    if not slope.lower > 0.0:
        reasons.append(
            f"no_skill: slope of trade return {slope.value:+.3f}, lower bound {_bound(slope.lower, 3)} is not above 0"
        )
    if not gates.line.slope > 0.0:
        reasons.append("no_skill: trade return does not rise with the score on the calibrate block")
    if not any(admission.admitted for admission in vote.admissions):
        reasons.append("no_skill: no member lowers the log-loss of the select block")
    if calibrate_rows < SMALLEST_ROWS:
        reasons.append(f"no_skill: {calibrate_rows} calibrate rows, at least {SMALLEST_ROWS} are needed")
    return Verdict("no_skill" if reasons else "tradable", tuple(reasons))


def _bound(bound: float, digits: int) -> str:
    return f"{bound:+.{digits}f}" if np.isfinite(bound) else "unknown (too few days, or a score that never varies)"

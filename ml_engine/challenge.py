"""Whether a freshly trained ensemble takes the place of the bundle in service.

Both are judged on the same rows: bars after the champion's `label_end`, so that no fit of the champion saw them, and
inside the challenger's report block, so that no fit or choice of its unrefitted twin did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from bn_ml.domain.market import to_ms
from data_manager.bars import FloatArray, IntArray
from ml_engine import metrics
from ml_engine.bundle import ModelBundle
from ml_engine.bundle_metadata import ChallengePart
from ml_engine.dataset import Dataset
from ml_engine.live_quality import Said
from ml_engine.retraining_triggers import DAYS_TO_COMPARE, QUICK
from ml_engine.trainer import Trained
from ml_engine.training_data import BASE
from ml_engine.training_report import ENSEMBLE, Candidate
from ml_engine.validation import days

TOLERANCE = 0.002
QUANTILE = 0.1


@dataclass(frozen=True, slots=True)
class Terms:
    """What a challenge is held under: whether one is asked for at all, the age that forces a change, now, the seed."""

    required: bool
    max_age: timedelta
    now: datetime
    seed: int


@dataclass(frozen=True, slots=True)
class Duel:
    """Mean log-losses on common rows and (challenger - champion) / class shares with its 10 % and 90 % quantiles."""

    champion_loss: float
    challenger_loss: float
    prior_loss: float
    difference: float
    lower: float
    upper: float


def unopposed(reason: str) -> ChallengePart:
    """Give the verdict when there is no bundle that could be defended."""
    return ChallengePart(reason=reason)


def challenge(trained: Trained, champion: ModelBundle, recorded: Sequence[Said], terms: Terms) -> ChallengePart:
    """Judge a training against the bundle in service; `recorded` is what was said live, of any version."""
    pinned = champion.metadata.pinned is not None
    rows = contested_rows(trained, champion)
    told, heard = _champion_forecast(champion, trained.sample.data, rows, recorded)
    said = _twin(trained).forecast(rows) if len(rows) else told
    usable = np.isfinite(told).all(axis=1) & np.isfinite(said).all(axis=1)
    rows, told, said, heard = rows[usable], told[usable], said[usable], heard[usable]
    gap = np.abs(heard[np.isfinite(heard)]).max(initial=0.0)
    part = ChallengePart(
        champion_version=champion.version,
        rows=len(rows),
        recorded_rows=int(np.isfinite(heard).sum()),
        recorded_gap=float(gap) if np.isfinite(heard).any() else None,
    )
    if len(rows) * BASE.length >= timedelta(days=DAYS_TO_COMPARE):
        part = _measured(part, _fought(trained, said, told, rows, seed=terms.seed))
    kept, reason = _ruling(part, trained, champion, terms, pinned=pinned)
    return part.model_copy(update={"replaces": not kept, "reason": reason})


def contested_rows(trained: Trained, champion: ModelBundle) -> IntArray:
    """Give the positions of the rows both sides may be judged on, in time order."""
    rows = trained.blocks.report.rows
    after: IntArray = rows[trained.sample.data.t0[rows] > to_ms(champion.metadata.label_end)]
    return after


def duel(
    challenger: FloatArray, champion: FloatArray, labels: IntArray, prior: FloatArray, day: IntArray, *, seed: int
) -> Duel:
    """Compare two forecasts (n, 3) of the same rows, paired by day block.

    `prior` (n,) is the loss of each row had the class shares been the forecast, `day` numbers the rows' blocks.
    """
    ours, theirs = metrics.row_losses(challenger, labels), metrics.row_losses(champion, labels)
    _, index = np.unique(day, return_inverse=True)
    gap, base = np.bincount(index, weights=ours - theirs), np.bincount(index, weights=prior)
    draws = metrics.day_draws(day, seed=seed, draws=1000)
    lower, upper = np.quantile((draws @ gap) / (draws @ base), (QUANTILE, 1.0 - QUANTILE))
    return Duel(
        champion_loss=float(theirs.mean()),
        challenger_loss=float(ours.mean()),
        prior_loss=float(prior.mean()),
        difference=float(gap.sum() / base.sum()),
        lower=float(lower),
        upper=float(upper),
    )


def _champion_forecast(
    champion: ModelBundle, data: Dataset, rows: IntArray, recorded: Sequence[Said]
) -> tuple[FloatArray, FloatArray]:
    """Give the champion's probabilities (n, 3) and, for rows recorded live, how far record and bundle lie apart (n,).

    What was said live counts; other rows are asked of the bundle. NaN is what neither knows.
    """
    told = _asked(champion, data, rows)
    pin = champion.metadata.pinned
    own = {champion.version, *(() if pin is None else (pin.content_of,))}
    said = {item.close_ms: (item.sell, item.hold, item.buy) for item in recorded if item.version in own}
    apart = np.full(len(rows), np.nan)
    for place, at in enumerate(data.t0[rows].tolist()):
        if at in said:
            heard = np.array(said[at])
            apart[place] = np.nan_to_num(np.abs(told[place] - heard).max(), nan=0.0)
            told[place] = heard
    return told, apart


def _asked(champion: ModelBundle, data: Dataset, rows: IntArray) -> FloatArray:
    """Give what the bundle says of rows, NaN where it needs a window these rows do not have."""
    if not len(rows):
        return np.empty((0, 3))
    place = {name: number for number, name in enumerate(data.columns)}
    columns = np.array([place[name] for name in champion.metadata.feature_columns], dtype=np.int64)
    values = data.values[np.ix_(rows, columns)]
    length = champion.ensemble.window_bars
    if not length:
        return champion.ensemble.probabilities(values)
    if data.windows is None or data.windows.length != length:
        return np.full((len(rows), 3), np.nan)
    return champion.ensemble.probabilities(values, data.windows.part(rows).pick(columns))


def _twin(trained: Trained) -> Candidate:
    return Candidate(trained.sample.data, trained.blocks, trained.twin, trained.vote)


def _fought(trained: Trained, said: FloatArray, told: FloatArray, rows: IntArray, *, seed: int) -> Duel:
    data = trained.sample.data
    labels = data.labels[rows]
    prior = metrics.prior_losses(_twin(trained).prior, labels)
    return duel(said, told, labels, prior, days(data.t0[rows]), seed=seed)


def _measured(part: ChallengePart, found: Duel) -> ChallengePart:
    return part.model_copy(
        update={
            "compared": True,
            "champion_loss": found.champion_loss,
            "challenger_loss": found.challenger_loss,
            "prior_loss": found.prior_loss,
            "difference": found.difference,
            "difference_lower": found.lower,
            "difference_upper": found.upper,
        }
    )


def _ruling(
    part: ChallengePart, trained: Trained, champion: ModelBundle, terms: Terms, *, pinned: bool
) -> tuple[bool, str]:
    """Say whether the champion stays, and why."""
    if not (terms.required or pinned):
        return False, "no challenge asked for"
    skill = trained.figures[ENSEMBLE].skill.value
    if not skill > 0.0:
        return True, f"the challenger has no skill over the class shares: {skill:+.4f}"
    if not part.compared:
        return _untested(part, trained, champion, terms, pinned=pinned)
    bound = part.difference_lower
    text = f"log-loss {part.challenger_loss:.4f} against {part.champion_loss:.4f} on {part.rows} rows"
    if bound is None or not bound <= TOLERANCE:
        return True, f"worse than the champion beyond {TOLERANCE:.1%} of the class shares' loss: {text}"
    return False, f"not worse than the champion: {text}"


def _untested(
    part: ChallengePart, trained: Trained, champion: ModelBundle, terms: Terms, *, pinned: bool
) -> tuple[bool, str]:
    held_days = part.rows * BASE.length / timedelta(days=1)
    short = f"{held_days:.1f} days to compare on, {DAYS_TO_COMPARE} are needed"
    if pinned:
        return True, f"the version put back stays until a challenger was compared with it: {short}"
    if champion.metadata.recipe == QUICK and trained.recipe != QUICK:
        return False, f"the champion was a quick one for a first start: replaced without comparison, {short}"
    age = champion.metadata.age(terms.now)
    if age >= terms.max_age:
        return False, f"the champion is {age / timedelta(hours=1):.0f} h old: replaced without comparison, {short}"
    return True, short

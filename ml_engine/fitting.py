"""Growing the members on one block and turning them into one calibrated vote on the blocks after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bn_ml.settings import ModelSettings
from data_manager.bars import FloatArray, IntArray
from data_manager.windows import Windows
from ml_engine import models
from ml_engine.calibration import FittedMap, fit_map, fit_temperature
from ml_engine.dataset import Dataset
from ml_engine.ensemble import Admission, admit, admitted_names, fit_weights
from ml_engine.inference import LOGISTIC, SEQUENCE, mixture, tempered
from ml_engine.metrics import class_shares, prior_losses
from ml_engine.models import Member, MemberParameters, Recipe, Rows, make_rows
from ml_engine.selection import select_columns
from ml_engine.validation import Block, Blocks, Purge, block_of, effective_rows, purged_tail, walk_forward

TAIL_SHARE = 0.15
SELECTION_FOLDS = 4
PATIENCE = 40
_WITHOUT_ROUNDS = ("rf", LOGISTIC)


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """Fitted members by name, the parameters they repeat with, and the column positions they read."""

    members: Mapping[str, Member]
    parameters: MemberParameters
    columns: tuple[int, ...]

    def raw(self, values: FloatArray, windows: Windows | None = None) -> dict[str, FloatArray]:
        """Give each member's probabilities (n, 3) for full feature rows (n, all columns) and the windows they end.

        A sequence member needs the windows, and answers NaN where one is unknown.
        """
        picked = values[:, self.columns]
        own = None if windows is None or SEQUENCE not in self.members else windows.pick(np.array(self.columns))
        return {name: models.probabilities(member, picked, own) for name, member in self.members.items()}

    def on(self, data: Dataset, rows: IntArray) -> dict[str, FloatArray]:
        """Give each member's probabilities (n, 3) for rows of a dataset."""
        return self.raw(data.values[rows], None if data.windows is None else data.windows.part(rows))


@dataclass(frozen=True, slots=True)
class Vote:
    """How members become one forecast: temperatures, weights of the admitted, and the final map."""

    temperatures: Mapping[str, float]
    weights: Mapping[str, float]
    final_map: FittedMap
    admissions: tuple[Admission, ...]

    def tempered(self, raw: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Apply each member's temperature."""
        return {name: tempered(part, self.temperatures[name]) for name, part in raw.items()}

    def combine(self, raw: Mapping[str, FloatArray]) -> FloatArray:
        """Give the calibrated probabilities (n, 3) of the vote."""
        return self.final_map.map.apply(mixture(self.tempered(raw), self.weights))


def choose_columns(
    data: Dataset, train: IntArray, settings: ModelSettings, plan: Recipe, purge: Purge
) -> tuple[int, ...]:
    """Give the column positions kept, from the train block alone."""
    parts = [part for part in walk_forward(data.t0, data.t1, train, folds=SELECTION_FOLDS, purge=purge) if len(part[0])]
    used = parts if plan.row_step == 1 else parts[-1:]
    folds = [(_rows(data, fit[:: plan.row_step], None), _rows(data, test, None)) for fit, test in used]
    return select_columns(folds, limit=settings.features.limit, seed=settings.random_state)


def grow(
    data: Dataset, train: IntArray, columns: tuple[int, ...], *, settings: ModelSettings, plan: Recipe, purge: Purge
) -> Grown:
    """Fit every enabled member on the train block; rounds come from its own purged tail when that is large enough.

    Rows without windows grow no sequence member.
    """
    used = train[:: plan.row_step]
    chosen = models.parameters(settings, plan, rows=len(used))
    if data.windows is None:
        chosen = chosen.without(SEQUENCE)
    earlier, tail = purged_tail(data.t0, data.t1, used, share=TAIL_SHARE, purge=purge)
    for name in chosen.values:
        if name in _WITHOUT_ROUNDS or not plan.early_stopping:
            continue
        if len(tail) < models.EARLY_STOP_ROWS and name != SEQUENCE:
            chosen = chosen.with_rounds(name, models.FIXED_ROUNDS)
            continue
        fit, test = _rows(data, earlier, columns), _rows(data, tail, columns)
        patience = settings.xgb.early_stopping_rounds if name == "xgb" else PATIENCE
        chosen = chosen.with_rounds(name, models.best_rounds(name, chosen, fit, test, patience=patience))
    return regrow(data, used, columns, chosen)


def regrow(data: Dataset, rows: IntArray, columns: tuple[int, ...], chosen: MemberParameters) -> Grown:
    """Fit the members with frozen parameters on the given rows."""
    fit = _rows(data, rows, columns)
    return Grown({name: models.fit_member(name, chosen, fit) for name in chosen.values}, chosen, columns)


def with_windows(data: Dataset, blocks: Blocks, settings: ModelSettings, plan: Recipe) -> Blocks:
    """Leave out held-out rows whose window is unknown, on which nothing is said live, when a member looks at windows.

    Raises `ModelError` when a block would be empty.
    """
    if data.windows is None or not (settings.lstm.enabled and plan.sequence):
        return blocks
    known = data.windows.known

    def kept(block: Block) -> Block:
        return block_of(block.name, block.rows[known[block.rows]], data.t0, data.t1)

    return Blocks(blocks.train, kept(blocks.calibrate), kept(blocks.select), kept(blocks.report))


def settle_vote(data: Dataset, blocks: Blocks, grown: Grown, settings: ModelSettings, *, gap_rows: int) -> Vote:
    """Fit temperatures, weights and map on the calibrate block; the select block says who takes part."""
    labels = data.labels[blocks.calibrate.rows]
    raw = grown.on(data, blocks.calibrate.rows)
    temperatures = {name: fit_temperature(part, labels) for name, part in raw.items()}
    soft = {name: tempered(part, temperatures[name]) for name, part in raw.items()}
    shrink = settings.ensemble.shrink_to_equal
    verdicts = _admissions(data, blocks, grown, temperatures, fit_weights(soft, labels, shrink_to_equal=shrink))
    voting = {name: soft[name] for name in admitted_names(verdicts)}
    weights = fit_weights(voting, labels, shrink_to_equal=shrink)
    method = settings.ensemble.calibration
    independent = effective_rows(data.uniqueness[blocks.calibrate.rows])
    fitted = fit_map(mixture(voting, weights), labels, method=method, gap_rows=gap_rows, independent=independent)
    return Vote(temperatures, {name: weights.get(name, 0.0) for name in sorted(raw)}, fitted, tuple(verdicts))


def _admissions(
    data: Dataset, blocks: Blocks, grown: Grown, temperatures: Mapping[str, float], weights: Mapping[str, float]
) -> list[Admission]:
    labels = data.labels[blocks.select.rows]
    raw = grown.on(data, blocks.select.rows)
    soft = {name: tempered(part, temperatures[name]) for name, part in raw.items()}
    prior = float(prior_losses(class_shares(data.labels[blocks.train.rows]), labels).mean())
    return admit(soft, labels, weights, prior_loss=prior)


def _rows(data: Dataset, rows: IntArray, columns: tuple[int, ...] | None) -> Rows:
    labels, uniqueness = data.labels[rows], data.uniqueness[rows]
    if columns is None:
        return make_rows(data.values[rows], labels, uniqueness)
    places = np.array(columns)
    windows = None if data.windows is None else data.windows.part(rows).pick(places)
    return make_rows(data.values[np.ix_(rows, places)], labels, uniqueness, windows)

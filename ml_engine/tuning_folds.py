"""The folds a search is scored on: cut from the train block, thinned, and binned once for all trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bn_ml.settings import ModelSettings
from data_manager.bars import FloatArray, IntArray
from ml_engine import models
from ml_engine.dataset import Dataset
from ml_engine.fitting import TAIL_SHARE
from ml_engine.models import Rows, make_rows
from ml_engine.validation import Purge, cpcv, purged_tail, walk_forward

FIRST_SHARE = 0.5
SMALLEST_FIT_ROWS = 300
DAY_MS = 86_400_000
CPCV_GROUPS, CPCV_TEST_GROUPS = 6, 2


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What a search may look at: `rows` of the train block and the `columns` its members read.

    `round_trip` is the cost of one entry and exit as a fraction, `purge` the distance kept between parts, `at` the
    instant (ms) the search is made for.
    """

    data: Dataset
    rows: IntArray
    columns: tuple[int, ...]
    purge: Purge
    round_trip: float
    at: int


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Positions of one split: `fit` for a forest, `early` and `tail` for a booster that stops by its tail.

    `parts` are the test rows by number of their part of time. `tail` is empty where the real fit would not stop early;
    `early` then is `fit`.
    """

    fit: IntArray
    early: IntArray
    tail: IntArray
    parts: Mapping[int, IntArray]

    @property
    def test(self) -> IntArray:
        """All test rows, part after part."""
        return np.concatenate(list(self.parts.values()))


class Fold:
    """The rows of one split as the members read them; each view is made once and shared by all trials."""

    def __init__(self, ground: Ground, split: Split) -> None:
        """Take the rows of a split; nothing is copied before it is asked for."""
        self._ground = ground
        self.split = split

    @cached_property
    def fit(self) -> Rows:
        """All rows to fit on."""
        return self._rows(self.split.fit)

    @cached_property
    def early(self) -> Rows:
        """The rows a booster grows on."""
        return self.fit if self.split.early is self.split.fit else self._rows(self.split.early)

    @cached_property
    def tail(self) -> Rows | None:
        """The rows that say when a booster stops, None where its rounds are fixed."""
        return self._rows(self.split.tail) if len(self.split.tail) else None

    @cached_property
    def test(self) -> FloatArray:
        """Feature rows to forecast, (n, k)."""
        return self._rows(self.split.test).values

    def _rows(self, rows: IntArray) -> Rows:
        data = self._ground.data
        values = data.values[np.ix_(rows, np.array(self._ground.columns))]
        return make_rows(values, data.labels[rows], data.uniqueness[rows])


def thinned(rows: IntArray, most: int) -> IntArray:
    """Give at most `most` rows, evenly spaced, the first and last among them."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def forward_splits(ground: Ground, settings: ModelSettings) -> list[Split]:
    """Give the walk-forward splits of stage A; those too small to fit on are left out."""
    count = min(settings.validation.folds, settings.hpo.max_splits)
    rows = thinned(ground.rows, settings.hpo.max_samples)
    data, stops = ground.data, stops_early(ground)
    pairs = walk_forward(data.t0, data.t1, rows, folds=count, purge=ground.purge, first_share=FIRST_SHARE)
    splits = [_split(ground, fit, (test,), stops=stops) for fit, test in pairs]
    return [split for split in splits if _is_usable(ground, split)]


def group_splits(ground: Ground, settings: ModelSettings) -> list[Split]:
    """Give the splits of stage B: every pair out of six parts of the train block is tested once.

    They come in five rounds of three, each of which tests every part.
    """
    rows = thinned(ground.rows, settings.hpo.max_samples)
    data, stops = ground.data, stops_early(ground)
    found = cpcv(data.t0, data.t1, rows, groups=CPCV_GROUPS, test_groups=CPCV_TEST_GROUPS, purge=ground.purge)
    splits = [
        _split(ground, part.fit, tuple(found.parts[group] for group in part.groups), part.groups, stops=stops)
        for part in sorted(found.splits, key=lambda part: _round_of(part.groups))
    ]
    return [split for split in splits if _is_usable(ground, split)]


def days_tested(ground: Ground, splits: Iterable[Split]) -> IntArray:
    """Give the sorted numbers of the days on which the test rows fall."""
    tested = np.concatenate([split.test for split in splits])
    found: IntArray = np.unique(ground.data.t0[tested] // DAY_MS)
    return found


def stops_early(ground: Ground) -> bool:
    """Whether the fit on the whole train block will choose its rounds by its own tail."""
    _, tail = purged_tail(ground.data.t0, ground.data.t1, ground.rows, share=TAIL_SHARE, purge=ground.purge)
    return len(tail) >= models.EARLY_STOP_ROWS


def _round_of(pair: tuple[int, ...]) -> int:
    """Give the round in which two of the parts meet when each meets each once, all of them busy in every round."""
    first, second = pair
    others = CPCV_GROUPS - 1
    return first if second == others else (first + second) * (others + 1) // 2 % others


def _split(
    ground: Ground, fit: IntArray, parts: tuple[IntArray, ...], groups: tuple[int, ...] = (0,), *, stops: bool
) -> Split:
    early, tail = fit, fit[:0]
    if stops and len(fit):
        early, tail = purged_tail(ground.data.t0, ground.data.t1, fit, share=TAIL_SHARE, purge=ground.purge)
    return Split(fit, early, tail, dict(zip(groups, parts, strict=True)))


def _is_usable(ground: Ground, split: Split) -> bool:
    """Whether a split has rows enough, of every class, to fit on."""
    classes = np.unique(ground.data.labels[split.early])
    return len(split.early) >= SMALLEST_FIT_ROWS and len(classes) == 3 and len(split.test) > 0

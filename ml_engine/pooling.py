"""A young symbol learns from all: members grown on the rows of many symbols, judged on its own.

Blocks stay where the young symbol's own calendar puts them: of the others only what was over before its calibrate block
grows members, and only what falls into that block calibrates. Of each other symbol every h-th row is taken, staggered,
so that outcomes of one symbol do not overlap; nothing in a row says whose it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Symbol
from data_manager.bars import FloatArray, IntArray
from ml_engine.calibration import TEMPERATURE_ROWS
from ml_engine.dataset import Dataset
from ml_engine.validation import Block, Blocks, Purge, block_of

YOUNG_DAYS = 182
MOST_DONORS = 24
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What members are grown on: rows in time order, those of the train block, and the blocks a vote is settled on.

    `donors` are the other symbols, none when the symbol learns from its own rows; `pooled_vote` tells whether the
    others' rows calibrate too.
    """

    data: Dataset
    train: IntArray
    vote_blocks: Blocks
    donors: tuple[Symbol, ...] = ()
    pooled_vote: bool = False


def is_young(data: Dataset) -> bool:
    """Tell whether a symbol's labelled rows span less than half a year."""
    return len(data) > 0 and int(data.t0[-1] - data.t0[0]) < YOUNG_DAYS * _DAY_MS


def own_lessons(data: Dataset, blocks: Blocks) -> Lessons:
    """Give the lessons of a symbol that learns from its own rows."""
    return Lessons(data, blocks.train.rows, blocks)


def pooled_lessons(
    own: Dataset, blocks: Blocks, others: Sequence[Dataset], *, purge: Purge, horizon: int, known_ms: int
) -> Lessons:
    """Add every `horizon`-th row of those others that have the same columns, none whose outcome ends at `known_ms` or
    later.

    A calibrate block under 1,500 own rows is filled up with the others' rows of the same weeks.
    """
    usable = [other for other in others if other.columns == own.columns and other.symbol != own.symbol]
    donors = [_thinned(other, place, horizon, known_ms) for place, other in enumerate(_sorted(usable)[:MOST_DONORS])]
    donors = [donor for donor in donors if len(donor)]
    if not donors:
        return own_lessons(own, blocks)
    data, place_of_own = _merged(own, donors)
    train = np.sort(
        np.concatenate([place_of_own[blocks.train.rows], _before(data, place_of_own, blocks.calibrate, purge)])
    )
    pooled_vote = len(blocks.calibrate) < TEMPERATURE_ROWS
    calibrate = place_of_own[blocks.calibrate.rows]
    if pooled_vote:
        inside = _before(data, place_of_own, blocks.select, purge)
        calibrate = np.sort(np.concatenate([calibrate, inside[data.t0[inside] >= blocks.calibrate.first_t0]]))
    vote = Blocks(
        block_of("train", train, data.t0, data.t1),
        block_of("calibrate", calibrate, data.t0, data.t1),
        block_of("select", place_of_own[blocks.select.rows], data.t0, data.t1),
        block_of("report", place_of_own[blocks.report.rows], data.t0, data.t1),
    )
    return Lessons(data, train, vote, tuple(donor.symbol for donor in donors), pooled_vote)


def _sorted(others: Sequence[Dataset]) -> list[Dataset]:
    """Give the longest histories first, then by name."""
    return sorted(others, key=lambda other: (-len(other), other.symbol))


def _thinned(data: Dataset, place: int, step: int, known_ms: int) -> Dataset:
    rows = np.arange(place % step, len(data), step, dtype=np.int64)
    return _part(data, rows[data.t1[rows] < known_ms])


def _before(data: Dataset, own: IntArray, block: Block, purge: Purge) -> IntArray:
    """Give the others' rows that are over, embargo included, before a block begins."""
    border = block.first_t0
    over = (data.t0 + purge.total_ms <= border) & (data.t1 + purge.embargo_ms < border)
    over[own] = False
    return np.flatnonzero(over).astype(np.int64)


def _merged(own: Dataset, donors: Sequence[Dataset]) -> tuple[Dataset, IntArray]:
    """Join rows in time order, own ones first at equal times; also give where each own row went."""
    parts = [own, *donors]
    t0 = np.concatenate([part.t0 for part in parts])
    order = np.argsort(t0, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))

    def joined(name: str) -> FloatArray:
        merged: FloatArray = np.concatenate([np.asarray(getattr(part, name)) for part in parts])[order]
        return merged

    def whole(name: str) -> IntArray:
        merged: IntArray = np.concatenate([np.asarray(getattr(part, name)) for part in parts])[order]
        return merged

    data = Dataset(
        symbol=own.symbol,
        columns=own.columns,
        values=joined("values"),
        labels=whole("labels"),
        width=joined("width"),
        t0=t0[order],
        t1=whole("t1"),
        t1_trade=whole("t1_trade"),
        trade_gross=joined("trade_gross"),
        uniqueness=joined("uniqueness"),
    )
    return data, place[: len(own)]


def _part(data: Dataset, rows: IntArray) -> Dataset:
    return Dataset(
        symbol=data.symbol,
        columns=data.columns,
        values=data.values[rows],
        labels=data.labels[rows],
        width=data.width[rows],
        t0=data.t0[rows],
        t1=data.t1[rows],
        t1_trade=data.t1_trade[rows],
        trade_gross=data.trade_gross[rows],
        # Thinned rows hardly overlap, so each counts in full.
        uniqueness=np.ones(len(rows)),
    )

"""Whether a training keeps its blocks apart, proven by watching which rows each of its steps really reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from bn_ml.domain.market import Symbol
from data_manager.bars import FloatArray, IntArray
from ml_engine.audit_findings import Check, Notes
from ml_engine.dataset import Dataset
from ml_engine.trainer import Tell, Trained
from ml_engine.training_data import Sample
from ml_engine.validation import BLOCK_NAMES, Block, Blocks, Purge, cpcv, row_hash, walk_forward

_ALL = frozenset({"values", "labels", "trade_gross"})
_SHARES = frozenset({"labels"})
_EVERYTHING = dict.fromkeys(BLOCK_NAMES, _ALL)
# Which arrays of which blocks the steps of a training may read; a step not named here sees the train block alone. Class
# shares of the train block are the forecast everything is compared with.
ALLOWED: Mapping[str, Mapping[str, frozenset[str]]] = {
    "": _EVERYTHING,
    "split": _EVERYTHING,
    "calibrate": {"train": _SHARES, "calibrate": _ALL, "select": _ALL},
    "gates": {"train": frozenset({"values"}), "calibrate": _ALL, "select": _ALL},
    "report": {"train": _SHARES, "report": _ALL},
    "refit": _EVERYTHING,
}
ONLY_TRAIN: Mapping[str, frozenset[str]] = {"train": _ALL}


class Trainer(Protocol):
    """What trains on rows already made."""

    def train_on(self, found: Sample, basket: tuple[Symbol, ...] = (), tell: Tell = ...) -> Trained:
        """Train; `tell` hears the name of each step as it begins."""


@dataclass(slots=True)
class Ledger:
    """Which rows were read of which array in which step."""

    rows: int
    step: str = ""
    seen: dict[tuple[str, str], IntArray] = field(default_factory=dict)

    def tell(self, step: str) -> None:
        """Note that a step begins; only its first word counts."""
        self.step = step.split(" ", maxsplit=1)[0]

    def note(self, name: str, chosen: object) -> None:
        """Note that rows of an array were read."""
        known = self.seen.setdefault((self.step, name), np.zeros(self.rows, dtype=np.int64))
        first = chosen[0] if isinstance(chosen, tuple) and chosen else chosen
        rows = np.arange(self.rows, dtype=np.int64)
        known[np.unique(np.ravel(np.asarray(rows)[first]))] += 1  # type: ignore[index]

    def reads(self) -> Iterator[tuple[str, str, IntArray]]:
        """Give step, array and how often each row was read."""
        for (step, name), counts in self.seen.items():
            yield step, name, counts


class WatchedArray(np.ndarray):
    """An array that notes in a ledger which of its rows are read; what is read out of it is a plain array."""

    ledger: Ledger | None = None
    name: str = ""

    @classmethod
    def over(cls, values: FloatArray | IntArray, name: str, ledger: Ledger) -> WatchedArray:
        """Watch an array whose first axis counts rows."""
        watched: WatchedArray = np.asarray(values).view(cls)
        watched.ledger, watched.name = ledger, name
        return watched

    def __getitem__(self, chosen: object) -> object:  # type: ignore[override]
        """Read rows, and note it."""
        if self.ledger is not None:
            self.ledger.note(self.name, chosen)
        return np.asarray(self)[chosen]  # type: ignore[call-overload]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **keywords: object) -> object:
        """Compute on the whole array: every row is read."""
        self._whole()
        return getattr(ufunc, method)(*map(_plain, inputs), **keywords)

    def __array_function__(  # type: ignore[override]
        self,
        function: Callable[..., object],
        types: object,
        arguments: tuple[object, ...],
        keywords: dict[str, object],
    ) -> object:
        """Compute on the whole array: every row is read."""
        del types
        self._whole()
        return function(*map(_plain, arguments), **{name: _plain(value) for name, value in keywords.items()})

    def _whole(self) -> None:
        if self.ledger is not None:
            self.ledger.note(self.name, slice(None))


@dataclass(frozen=True, slots=True)
class TrainingAudit:
    """One training under audit; `purge` is the distance its blocks must keep."""

    trainer: Trainer
    sample: Sample
    purge: Purge

    def run(self) -> tuple[Trained, list[Check]]:
        """Train with every read watched and judge blocks, folds and reads; raises what the training raises."""
        ledger = Ledger(len(self.sample.data))
        watched = replace(self.sample, data=_watched(self.sample.data, ledger))
        trained = self.trainer.train_on(watched, (), ledger.tell)
        return trained, [
            blocks_apart(trained.blocks, self.sample.data, self.purge),
            folds_apart(self.sample.data, trained.blocks.train.rows, self.purge),
            reads_allowed(ledger, trained.blocks, self.sample.data),
        ]


def blocks_apart(blocks: Blocks, data: Dataset, purge: Purge) -> Check:
    """Check order, distance and disjoint row ids of the four blocks."""
    notes = Notes("blocks")
    parts = list(blocks)
    for left, right in pairwise(parts):
        reaching = left.rows[data.t1[left.rows] + purge.embargo_ms >= right.first_t0]
        for row in reaching.tolist():
            text = f"{left.name} row reaches into the {right.name} block or the embargo before it"
            notes.add(text, column=left.name, row_ms=int(data.t0[row]))
        if left.last_t0 >= right.first_t0:
            notes.add(f"{left.name} does not end before {right.name} begins", column=left.name)
    _hashes_disjoint(notes, parts, data)
    rows = sum(map(len, parts))
    return notes.close(rows, 4, f"{rows} rows in four blocks")


def folds_apart(data: Dataset, rows: IntArray, purge: Purge) -> Check:
    """Check that no outcome of a fit row reaches a test part, in the folds that rank parameters."""
    notes = Notes("folds")
    tested = 0
    for fit, test in walk_forward(data.t0, data.t1, rows, folds=4, purge=purge):
        tested += 1
        _fold_apart(notes, "walk-forward", data, fit, test, purge)
    for split in cpcv(data.t0, data.t1, rows, purge=purge).splits:
        tested += 1
        _fold_apart(notes, "combinatorial", data, split.fit, split.test, purge)
    return notes.close(tested, 5)


def reads_allowed(ledger: Ledger, blocks: Blocks, data: Dataset) -> Check:
    """Check that each step read only the blocks it may, and the report block was read by the report alone."""
    notes = Notes("reads")
    total = 0
    for step, name, counts in ledger.reads():
        total += int(counts.sum())
        allowed = ALLOWED.get(step, ONLY_TRAIN)
        for block in blocks:
            read = block.rows[counts[block.rows] > 0]
            if len(read) and name not in allowed.get(block.name, frozenset()):
                text = f"step {step!r} read {name} of {len(read)} {block.name} rows"
                notes.add(text, column=name, row_ms=int(data.t0[read[0]]))
    steps = {step for step, _, _ in ledger.reads()}
    return notes.close(len(steps), 5, f"{total} reads in {len(steps)} steps")


def _watched(data: Dataset, ledger: Ledger) -> Dataset:
    return replace(
        data,
        values=WatchedArray.over(data.values, "values", ledger),
        labels=WatchedArray.over(data.labels, "labels", ledger),
        trade_gross=WatchedArray.over(data.trade_gross, "trade_gross", ledger),
    )


def _hashes_disjoint(notes: Notes, parts: list[Block], data: Dataset) -> None:
    ids = [frozenset(data.t0[part.rows].tolist()) for part in parts]
    for place, part in enumerate(parts):
        for other in range(place):
            shared = ids[place] & ids[other]
            if shared:
                text = f"{len(shared)} rows are in {parts[other].name} and in {part.name}"
                notes.add(text, column=part.name, row_ms=min(shared))
    hashes = {row_hash(str(data.symbol), data.t0[part.rows]) for part in parts}
    if len(hashes) != len(parts):
        notes.add("two blocks have the same rows")


def _fold_apart(notes: Notes, kind: str, data: Dataset, fit: IntArray, test: IntArray, purge: Purge) -> None:
    """Note the fit rows whose outcome overlaps a test stretch or lies within the embargo before it."""
    cuts = np.flatnonzero(np.diff(test) > 1) + 1
    for stretch in np.split(test, cuts):
        first, last = int(data.t0[stretch[0]]), int(data.t1[stretch].max())
        t0, t1 = data.t0[fit], data.t1[fit]
        bad = fit[(t1 + purge.embargo_ms >= first) & (t0 <= last)]
        for row in bad.tolist():
            text = f"{kind} fit row overlaps the test part that begins at {first}"
            notes.add(text, column=kind, row_ms=int(data.t0[row]))


def _plain(value: object) -> object:
    if isinstance(value, WatchedArray):
        return np.asarray(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value

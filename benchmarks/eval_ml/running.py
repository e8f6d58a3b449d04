"""Pieces of work, kept on disk as they finish: a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.bench_base import ONE_THREAD, say

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a piece of work found: plain `values`, and `arrays` where rows are needed later."""

    values: dict[str, object]
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: a function of this package, its arguments, and the name its answer is kept under."""

    work: Callable[..., Answer]
    arguments: tuple[object, ...]

    @property
    def key(self) -> str:
        """The name of the kept answer: function and arguments, nothing of the code."""
        words = [self.work.__name__, *(Path(str(word)).name for word in self.arguments)]
        return "-".join(word.replace("/", "_") for word in words)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the scoreboard; `holds` is None where it could not be measured."""

    id: str
    what: str
    figure: object
    bar: str
    holds: bool | None
    n: int
    seconds: float = 0.0
    note: str = ""


def run(units: Sequence[Unit], folder: Path, *, jobs: int, fresh: bool) -> dict[Unit, Answer]:
    """Give the answer of every unit, kept ones first; the others are worked out in `jobs` processes."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(dict.fromkeys(units))
    open_units = [unit for unit in wanted if fresh or not _path(folder, unit).exists()]
    say(f"{len(wanted) - len(open_units)} of {len(wanted)} pieces of work are kept, {len(open_units)} to do")
    os.environ.update(ONE_THREAD)
    if jobs <= 1:
        for place, unit in enumerate(open_units):
            _tell(place + 1, len(open_units), unit, _work(unit, folder))
    else:
        _work_side_by_side(open_units, folder, jobs)
    return {unit: _read(folder, unit) for unit in wanted}


def _work_side_by_side(units: Sequence[Unit], folder: Path, jobs: int) -> None:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_work, unit, folder): unit for unit in units}
        for place, future in enumerate(as_completed(futures)):
            _tell(place + 1, len(units), futures[future], future.result())


def _work(unit: Unit, folder: Path) -> float:
    started = time.process_time()
    answer = unit.work(*unit.arguments)
    spent = time.process_time() - started
    path = _path(folder, unit)
    if answer.arrays:
        np.savez_compressed(path.with_suffix(".npz"), **answer.arrays)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps({"values": {**answer.values, "seconds": spent}, "rows": bool(answer.arrays)}))
    partial.replace(path)
    return spent


def _read(folder: Path, unit: Unit) -> Answer:
    path = _path(folder, unit)
    kept = json.loads(path.read_text())
    if not kept["rows"]:
        return Answer(kept["values"])
    with np.load(path.with_suffix(".npz")) as arrays:
        return Answer(kept["values"], {name: arrays[name] for name in arrays.files})


def _path(folder: Path, unit: Unit) -> Path:
    return folder / f"{unit.key}.json"


def _tell(done: int, total: int, unit: Unit, seconds: float) -> None:
    say(f"[{done}/{total}] {unit.key}: {seconds:.1f} CPU s")

"""The figures S1 to S21: which pieces of work each needs, and what they say beside the bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.eval_ml import recorded
from benchmarks.eval_ml.running import Answer, Figure, Unit

Found = Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for: where recorded bars are (None: nowhere), first seed, how many seeds.

    `quick` takes few seeds and symbols, `deep` every symbol under both kinds of labels.
    """

    data: str | None
    seed: int
    seeds: int | None
    quick: bool = False
    deep: bool = False

    def seeds_of(self, usual: int) -> range:
        """Give the seeds of a figure that usually takes `usual` of them."""
        count = self.seeds or (min(2, usual) if self.quick else usual)
        return range(self.seed, self.seed + count)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The recorded symbols judged."""
        return recorded.LIQUID[:3] if self.quick else recorded.LIQUID

    @property
    def folds(self) -> int:
        """The test blocks of the walk forward."""
        return 2 if self.quick else recorded.FOLDS


@dataclass(frozen=True, slots=True)
class Line:
    """How one figure comes about: its pieces of work by name, and the judgement of their answers."""

    id: str
    recorded: bool
    units: Callable[[Options], Mapping[str, Sequence[Unit]]]
    judge: Callable[[Mapping[str, Found]], list[Figure]]


def seconds(found: Found) -> float:
    """Give the CPU seconds the answers cost."""
    return float(sum(float(str(answer.values.get("seconds", 0.0))) for answer in found))


def numbers(found: Found, name: str) -> np.ndarray:
    """Give one number of each answer."""
    return np.array([answer.values[name] for answer in found], dtype=np.float64)


def at_most(figure: float, bar: float) -> bool:
    """Tell whether a figure is within its bar; one that is no number is not."""
    return bool(figure <= bar)


def share(found: Found, name: str) -> float:
    """Give the share of answers for which something is true."""
    return float(np.mean([bool(answer.values[name]) for answer in found]))

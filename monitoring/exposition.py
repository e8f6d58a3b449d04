"""Metrics as text, in the exposition format 0.0.4 that Prometheus reads."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Family:
    """All series of one name: its type, what it means, and the names of its labels."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names the format does not know."""
        if not _METRIC.fullmatch(self.name) or not all(_LABEL.fullmatch(label) for label in self.labels):
            raise ValueError(f"not a metric: {self.name}{list(self.labels)}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a family; `values` belong to its labels in their order."""

    value: float
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """One series of a histogram: how many lay at or below each bound and not below an earlier one, and the rest."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    values: tuple[str, ...] = ()


def exposition(families: Iterable[tuple[Family, Sequence[Sample | Distribution]]]) -> str:
    """Give the text of all families in the order given; a family without samples is only described.

    Raises `ValueError` for a sample whose labels are not those of its family.
    """
    return "".join(_lines(family, samples) for family, samples in families)


def number(value: float) -> str:
    """Write a value as the format wants it.

    >>> number(3.0), number(0.1), number(float("nan")), number(float("-inf"))
    ('3', '0.1', 'NaN', '-Inf')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _lines(family: Family, samples: Sequence[Sample | Distribution]) -> str:
    lines = [f"# HELP {family.name} {_escaped(family.help)}", f"# TYPE {family.name} {family.kind}"]
    for sample in samples:
        if isinstance(sample, Distribution):
            lines += _series(family, sample)
        else:
            lines.append(_line(family.name, family.labels, sample.values, sample.value))
    return "\n".join(lines) + "\n"


def _series(family: Family, sample: Distribution) -> list[str]:
    """Give the lines of one histogram series, its counts cumulative."""
    names = (*family.labels, "le")
    lines, reached = [], 0
    for bound, count in zip((*sample.bounds, math.inf), sample.counts, strict=True):
        reached += count
        lines.append(_line(f"{family.name}_bucket", names, (*sample.values, number(bound)), reached))
    lines.append(_line(f"{family.name}_sum", family.labels, sample.values, sample.total))
    lines.append(_line(f"{family.name}_count", family.labels, sample.values, reached))
    return lines


def _line(name: str, labels: Sequence[str], values: Sequence[str], value: float) -> str:
    pairs = ",".join(f'{label}="{_quoted(said)}"' for label, said in zip(labels, values, strict=True))
    return f"{name}{{{pairs}}} {number(value)}" if pairs else f"{name} {number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')

"""What the search may change: a few parameters of each member, each within bounds that keep it strongly regularised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ml_engine.models import Parameters

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Span:
    """A number between two bounds, both included; `log` spreads it evenly over its logarithm, `whole` rounds it."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, share: float) -> Value:
        """Give the value at a share in [0, 1] of the way, to four digits.

        >>> Span(1.0, 100.0, log=True).at(0.5)
        10.0
        """
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return self.tidy(value)

    def tidy(self, value: float) -> Value:
        """Give the value as it is used: whole where asked, else of four digits, inside the bounds.

        >>> Span(2, 5, whole=True).tidy(7.2), Span(0.02, 0.1).tidy(0.0312345)
        (5, 0.03123)
        """
        inside = min(max(value, self.low), self.high)
        return round(inside) if self.whole else float(f"{inside:.4g}")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]

    def at(self, share: float) -> Value:
        """Give the value at a share in [0, 1] of the way through the list."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


Dimension = Span | Choice

_BOOSTED: Mapping[str, Dimension] = {
    "learning_rate": Span(0.02, 0.1, log=True),
    "subsample": Span(0.4, 0.9),
    "colsample_bytree": Span(0.2, 0.7),
    "reg_lambda": Span(1.0, 100.0, log=True),
}
SPACE: Mapping[str, Mapping[str, Dimension]] = {
    "rf": {
        "max_depth": Span(4, 9, whole=True),
        "min_samples_leaf": Span(40, 400, log=True, whole=True),
        "max_features": Choice(("sqrt", 0.3, 0.5)),
        "max_samples": Span(0.2, 0.6),
    },
    "xgb": {
        "max_depth": Span(2, 5, whole=True),
        "min_child_weight": Span(10.0, 300.0, log=True),
        **_BOOSTED,
    },
    "lgb": {
        "num_leaves": Span(4, 16, whole=True),
        "min_child_samples": Span(50, 1000, log=True, whole=True),
        **_BOOSTED,
    },
    "logistic": {"C": Span(1e-4, 1e-1, log=True)},
}


def nearest(member: str, values: Parameters) -> Parameters:
    """Give the point of the space nearest to any parameters of a member."""
    return {name: _inside(dimension, values.get(name)) for name, dimension in SPACE[member].items()}


def grid(member: str, count: int) -> list[Parameters]:
    """Give `count` points spread evenly over a member's space, the same ones every time.

    The points of an additive lattice whose steps are powers of the generalised golden ratio of the dimension
    *(Roberts 2018)*: any first part of it is spread evenly too. Along a single dimension they are evenly spaced.
    """
    dimensions = SPACE[member]
    if len(dimensions) == 1:
        shares = [[number / max(count - 1, 1)] for number in range(count)]
    else:
        steps = _lattice_steps(len(dimensions))
        shares = [[(0.5 + step * number) % 1.0 for step in steps] for number in range(1, count + 1)]
    return [
        {name: dimension.at(share) for (name, dimension), share in zip(dimensions.items(), point, strict=True)}
        for point in shares
    ]


def _inside(dimension: Dimension, value: Value | None) -> Value:
    if isinstance(dimension, Choice):
        return value if value in dimension.values and value is not None else dimension.values[0]
    return dimension.at(0.5) if value is None or isinstance(value, str) else dimension.tidy(value)


def _lattice_steps(dimensions: int) -> list[float]:
    ratio = 2.0
    for _ in range(60):
        ratio = (1.0 + ratio) ** (1.0 / (dimensions + 1))
    return [ratio ** -(place + 1) % 1.0 for place in range(dimensions)]

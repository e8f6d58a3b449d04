"""Did trades bring what their entries promised?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import to_ms
from bn_ml.domain.positions import Position
from data_manager.bars import FloatArray
from evidence.clustering import ClusteredMean, clustered_mean
from trader.performance import trade_return

TENTHS = 10
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Tenth:
    """Trades of neighbouring promises: how many, and the mean net return promised and realised, as fractions."""

    trades: int
    promised: float
    realised: float


@dataclass(frozen=True, slots=True)
class PromisedAgainstRealised:
    """Net returns, as fractions of what a trade cost, against what the models promised at the entry.

    - `trades`: closed trades whose promise is known; `unknown` counts the others
    - `promised`, `realised`: means over them
    - `difference`: realised less promised, clustered by UTC day of entry; the promise is a cautious bound, so honest
      models lie above 0
    - `slope`: least-squares slope of realised on promised, 1 where promises are right in size, 0 where they tell
      nothing apart; None without variation
    - `tenths`: from the lowest promises to the highest, as many trades each as can be
    - `why`: why nothing can be compared, and then the figures are None
    """

    trades: int
    unknown: int
    promised: float | None = None
    realised: float | None = None
    difference: ClusteredMean | None = None
    slope: float | None = None
    tenths: tuple[Tenth, ...] = ()
    why: str | None = None


def promised_against_realised(closed: Sequence[Position], promised: Mapping[str, float]) -> PromisedAgainstRealised:
    """Compare closed positions with `promised`, which maps a position id to the net return its entry was bought for."""
    known = [position for position in closed if position.position_id in promised]
    unknown = len(closed) - len(known)
    if not known:
        why = (
            "no trade was closed" if not closed else "no entry kept a promise: its bundle had no line of expected value"
        )
        return PromisedAgainstRealised(0, unknown, why=why)
    said = np.array([promised[position.position_id] for position in known])
    came = np.array([trade_return(position) for position in known])
    days = np.array([to_ms(position.opened_at) // DAY_MS for position in known])
    return PromisedAgainstRealised(
        trades=len(known),
        unknown=unknown,
        promised=float(said.mean()),
        realised=float(came.mean()),
        difference=clustered_mean(came - said, days),
        slope=_slope(said, came),
        tenths=_tenths(said, came),
    )


def _slope(said: FloatArray, came: FloatArray) -> float | None:
    centred = said - said.mean()
    power = float(centred @ centred)
    return float(centred @ came) / power if power > 1e-18 * len(said) else None


def _tenths(said: FloatArray, came: FloatArray) -> tuple[Tenth, ...]:
    order = np.argsort(said, kind="stable")
    parts = [part for part in np.array_split(order, TENTHS) if len(part)]
    return tuple(Tenth(len(part), float(said[part].mean()), float(came[part].mean())) for part in parts)

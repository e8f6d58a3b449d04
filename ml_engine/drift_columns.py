"""How far the newest rows of a symbol stray from the training rows, column by column, and its volatility from before.

Information only: slow columns stray by themselves, so each is held against its own limit, and none of it stops entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bn_ml.settings_model import DriftSettings
from data_manager.bars import Bars, BoolArray, FloatArray, IntArray
from data_manager.feed_checks import FeatureRow
from ml_engine.drift_charts import bin_shares, distance, distance_p_value, stability_index
from ml_engine.drift_reference import ColumnReference
from ml_engine.drift_triggers import Score

PSI, KS, VOLATILITY = "psi", "ks", "volatility"
WORST_SHOWN = 5
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Strayed:
    """One column: how far it strays and its own limit, by stability index and by distance."""

    name: str
    psi: float
    psi_limit: float
    ks: float
    ks_limit: float


@dataclass(frozen=True, slots=True)
class ColumnScores:
    """The scores of both tests and the columns that stray most, worst first."""

    scores: dict[str, Score] = field(default_factory=dict)
    worst: tuple[Strayed, ...] = ()


class ColumnWatch:
    """Keeps the newest rows of one bundle's columns."""

    def __init__(self, reference: ColumnReference, columns: Sequence[str], settings: DriftSettings) -> None:
        """Compare with a bundle's reference; `columns` are its columns in order."""
        self._reference = reference
        self._names = tuple(columns)
        self._settings = settings
        self._rows: deque[FloatArray] = deque(maxlen=reference.window)
        self._seen: tuple[str, ...] = ()
        self._places: IntArray = np.empty(0, dtype=np.int64)

    def follow(self, row: FeatureRow) -> None:
        """Take the row of the next bar."""
        if row.columns is not self._seen:
            known = {name: place for place, name in enumerate(row.columns)}
            self._seen, self._places = row.columns, np.array([known[name] for name in self._names], dtype=np.int64)
            self._rows.clear()
        self._rows.append(row.values)

    def scores(self) -> ColumnScores:
        """Give where the newest rows stand; nothing until there are enough."""
        reference, settings = self._reference, self._settings
        if len(self._rows) < reference.window:
            return ColumnScores()
        rows = np.stack(self._rows)[:, self._places]
        shares = bin_shares(rows, reference.edges)
        known = np.isfinite(shares).all(axis=1) & np.isfinite(reference.shares).all(axis=1)
        psi = np.where(known, stability_index(shares, reference.shares), 0.0)
        gaps = np.where(known, distance(shares, reference.shares), 0.0)
        psi_limits = np.maximum(reference.psi_limits, settings.psi_threshold)
        ks_limits = np.maximum(reference.ks_limits, settings.ks_threshold)
        by_psi, by_ks = psi / psi_limits, np.where(self._telling(gaps), gaps / ks_limits, 0.0)
        order = np.argsort(-np.maximum(by_psi, by_ks), kind="stable")[:WORST_SHOWN].tolist()
        return ColumnScores(
            scores={
                PSI: _beyond(float(by_psi.max()), max(1.0, reference.psi_all)),
                KS: _beyond(float(by_ks.max()), max(1.0, reference.ks_all)),
            },
            worst=tuple(
                Strayed(
                    self._names[place],
                    float(psi[place]),
                    float(psi_limits[place]),
                    float(gaps[place]),
                    float(ks_limits[place]),
                )
                for place in order
            ),
        )

    def _telling(self, gaps: FloatArray) -> BoolArray:
        """Mask distances rarer than the allowed p-value, shared out among the columns."""
        most = self._settings.p_value_threshold / len(gaps)
        rare: BoolArray = np.array([distance_p_value(gap, len(self._rows)) < most for gap in gaps.tolist()])
        return rare


def volatility_score(bars: Bars, settings: DriftSettings) -> Score | None:
    """Give how many times the newest bars are wilder, or calmer, than those before; None while they are too few.

    The deviation of log returns of `recent_window` bars against that of the `baseline_window` before them.
    """
    recent, before = settings.recent_window, settings.baseline_window
    if len(bars) < recent + before + 1:
        return None
    returns = np.diff(np.log(bars.close[-(recent + before + 1) :]))
    new, old = float(returns[-recent:].std()), float(returns[:before].std())
    ratio = max(new, _TINY) / max(old, _TINY)
    return _beyond(max(ratio, 1.0 / ratio), settings.vol_ratio_threshold)


def _beyond(value: float, limit: float) -> Score:
    return Score(value, limit, value > limit)

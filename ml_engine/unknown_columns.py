"""Which column costs a training its rows."""

from __future__ import annotations

import numpy as np

from data_manager.bars import BoolArray
from data_manager.feature_engineer import FeatureFrame


def worst_column(frame: FeatureFrame, demanded: BoolArray) -> str:
    """Name the demanded column that is unknown in most rows, empty when none is in a tenth of them."""
    places = np.flatnonzero(demanded)
    if not (len(places) and len(frame.values)):
        return ""
    unknown = (~np.isfinite(frame.values[:, places])).sum(axis=0)
    worst = int(unknown.argmax())
    if unknown[worst] * 10 < len(frame.values):
        return ""
    return f"{frame.columns[places[worst]]} is unknown in {unknown[worst]} of {len(frame.values)} bars"

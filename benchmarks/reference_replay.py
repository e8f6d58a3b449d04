"""A replay as it is first written: a walk over pandas rows that asks the libraries at every bar."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from data_manager.bars import Bars, FloatArray

if TYPE_CHECKING:
    from benchmarks.reference_models import LibraryEnsemble

FEE = 0.001
SPREAD = 0.0005
STOP, TARGET = 0.02, 0.03
LEAST_BUY = 0.42


def naive_replay(bars: Bars, features: FloatArray, ensemble: LibraryEnsemble) -> tuple[float, int]:
    """Walk one symbol: predict, enter, stop, take profit, account; gives CPU seconds and closed trades.

    `features` (n_bars, k) are given, so that only predictions and rules are paid for.
    """
    table = bars.to_frame()
    started = time.process_time()
    cash, held, entry, closed = 1000.0, 0.0, 0.0, 0
    equity = []
    for place, (_, row) in enumerate(table.iterrows()):
        sell, _, buy = ensemble.probabilities(features[place : place + 1])[0]
        if held:
            exits = row["low"] <= entry * (1 - STOP) or row["high"] >= entry * (1 + TARGET) or sell > LEAST_BUY
            if exits:
                price = min(max(row["close"], entry * (1 - STOP)), entry * (1 + TARGET)) * (1 - SPREAD)
                cash, held, closed = cash + held * price * (1 - FEE), 0.0, closed + 1
        elif buy > LEAST_BUY and buy > sell:
            entry = row["close"] * (1 + SPREAD)
            held = cash * 0.1 / entry
            cash -= held * entry * (1 + FEE)
        equity.append(cash + held * row["close"])
    drawdown = np.min(np.array(equity) / np.maximum.accumulate(equity) - 1.0)
    return time.process_time() - started, closed if np.isfinite(drawdown) else -1

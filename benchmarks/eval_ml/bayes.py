"""What the best forecaster of a planted world knows: class probabilities and expected returns from (z, vol)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.eval_ml import worlds
from data_manager.bars import FloatArray

_Z_GRID = np.linspace(-3.5, 3.5, 29)
_VOL_GRID = np.linspace(-1.6, 1.6, 9)
_PATHS = 6_000


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """`probabilities` (n, 3) of SELL, HOLD, BUY and `expected` (n,), the mean return over the horizon."""

    probabilities: FloatArray
    expected: FloatArray


def truth(z: FloatArray, vol: FloatArray, width: FloatArray, *, r2: float, horizon: int) -> Truth:
    """Simulate the next `horizon` returns on a grid of (z, log vol) and interpolate at each row, arrays (n,)."""
    samples = _samples(r2, horizon)
    spread = np.log(vol) - worlds.LOG_VOL_MEAN
    columns, along = _corner(_Z_GRID, z)
    rows, across = _corner(_VOL_GRID, spread)
    upper, lower = np.log1p(width), np.log1p(-width)
    figures = np.zeros((len(z), 4))
    for down in (0, 1):
        for right in (0, 1):
            share = np.where(down, across, 1.0 - across) * np.where(right, along, 1.0 - along)
            figures += share[:, None] * _at(samples, rows + down, columns + right, np.stack([lower, upper]))
    return Truth(figures[:, :3], figures[:, 3])


def _samples(r2: float, horizon: int) -> FloatArray:
    """Give sorted log returns over the horizon from every grid point, shape (vols, zs, paths)."""
    generator = np.random.default_rng(20_240_101)
    shape = (len(_VOL_GRID), len(_Z_GRID), _PATHS)
    spread = np.broadcast_to(_VOL_GRID[:, None, None], shape).copy()
    z = np.broadcast_to(_Z_GRID[None, :, None], shape).copy()
    total = np.zeros(shape)
    for _ in range(horizon):
        noise = generator.standard_t(worlds.TAIL, shape) * np.sqrt((worlds.TAIL - 2.0) / worlds.TAIL)
        total += np.exp(worlds.LOG_VOL_MEAN + spread) * (np.sqrt(1.0 - r2) * noise + np.sqrt(r2) * z)
        spread = worlds.LOG_VOL_MEMORY * spread + generator.normal(0.0, worlds.LOG_VOL_NOISE, shape)
        z = worlds.Z_MEMORY * z + generator.normal(0.0, np.sqrt(1.0 - worlds.Z_MEMORY**2), shape)
    return np.sort(total, axis=2)


def _corner(grid: FloatArray, values: FloatArray) -> tuple[np.ndarray, FloatArray]:
    """Give the grid point at or below each value and how far the value lies towards the next."""
    held = np.clip(values, grid[0], grid[-1])
    place = np.clip(np.searchsorted(grid, held, side="right") - 1, 0, len(grid) - 2)
    return place, (held - grid[place]) / (grid[place + 1] - grid[place])


def _at(samples: FloatArray, rows: np.ndarray, columns: np.ndarray, limits: FloatArray) -> FloatArray:
    """Give SELL, HOLD, BUY and mean return as if every row stood on its grid point, shape (n, 4)."""
    found = np.zeros((len(rows), 4))
    for row, column in np.unique(np.stack([rows, columns], axis=1), axis=0):
        here = (rows == row) & (columns == column)
        paths = samples[row, column]
        sell = np.searchsorted(paths, limits[0, here], side="right") / len(paths)
        buy = 1.0 - np.searchsorted(paths, limits[1, here], side="left") / len(paths)
        found[here] = np.stack([sell, 1.0 - sell - buy, buy, np.full(len(sell), np.expm1(paths).mean())], axis=1)
    return found

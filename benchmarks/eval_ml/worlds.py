"""Made-up markets whose truth is known: planted drifts, martingales with every trap of volatility, mirrored bars.

Every world takes a seed and nothing else decides it. Bars are 15 minutes and open at the close before, jumps aside.

A planted world shows its state z by where bars close between low and high: place = (1 + tanh(0.8 z)) / 2, wherever the
range reaches the open. Such wicks can be forecast, so only closes are a fair game there. A martingale is fair to the
touch: its highs and lows are those of a path of 15 steps, so neither stop nor target can be foreseen to fill early, and
it jumps between bars, for a stop jumped over fills where trading goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe
from data_manager.bars import Bars, FloatArray
from ml_engine.audit_nulls import mirrored

COIN = Symbol("COIN/USDC")
MONDAY_MS = 1_640_995_200_000 + 2 * 86_400_000  # 2022-01-03 00:00 UTC
STEP_MS = Timeframe.M15.ms

LOG_VOL_MEAN = float(np.log(0.0035))
LOG_VOL_MEMORY, LOG_VOL_NOISE = 0.97, 0.12
Z_MEMORY = 0.9
TAIL = 5.0
PATH_STEPS = 15


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Bars with the state that made them: `z` and `vol` (n_bars,) are known at the close of their bar."""

    bars: Bars
    z: FloatArray
    vol: FloatArray


def planted(seed: int, *, r2: float, count: int) -> World:
    """Give r[t+1] = vol[t] (sqrt(1 - R2) e + sqrt(R2) z[t]), e Student-5 of variance 1; R2 = 0 is a martingale."""
    generator = np.random.default_rng([seed, 1])
    z = _autoregression(generator, count, Z_MEMORY, np.sqrt(1.0 - Z_MEMORY**2), start_deviation=1.0)
    vol = _stochastic_volatility(generator, count)
    noise = _student(generator, count)
    drift = np.sqrt(r2) * z
    returns = np.zeros(count)
    returns[1:] = vol[:-1] * (np.sqrt(1.0 - r2) * noise[1:] + drift[:-1])
    return World(_bars(generator, returns, z, vol), z, vol)


def sign_flipped(seed: int, *, r2: float, count: int, flip_at: int) -> World:
    """Give a planted world whose drift turns against z from bar `flip_at` on."""
    generator = np.random.default_rng([seed, 1])
    z = _autoregression(generator, count, Z_MEMORY, np.sqrt(1.0 - Z_MEMORY**2), start_deviation=1.0)
    vol = _stochastic_volatility(generator, count)
    noise = _student(generator, count)
    drift = np.sqrt(r2) * z * np.where(np.arange(count) < flip_at, 1.0, -1.0)
    returns = np.zeros(count)
    returns[1:] = vol[:-1] * (np.sqrt(1.0 - r2) * noise[1:] + drift[:-1])
    return World(_bars(generator, returns, z, vol), z, vol)


def stochastic(seed: int, *, count: int) -> World:
    """Give a martingale with the planted world's volatility: how far can be forecast, which way cannot."""
    generator = np.random.default_rng([seed, 10])
    vol = _stochastic_volatility(generator, count)
    return _walked(generator, vol, _steps(generator, count))


def garch(seed: int, *, count: int) -> World:
    """Give a GARCH(1,1) martingale with Student-5 shocks: variance' = 0.04 mean + 0.08 shock^2 + 0.88 variance."""
    generator = np.random.default_rng([seed, 2])
    steps = _steps(generator, count)
    shocks, mean = steps.sum(axis=1), np.exp(2.0 * LOG_VOL_MEAN)
    variance = np.full(count, mean)
    for place in range(1, count):
        shock = variance[place - 1] * shocks[place] ** 2
        variance[place] = 0.04 * mean + 0.08 * shock + 0.88 * variance[place - 1]
    return _walked(generator, np.sqrt(variance), steps)


def regimes(seed: int, *, count: int) -> World:
    """Give a martingale that changes between a calm, a usual and a wild volatility, each lasting about two days."""
    generator = np.random.default_rng([seed, 3])
    levels = np.exp(LOG_VOL_MEAN) * np.array([0.5, 1.0, 2.2])
    leaves, choices = generator.random(count) < 1.0 / 192.0, generator.integers(0, 2, count)
    state, states = 1, np.ones(count, dtype=np.int64)
    for place in range(count):
        if leaves[place]:
            state = [other for other in range(3) if other != state][choices[place]]
        states[place] = state
    return _walked(generator, levels[states], _steps(generator, count))


def skewed_jumps(seed: int, *, count: int) -> World:
    """Give a martingale with 6 % jumps of 4 sigma whose sign follows z (AR(1) 0.95, shown by volume), without drift."""
    generator = np.random.default_rng([seed, 4])
    z = _autoregression(generator, count, 0.95, np.sqrt(1.0 - 0.95**2), start_deviation=1.0)
    vol = _stochastic_volatility(generator, count)
    steps, jumps = _steps(generator, count), generator.random(count) < 0.06
    up = np.concatenate(([0.5], 1.0 / (1.0 + np.exp(-2.0 * z[:-1]))))
    sign = np.where(generator.random(count) < up, 1.0, -1.0)
    gaps = 4.0 * sign * jumps - 0.06 * 4.0 * (2.0 * up - 1.0)
    return _walked(generator, vol, steps, shown=z, gaps=gaps)


NULLS = {"garch": garch, "regimes": regimes, "skew": skewed_jumps, "stochastic": stochastic}


def randomly_mirrored(bars: Bars, seed: int) -> Bars:
    """Mirror each bar with probability 1/2; every symbol has its own draws."""
    generator = np.random.default_rng([seed, 5, *str(bars.symbol).encode()])
    return mirrored(bars, generator.random(len(bars)) < 0.5)


def permutation(count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Give an order that deals labels out anew."""
    return np.random.default_rng([seed, 6]).permutation(count)


def recorded_market(bars: Mapping[Symbol, Bars], symbols: Sequence[Symbol], seed: int) -> dict[Symbol, Bars]:
    """Give all symbols randomly mirrored."""
    return {symbol: randomly_mirrored(bars[symbol], seed) for symbol in symbols}


def _walked(
    generator: np.random.Generator,
    vol: FloatArray,
    steps: FloatArray,
    *,
    shown: FloatArray | None = None,
    gaps: FloatArray | None = None,
) -> World:
    """Give the world whose bar t opens `gaps[t]` away and walks `steps[t]` (n, 15), times the volatility before it."""
    count = len(vol)
    before = np.concatenate((vol[:1], vol[:-1]))
    path = np.cumsum(before[:, None] * steps, axis=1)
    jump = np.zeros(count) if gaps is None else before * gaps
    path[0], jump[0] = 0.0, 0.0
    close = np.log(100.0) + np.cumsum(jump + path[:, -1])
    opened = np.concatenate(([np.log(100.0)], close[:-1])) + jump
    high = np.maximum(opened + np.maximum(path.max(axis=1), 0.0), close)
    low = np.minimum(opened + np.minimum(path.min(axis=1), 0.0), close)
    state = generator.normal(size=count) if shown is None else shown
    volume = 1e4 * (vol / vol.mean()) ** 0.8 * np.exp(0.5 * state) * generator.lognormal(0.0, 0.2, count)
    return World(_framed(np.exp([opened, high, low, close]), volume), state, vol)


def _steps(generator: np.random.Generator, count: int) -> FloatArray:
    """Give 15 steps a bar whose sum is Student-5 of variance 1: normal, with one chi-square variance for the bar."""
    spread = np.sqrt((TAIL - 2.0) / generator.chisquare(TAIL, count) / PATH_STEPS)
    steps: FloatArray = spread[:, None] * generator.normal(size=(count, PATH_STEPS))
    return steps


def _bars(generator: np.random.Generator, returns: FloatArray, z: FloatArray, vol: FloatArray) -> Bars:
    """Put wicks around the closes: the range is two to several deviations and always holds open and close."""
    count = len(returns)
    close = 100.0 * np.exp(np.cumsum(returns))
    opened = np.concatenate(([100.0], close[:-1]))
    reach = np.concatenate((vol[:1], vol[:-1])) * (2.0 + generator.exponential(1.0, count))
    place = 0.5 * (1.0 + np.tanh(0.8 * z))
    high = np.maximum(close * np.exp((1.0 - place) * reach), np.maximum(opened, close))
    low = np.minimum(close * np.exp(-place * reach), np.minimum(opened, close))
    volume = 1e4 * (vol / vol.mean()) ** 0.8 * generator.lognormal(0.0, 0.5, count)
    return _framed(np.stack([opened, high, low, close]), volume)


def _framed(prices: FloatArray, volume: FloatArray) -> Bars:
    opened, high, low, close = prices
    times = MONDAY_MS + STEP_MS * np.arange(len(volume), dtype=np.int64)
    return Bars(COIN, Timeframe.M15, times, opened, high, low, close, volume, "made", volume * close)


def _student(generator: np.random.Generator, count: int) -> FloatArray:
    shocks: FloatArray = generator.standard_t(TAIL, count) * np.sqrt((TAIL - 2.0) / TAIL)
    return shocks


def _stochastic_volatility(generator: np.random.Generator, count: int) -> FloatArray:
    spread = LOG_VOL_NOISE / np.sqrt(1.0 - LOG_VOL_MEMORY**2)
    path = _autoregression(generator, count, LOG_VOL_MEMORY, LOG_VOL_NOISE, start_deviation=spread)
    volatility: FloatArray = np.exp(LOG_VOL_MEAN + path)
    return volatility


def _autoregression(
    generator: np.random.Generator, count: int, memory: float, noise: float, *, start_deviation: float
) -> FloatArray:
    shocks = generator.normal(0.0, noise, count)
    path = np.empty(count)
    path[0] = generator.normal(0.0, start_deviation)
    for place in range(1, count):
        path[place] = memory * path[place - 1] + shocks[place]
    return path

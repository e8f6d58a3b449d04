"""Made-up markets whose truth is known: planted drifts, martingales with every trap of volatility, mirrored bars.

Every world takes a seed and nothing else decides it. Bars are 15 minutes, open at the close before, and show a latent
state z by where they close between low and high: place = (1 + tanh(0.8 z)) / 2, wherever the range reaches the open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe
from data_manager.bars import Bars, BoolArray, FloatArray

COIN = Symbol("COIN/USDC")
MONDAY_MS = 1_640_995_200_000 + 2 * 86_400_000  # 2022-01-03 00:00 UTC
STEP_MS = Timeframe.M15.ms

LOG_VOL_MEAN = float(np.log(0.0035))
LOG_VOL_MEMORY, LOG_VOL_NOISE = 0.97, 0.12
Z_MEMORY = 0.9
TAIL = 5.0


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
    """Give the planted world without its drift: volatility can be forecast, direction cannot."""
    return planted(seed, r2=0.0, count=count)


def garch(seed: int, *, count: int) -> World:
    """Give a GARCH(1,1) martingale with Student-5 shocks: variance' = 0.04 mean + 0.08 shock^2 + 0.88 variance."""
    generator = np.random.default_rng([seed, 2])
    z = _autoregression(generator, count, Z_MEMORY, np.sqrt(1.0 - Z_MEMORY**2), start_deviation=1.0)
    noise = _student(generator, count)
    mean = np.exp(2.0 * LOG_VOL_MEAN)
    variance, returns = np.full(count, mean), np.zeros(count)
    for place in range(1, count):
        returns[place] = np.sqrt(variance[place - 1]) * noise[place]
        variance[place] = 0.04 * mean + 0.08 * returns[place] ** 2 + 0.88 * variance[place - 1]
    vol = np.sqrt(variance)
    return World(_bars(generator, returns, z, vol), z, vol)


def regimes(seed: int, *, count: int) -> World:
    """Give a martingale that changes between a calm, a usual and a wild volatility, each lasting about two days."""
    generator = np.random.default_rng([seed, 3])
    z = _autoregression(generator, count, Z_MEMORY, np.sqrt(1.0 - Z_MEMORY**2), start_deviation=1.0)
    levels = np.exp(LOG_VOL_MEAN) * np.array([0.5, 1.0, 2.2])
    leaves, choices = generator.random(count) < 1.0 / 192.0, generator.integers(0, 2, count)
    state, states = 1, np.ones(count, dtype=np.int64)
    for place in range(count):
        if leaves[place]:
            state = [other for other in range(3) if other != state][choices[place]]
        states[place] = state
    vol = levels[states]
    returns = np.zeros(count)
    returns[1:] = vol[:-1] * _student(generator, count)[1:]
    return World(_bars(generator, returns, z, vol), z, vol)


def skewed_jumps(seed: int, *, count: int) -> World:
    """Give a martingale with 6 % jumps of 4 sigma whose sign follows z (AR(1) 0.95); the mean is compensated."""
    generator = np.random.default_rng([seed, 4])
    z = _autoregression(generator, count, 0.95, np.sqrt(1.0 - 0.95**2), start_deviation=1.0)
    vol = _stochastic_volatility(generator, count)
    noise, jumps = _student(generator, count), generator.random(count) < 0.06
    up = 1.0 / (1.0 + np.exp(-2.0 * z))
    returns = np.zeros(count)
    sign = np.where(generator.random(count)[1:] < up[:-1], 1.0, -1.0)
    mean = 0.06 * 4.0 * (2.0 * up[:-1] - 1.0)
    returns[1:] = vol[:-1] * (noise[1:] + 4.0 * sign * jumps[1:] - mean)
    return World(_bars(generator, returns, z, vol), z, vol)


NULLS = {"garch": garch, "regimes": regimes, "skew": skewed_jumps, "stochastic": stochastic}


def mirrored(bars: Bars, flips: BoolArray) -> Bars:
    """Give the bars with the moves of the flipped ones turned upside down; ranges, gaps in time and volume stay."""
    logs = np.stack([np.log(part) for part in (bars.open, bars.high, bars.low, bars.close)])
    before = np.concatenate((logs[0, :1], logs[3, :-1]))
    move = logs - before
    turned = np.where(flips, -move[[0, 2, 1, 3]], move)
    level = before[0] + np.concatenate(([0.0], np.cumsum(turned[3])[:-1]))
    opened, high, low, close = np.exp(level + turned)
    return replace(bars, open=opened, high=high, low=low, close=close, source="mirrored")


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
    times = MONDAY_MS + STEP_MS * np.arange(count, dtype=np.int64)
    return Bars(COIN, Timeframe.M15, times, opened, high, low, close, volume, "planted", volume * close)


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

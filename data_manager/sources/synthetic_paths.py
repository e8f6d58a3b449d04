"""One block of a synthetic market's 1-minute path.

A bar's return is drawn first, the minutes inside it are a bridge to its close, so that every longer bar is an exact
aggregate of the minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Timeframe
from data_manager.bars import Bars, FloatArray
from data_manager.sources.synthetic_world import (
    BAR_MINUTES,
    BLOCK_BARS,
    BLOCK_MINUTES,
    BLOCK_MS,
    MINUTE_MS,
    ORIGIN_MS,
    Character,
    Draws,
    Profile,
    autoregress,
    draws,
)

_STATE_PHI = 0.9
_VOLATILITY_PHI = 0.97
_LOG_VOLATILITY_DEVIATION = 0.12 / math.sqrt(1 - _VOLATILITY_PHI**2)
_PLACE_GAIN = 0.8
_RANGE_IN_DEVIATIONS = 2.2
_LARGEST_STEP = 0.25
_FARTHEST = math.log(1000)
_JUMP_CHANCE = 0.002
_JUMP_DEVIATIONS = 5.0
_WEEKLY_DRIFT = 0.04
_MINUTES_A_DAY = 1440
_WICK = 0.6
_TRADE_QUOTE = 250.0


@dataclass(frozen=True, slots=True)
class World:
    """The laws of a synthetic market.

    `deviation` is the typical standard deviation of one 15m return. It is about twice that of large real coins, so that
    moves of 1.5-3.5 % happen within hours. `common_share` is the correlation of any two symbols' shocks. `strength` is
    the share of the next 15m return's variance that the planted state explains. `pull` is the part of the distance to
    the first price that a week takes back, a fraction of a basis point per bar, so that prices stay near their ticks.
    """

    profile: Profile = Profile.PLANTED
    seed: int = 42
    deviation: float = 0.006
    common_share: float = 0.45
    strength: float = 0.03
    pull: float = 0.05

    def __post_init__(self) -> None:
        """Refuse laws no market can have."""
        if not (0 < self.deviation < 0.1 and 0 <= self.common_share < 1 and 0 <= self.strength < 1):
            raise ValueError(f"impossible synthetic market {self}")


@dataclass(frozen=True, slots=True)
class State:
    """What one block hands to the next: log price over the origin's, and the two hidden states."""

    log_price: float = 0.0
    volatility: float = 0.0
    latent: float = 0.0


def block_path(
    world: World, character: Character, block: int, state: State, source: str = "synthetic"
) -> tuple[Bars, State]:
    """Give the 10,080 minutes of a block and the state after it."""
    drawn = draws(
        world.seed,
        character.symbol,
        block,
        common_share=world.common_share,
        heavy=world.profile is not Profile.RANDOM_WALK,
    )
    log_volatility = autoregress(drawn.volatility, state.volatility, _VOLATILITY_PHI)
    latent = autoregress(drawn.state, state.latent, _STATE_PHI)
    before = np.concatenate([[state.volatility], log_volatility[:-1]])
    deviation = _deviation(world, before)
    known = np.concatenate([[state.latent], latent[:-1]])
    returns = np.clip(_returns(world, drawn, deviation, known), -_LARGEST_STEP, _LARGEST_STEP)
    back = world.pull * state.log_price / BLOCK_BARS
    close = np.clip(state.log_price + np.cumsum(returns - back), -_FARTHEST, _FARTHEST)
    opened = np.concatenate([[state.log_price], close[:-1]])
    minutes = _minutes(drawn, opened, close, deviation)
    if world.profile is Profile.PLANTED:
        minutes = _shown(minutes, drawn, deviation, 0.5 * (1 + np.tanh(_PLACE_GAIN * latent)))
    bars = _bars(character, block, minutes, _activity(drawn, returns, deviation), source)
    return bars, State(float(close[-1]), float(log_volatility[-1]), float(latent[-1]))


@dataclass(frozen=True, slots=True)
class _Minutes:
    """Log prices, each of shape (672, 15)."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray


def _deviation(world: World, log_volatility: FloatArray) -> FloatArray:
    if world.profile is Profile.RANDOM_WALK:
        return np.full(BLOCK_BARS, world.deviation)
    deviation: FloatArray = world.deviation * np.exp(_LOG_VOLATILITY_DEVIATION * log_volatility)
    return deviation


def _returns(world: World, drawn: Draws, deviation: FloatArray, known: FloatArray) -> FloatArray:
    if world.profile is Profile.PLANTED:
        explained = math.sqrt(world.strength) * known
        planted: FloatArray = deviation * (math.sqrt(1 - world.strength) * drawn.shock + explained)
        return planted
    returns: FloatArray = deviation * drawn.shock
    if world.profile is Profile.GARCH:
        jumps = np.where(drawn.jump[0] < _JUMP_CHANCE, np.sign(drawn.jump[1] - 0.5) * _JUMP_DEVIATIONS, 0.0)
        drift = _WEEKLY_DRIFT * (2 * drawn.place[0] - 1) / BLOCK_BARS
        returns = returns + deviation * jumps + drift
    return returns


def _minutes(drawn: Draws, opened: FloatArray, close: FloatArray, deviation: FloatArray) -> _Minutes:
    """Bridge each bar's open to its close with steps of the bar's own volatility."""
    share = np.arange(1, BAR_MINUTES + 1) / BAR_MINUTES
    scale = deviation[:, None] / math.sqrt(BAR_MINUTES)
    walk = np.cumsum(drawn.minute_steps, axis=1) * scale
    closes = opened[:, None] + (close - opened)[:, None] * share + walk - walk[:, -1:] * share
    closes[:, -1] = close
    opens = np.concatenate([opened[:, None], closes[:, :-1]], axis=1)
    wicks = -np.log1p(-drawn.minute_wicks) * scale * _WICK
    return _Minutes(opens, np.maximum(opens, closes) + wicks[0], np.minimum(opens, closes) - wicks[1], closes)


def _shown(minutes: _Minutes, drawn: Draws, deviation: FloatArray, place: FloatArray) -> _Minutes:
    """Stretch each bar so that its close lies at `place` of its range, wherever open and close allow it."""
    opened, close = minutes.open[:, 0], minutes.close[:, -1]
    span = _RANGE_IN_DEVIATIONS * deviation * (0.8 + 0.4 * drawn.place)
    low = close - np.maximum(place * span, close - opened)
    high = close + np.maximum((1 - place) * span, opened - close)
    floor, ceiling = low[:, None], high[:, None]
    clipped = [np.clip(column, floor, ceiling) for column in (minutes.open, minutes.high, minutes.low, minutes.close)]
    opens, highs, lows, closes = clipped
    rows = np.arange(BLOCK_BARS)
    lows[rows, np.argmin(lows, axis=1)] = low
    highs[rows, np.argmax(highs, axis=1)] = high
    return _Minutes(opens, highs, lows, closes)


def _activity(drawn: Draws, returns: FloatArray, deviation: FloatArray) -> FloatArray:
    """Share of a usual minute's turnover, shape (672, 15): livelier on large moves and in the afternoon (UTC)."""
    clock = 2 * np.pi * np.arange(BLOCK_BARS) / (_MINUTES_A_DAY / BAR_MINUTES)
    season = 1 - 0.35 * np.cos(clock - 0.4)
    liveliness = 0.45 + 0.7 * np.abs(returns) / deviation
    activity: FloatArray = (season * liveliness)[:, None] * np.exp(0.5 * drawn.minute_volume - 0.125)
    return activity


def _bars(character: Character, block: int, minutes: _Minutes, activity: FloatArray, source: str) -> Bars:
    def price(log_price: FloatArray) -> FloatArray:
        tick = float(character.rules.tick)
        ticks = np.maximum(np.round(character.price * np.exp(log_price.ravel()) / tick), 1.0)
        rounded: FloatArray = np.round(ticks * tick, character.decimals)
        return rounded

    close = price(minutes.close)
    quote = character.turnover / _MINUTES_A_DAY * activity.ravel()
    volume = np.round(quote / close, 5) + 1e-5
    return Bars(
        symbol=character.symbol,
        timeframe=Timeframe.M1,
        open_time=ORIGIN_MS + block * BLOCK_MS + np.arange(BLOCK_MINUTES, dtype=np.int64) * MINUTE_MS,
        open=price(minutes.open),
        high=price(minutes.high),
        low=price(minutes.low),
        close=close,
        volume=volume,
        source=source,
        quote_volume=volume * close,
        trades=(quote / _TRADE_QUOTE).astype(np.int64) + 1,
    )

"""What a synthetic market is made of: the symbols' characters and the random draws of one block.

Everything is a function of (seed, symbol, block): each block has its own counter-based generator, so that any process
draws the same numbers for it, whatever was drawn before.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

import numpy as np
from numpy.random import Generator, Philox, SeedSequence

from bn_ml.domain.market import MarketRules, Symbol, from_ms
from data_manager.bars import FloatArray

ORIGIN_MS = 1_704_067_200_000
MINUTE_MS = 60_000
BAR_MINUTES = 15
BLOCK_BARS = 672
BLOCK_MINUTES = BLOCK_BARS * BAR_MINUTES
BLOCK_MS = BLOCK_MINUTES * MINUTE_MS

_STUDENT_FREEDOM = 5
_FACTOR = "market factor"


class Profile(Enum):
    """Kinds of synthetic market.

    `random_walk`: independent normal steps of constant size; nothing to learn. `garch`: volatility that clusters,
    regimes of drift, jumps and fat tails. `planted`: a hidden state shown by the close's place in its 15m bar carries a
    known share of the next 15m return.
    """

    RANDOM_WALK = "random_walk"
    GARCH = "garch"
    PLANTED = "planted"


@dataclass(frozen=True, slots=True)
class Character:
    """How one symbol looks: price at the origin, quote turnover of a usual day, rules."""

    symbol: Symbol
    price: float
    turnover: float
    rules: MarketRules

    @property
    def decimals(self) -> int:
        """Decimals of a price."""
        exponent = self.rules.tick.as_tuple().exponent
        return -exponent if isinstance(exponent, int) else 0


@dataclass(frozen=True, slots=True)
class Draws:
    """Standard normal or unit-variance draws of one block; `bar_*` has shape (672,), `minute_*` (672, 15)."""

    shock: FloatArray
    volatility: FloatArray
    state: FloatArray
    place: FloatArray
    minute_steps: FloatArray
    minute_wicks: FloatArray
    minute_volume: FloatArray
    jump: FloatArray


_KNOWN = {
    "BTC": (60_000.0, 2.0e9),
    "ETH": (3_000.0, 1.0e9),
    "SOL": (150.0, 4.0e8),
    "XRP": (0.6, 3.0e8),
    "BNB": (500.0, 2.0e8),
    "DOGE": (0.15, 1.5e8),
    "ADA": (0.5, 8.0e7),
    "AVAX": (35.0, 6.0e7),
    "LINK": (15.0, 6.0e7),
    "LTC": (80.0, 5.0e7),
}


def character(symbol: Symbol) -> Character:
    """Give the character of any symbol; unlisted ones get a price and turnover from their name."""
    unit = zlib.crc32(symbol.base.encode()) / 2**32
    price, turnover = _KNOWN.get(symbol.base, (10.0 ** (3 * unit - 1), 10.0 ** (6.5 + 1.5 * unit)))
    magnitude = int(np.floor(np.log10(price)))
    tick = Decimal(1).scaleb(max(-8, magnitude - 6))
    step = Decimal(1).scaleb(-max(0, magnitude + 2))
    rules = MarketRules(
        symbol=symbol,
        tick=tick,
        step=step,
        min_notional=Decimal(5),
        min_price=tick,
        max_price=Decimal(10) ** (magnitude + 4),
        min_quantity=step,
        max_quantity=Decimal(10) ** max(2, 7 - magnitude),
        listed_at=from_ms(ORIGIN_MS),
    )
    return Character(symbol, price, turnover, rules)


def draws(seed: int, symbol: Symbol, block: int, *, common_share: float, heavy: bool) -> Draws:
    """Draw one block of a symbol.

    `common_share` of the variance of its shocks is shared by all symbols; `heavy` shocks are Student-5, others normal.
    """
    own = _generator(seed, symbol, block)
    shared = np.sqrt(common_share) * _shock(_generator(seed, _FACTOR, block), heavy)
    shape = (BLOCK_BARS, BAR_MINUTES)
    return Draws(
        shock=shared + np.sqrt(1 - common_share) * _shock(own, heavy),
        volatility=own.standard_normal(BLOCK_BARS),
        state=own.standard_normal(BLOCK_BARS),
        place=own.random(BLOCK_BARS),
        minute_steps=own.standard_normal(shape),
        minute_wicks=own.random((2, *shape)),
        minute_volume=own.standard_normal(shape),
        jump=own.random((2, BLOCK_BARS)),
    )


def autoregress(innovations: FloatArray, start: float, phi: float) -> FloatArray:
    """Give x[t] = phi * x[t-1] + sqrt(1 - phi^2) * innovations[t], x[-1] = start: unit variance when stationary.

    A doubling scan, the same operations whatever the process, thread count or library.
    """
    values: FloatArray = innovations * math.sqrt(1 - phi * phi)
    values[0] += phi * start
    reach, weight = 1, phi
    while reach < len(values):
        shifted = values.copy()
        shifted[reach:] += weight * values[:-reach]
        values, reach, weight = shifted, reach * 2, weight * weight
    return values


def _shock(generator: Generator, heavy: bool) -> FloatArray:
    if not heavy:
        return generator.standard_normal(BLOCK_BARS)
    unit = math.sqrt((_STUDENT_FREEDOM - 2) / _STUDENT_FREEDOM)
    heavy_tailed: FloatArray = generator.standard_t(_STUDENT_FREEDOM, BLOCK_BARS) * unit
    return heavy_tailed


def _generator(seed: int, name: str, block: int) -> Generator:
    entropy = (seed % 2**64, zlib.crc32(name.encode()), block)
    return Generator(Philox(SeedSequence(entropy)))

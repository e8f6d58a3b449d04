"""An endless market from a seed: the same seed gives the same world in every process, at every instant."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import numpy as np

from bn_ml.domain.market import MarketRules, Quote, Symbol, Timeframe, to_ms
from bn_ml.errors import MarketDataError
from bn_ml.ports import Clock
from data_manager.bars import Bars, concat, empty_bars
from data_manager.modelled_quotes import Turnover, modelled_quote
from data_manager.resampling import resample
from data_manager.sources.synthetic_paths import State, World, block_path
from data_manager.sources.synthetic_world import BLOCK_MS, MINUTE_MS, ORIGIN_MS, Character, character

_MINUTE_BLOCKS_KEPT = 3
_BARS_A_DAY = Timeframe.D1.ms // Timeframe.M15.ms


@dataclass(slots=True)
class _Market:
    """One symbol so far: the state before each block, 15m bars of all blocks, minutes of the newest used ones."""

    character: Character
    states: list[State] = field(default_factory=lambda: [State()])
    quarters: list[Bars] = field(default_factory=list)
    minutes: OrderedDict[int, Bars] = field(default_factory=OrderedDict)
    joined: dict[Timeframe, Bars] = field(default_factory=dict)


class SyntheticSource:
    """A generated market behind a clock.

    Blocks of one week follow from the state after the block before, from 2024-01-01 on; a block is generated whole, so
    nothing changes when later ones are added. Quotes, depth and all timeframes derive from the one minute path.
    """

    concurrency = 1

    def __init__(
        self, clock: Clock, symbols: Sequence[Symbol], world: World | None = None, *, name: str = "synthetic"
    ) -> None:
        """Name the symbols that exist; nothing is generated yet."""
        self.name = name
        self.notice = "SYNTHETIC MARKET DATA: generated prices, no real market; results say nothing about trading."
        self._clock = clock
        self._world = world or World()
        self._markets = {symbol: _Market(character(symbol)) for symbol in symbols}
        self._lock = threading.RLock()

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`; there are none before 2024-01-01."""
        now_ms = to_ms(self._clock.now())
        stop_ms = min(end_ms, now_ms)
        with self._lock:
            market = self._market(symbol)
            if timeframe.ms < Timeframe.M15.ms:
                found = self._minute_span(market, timeframe, start_ms, stop_ms)
            else:
                self._extend(market, _block(stop_ms))
                found = self._joined(market, timeframe)
        return found.between(start_ms, stop_ms).closed_by(now_ms)

    def quote(self, symbol: Symbol) -> Quote:
        """Give the market at the clock's very instant, between the open and close of the running minute."""
        now = self._clock.now()
        now_ms = to_ms(now)
        if now_ms < ORIGIN_MS:
            raise MarketDataError(f"{symbol}: the synthetic market begins 2024-01-01")
        with self._lock:
            market = self._market(symbol)
            minutes = self._minutes(market, _block(now_ms))
            quarters = self._joined(market, Timeframe.M15).closed_by(now_ms).tail(_BARS_A_DAY)
        row = (now_ms - ORIGIN_MS) % BLOCK_MS // MINUTE_MS
        share = now_ms % MINUTE_MS / MINUTE_MS
        between = float(minutes.open[row] + share * (minutes.close[row] - minutes.open[row]))
        last = round(between, market.character.decimals)
        turnover = Turnover(float(np.sum(quarters.quote_volume)) or market.character.turnover)
        return modelled_quote(market.character.rules, last, now, self.name, turnover)

    def markets(self) -> Mapping[Symbol, MarketRules]:
        """Give plausible rules per symbol: tick by price magnitude, a step of about a unit's worth, minimum 5."""
        return {symbol: market.character.rules for symbol, market in self._markets.items()}

    def turnovers(self) -> Mapping[Symbol, Decimal]:
        """Give the turnover of the last 24 h of every symbol."""
        return {symbol: self.quote(symbol).volume_24h_quote for symbol in self._markets}

    def listed_at(self, symbol: Symbol) -> datetime | None:
        """Give the beginning of the generated market."""
        return self._market(symbol).character.rules.listed_at

    def path(self, symbol: Symbol, since_ms: int, until_ms: int) -> Bars:
        """Give the closed minutes inside a span."""
        return self.bars(symbol, Timeframe.M1, since_ms, until_ms - MINUTE_MS + 1)

    def _market(self, symbol: Symbol) -> _Market:
        market = self._markets.get(symbol)
        if market is None:
            raise MarketDataError(f"{symbol}: not in the synthetic market")
        return market

    def _minute_span(self, market: _Market, timeframe: Timeframe, start_ms: int, stop_ms: int) -> Bars:
        if stop_ms <= max(start_ms, ORIGIN_MS):
            return empty_bars(market.character.symbol, timeframe, self.name)
        blocks = range(_block(max(start_ms, ORIGIN_MS)), _block(stop_ms) + 1)
        return resample(concat([self._minutes(market, block) for block in blocks]), timeframe)

    def _joined(self, market: _Market, timeframe: Timeframe) -> Bars:
        if not market.quarters:
            return empty_bars(market.character.symbol, timeframe, self.name)
        if timeframe not in market.joined:
            if timeframe is Timeframe.M15:
                market.joined[timeframe] = concat(market.quarters)
            else:
                market.joined[timeframe] = resample(self._joined(market, Timeframe.M15), timeframe)
        return market.joined[timeframe]

    def _minutes(self, market: _Market, block: int) -> Bars:
        self._extend(market, block)
        if block not in market.minutes:
            minutes, _ = block_path(self._world, market.character, block, market.states[block], self.name)
            self._keep(market, block, minutes)
        market.minutes.move_to_end(block)
        return market.minutes[block]

    def _extend(self, market: _Market, last_block: int) -> None:
        for block in range(len(market.quarters), last_block + 1):
            minutes, after = block_path(self._world, market.character, block, market.states[block], self.name)
            market.states.append(after)
            market.quarters.append(resample(minutes, Timeframe.M15))
            market.joined.clear()
            self._keep(market, block, minutes)

    @staticmethod
    def _keep(market: _Market, block: int, minutes: Bars) -> None:
        market.minutes[block] = minutes
        while len(market.minutes) > _MINUTE_BLOCKS_KEPT:
            market.minutes.popitem(last=False)


def _block(instant_ms: int) -> int:
    return (instant_ms - ORIGIN_MS) // BLOCK_MS

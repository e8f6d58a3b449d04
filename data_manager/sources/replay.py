"""Stored bars answered as if they were happening: only what had closed at the clock's instant is visible."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np

from bn_ml.domain.market import MarketRules, Quote, Symbol, Timeframe, from_ms, to_ms
from bn_ml.errors import MarketDataError
from bn_ml.ports import Clock
from data_manager.bars import Bars, FloatArray, empty_bars
from data_manager.data_cleaner import clean
from data_manager.history import HistoryStore
from data_manager.modelled_quotes import Turnover, modelled_quote
from data_manager.resampling import resample
from data_manager.stored_rules import stored_rules

_DAY_MS = Timeframe.D1.ms


@dataclass(frozen=True, slots=True)
class _Series:
    bars: Bars
    close_time: np.ndarray[tuple[int], np.dtype[np.int64]]
    turnover: FloatArray

    def visible(self, now_ms: int) -> int:
        """Count the bars closed by an instant."""
        return int(np.searchsorted(self.close_time, now_ms, side="right"))


class ReplaySource:
    """The history store behind a clock.

    A timeframe longer than 15m is always built from 15m bars where those are stored, so that replay, training and the
    synthetic market see the same bars. Files are read on first use and held in memory once.
    """

    concurrency = 1
    notice = ""

    def __init__(self, root: Path | str, clock: Clock, symbols: Sequence[Symbol] = (), *, name: str = "replay") -> None:
        """Open the store at `root`; `symbols` limits what is answered for (default: everything stored)."""
        self.name = name
        self._store = HistoryStore(root)
        self._clock = clock
        self._symbols = tuple(symbols) or self._store.symbols()
        self._series: dict[tuple[Symbol, Timeframe], _Series] = {}
        self._finest: dict[Symbol, tuple[Timeframe, ...]] = {}
        self._rules: Mapping[Symbol, MarketRules] | None = None
        self._lock = threading.RLock()

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`, sharing memory with the store."""
        series = self._load(symbol, timeframe)
        first, last = np.searchsorted(series.bars.open_time, (start_ms, end_ms))
        visible = series.visible(to_ms(self._clock.now()))
        return series.bars.rows(int(first), max(int(first), min(int(last), visible)))

    def quote(self, symbol: Symbol) -> Quote:
        """Give the market at the clock's instant, known only as finely as the record is.

        Where the record has a bar containing the instant, the price is that bar's open and the quote is fresh. Where it
        has none (an outage), it is the last close with the time of that close.
        """
        now = self._clock.now()
        now_ms = to_ms(now)
        series = self._quoted(symbol, now_ms)
        bars, known = series.bars, series.visible(now_ms)
        current = known < len(bars) and bars.open_time[known] <= now_ms
        if not current and not known:
            raise MarketDataError(f"{symbol}: the record starts after {now.isoformat()}")
        last = bars.open[known] if current else bars.close[known - 1]
        at = now if current else from_ms(int(series.close_time[known - 1]))
        turnover = Turnover(self._turnover(series, known, to_ms(at)))
        return modelled_quote(self._rules_of(symbol), float(last), at, self.name, turnover)

    def markets(self) -> Mapping[Symbol, MarketRules]:
        """Give imported venue rules, or rules derived from the bars where none were imported."""
        with self._lock:
            if self._rules is None:
                self._rules = stored_rules(self._store, self._symbols)
            return self._rules

    def turnovers(self) -> Mapping[Symbol, Decimal]:
        """Give the turnover of the bars closed in the last 24 h; a symbol whose record has no such bar is left out."""
        now_ms = to_ms(self._clock.now())
        found: dict[Symbol, Decimal] = {}
        for symbol in self.markets():
            series = self._load(symbol, self._listed_in(symbol))
            turnover = self._turnover(series, series.visible(now_ms), now_ms)
            if turnover > 0:
                found[symbol] = Decimal(round(turnover))
        return found

    def listed_at(self, symbol: Symbol) -> datetime | None:
        """Give the first instant of the symbol's record, None before it."""
        opened = self._load(symbol, self._listed_in(symbol)).bars.open_time
        known = len(opened) > 0 and int(opened[0]) <= to_ms(self._clock.now())
        return from_ms(int(opened[0])) if known else None

    def path(self, symbol: Symbol, since_ms: int, until_ms: int) -> Bars:
        """Give the finest stored closed bars inside a span."""
        for timeframe in self._timeframes(symbol):
            found = self._load(symbol, timeframe).bars
            if len(found) and found.open_time[0] <= since_ms and found.open_time[-1] + timeframe.ms >= until_ms:
                return self.bars(symbol, timeframe, since_ms, until_ms - timeframe.ms + 1)
        finest = self._timeframes(symbol)[-1]
        return self.bars(symbol, finest, since_ms, until_ms - finest.ms + 1)

    def _listed_in(self, symbol: Symbol) -> Timeframe:
        stored = self._timeframes(symbol)
        return Timeframe.M15 if Timeframe.M15 in stored else stored[0]

    def _quoted(self, symbol: Symbol, now_ms: int) -> _Series:
        options = [self._load(symbol, timeframe) for timeframe in self._timeframes(symbol)]
        for series in options:
            times = series.bars.open_time
            if len(times) and times[0] <= now_ms < series.close_time[-1]:
                return series
        return options[-1]

    @staticmethod
    def _turnover(series: _Series, known: int, at_ms: int) -> float:
        day_ago = series.visible(at_ms - _DAY_MS)
        return float(series.turnover[known] - series.turnover[day_ago])

    def _rules_of(self, symbol: Symbol) -> MarketRules:
        rules = self.markets().get(symbol)
        if rules is None:
            raise MarketDataError(f"{symbol}: no rules are known")
        return rules

    def _timeframes(self, symbol: Symbol) -> tuple[Timeframe, ...]:
        with self._lock:
            if symbol not in self._finest:
                stored = self._store.timeframes(symbol) if symbol in self._symbols else ()
                if not stored:
                    raise MarketDataError(f"{symbol}: no bars in the replayed history")
                self._finest[symbol] = stored
            return self._finest[symbol]

    def _load(self, symbol: Symbol, timeframe: Timeframe) -> _Series:
        with self._lock:
            key = (symbol, timeframe)
            if key not in self._series:
                self._series[key] = self._read(symbol, timeframe)
            return self._series[key]

    def _read(self, symbol: Symbol, timeframe: Timeframe) -> _Series:
        stored = self._timeframes(symbol)
        base = Timeframe.M15 if timeframe.ms > Timeframe.M15.ms and Timeframe.M15 in stored else timeframe
        if base not in stored:
            finer = [option for option in stored if option.ms < timeframe.ms]
            if not finer:
                return _series(empty_bars(symbol, timeframe, self.name))
            base = finer[-1]
        if base is timeframe:
            return _series(clean(self._store.read(symbol, timeframe)).bars)
        return _series(resample(self._load(symbol, base).bars, timeframe))


def _series(bars: Bars) -> _Series:
    quoted = np.where(np.isnan(bars.quote_volume), bars.volume * bars.close, bars.quote_volume)
    return _Series(bars, bars.close_time, np.concatenate([np.zeros(1), np.cumsum(quoted)]))

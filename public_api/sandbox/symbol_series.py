"""One symbol's market: its stored bars, the road inside each, and what an operator did to the price."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from bn_ml.domain.market import MarketRules, Symbol, Timeframe, to_ms
from data_manager.bars import Bars, IntArray
from data_manager.source import DataSource
from public_api.sandbox.kline_rows import KlineRows, close_of, join, merge, no_rows, open_of, rows_of
from public_api.sandbox.market_data import INTERVAL_MS, Span
from public_api.sandbox.second_path import SECOND_MS, VOLUME_UNITS, PathBar, SecondPath, joined, second_path

_DAY_MS = Timeframe.D1.ms
_DAYS_KEPT = 4
_PATHS_KEPT = 96
_LONGEST_LOOK_BACK_DAYS = 30
_BUILT_FROM = {
    "1m": Timeframe.M1,
    "3m": Timeframe.M1,
    "5m": Timeframe.M5,
    "15m": Timeframe.M15,
    "30m": Timeframe.M15,
    "1h": Timeframe.H1,
    "2h": Timeframe.H1,
    "4h": Timeframe.H4,
    "6h": Timeframe.H1,
    "8h": Timeframe.H4,
    "12h": Timeframe.H4,
    "1d": Timeframe.D1,
    "3d": Timeframe.D1,
    "1w": Timeframe.D1,
    "1M": Timeframe.D1,
}


@dataclass(frozen=True, slots=True)
class Shift:
    """What holds from an instant on: stored prices times a factor, or one fixed price (and book) instead."""

    since_ms: int
    factor: float = 1.0
    pinned: int | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None


class SymbolSeries:
    """Answers for one symbol at any instant. `listed` is its name here, `stored` its name in the source.

    `begin_ms` is the first instant of the record.
    """

    def __init__(self, source: DataSource, rules: MarketRules, stored: Symbol, seed: int) -> None:
        """Take a source that shows its future; `rules` carry the listed name."""
        self.listed = rules.symbol
        self.rules = rules
        self._source = source
        self._stored = stored
        self._seed = seed
        begun = source.listed_at(stored)
        self.begin_ms = to_ms(begun) if begun else 0
        self._shifts: list[Shift] = []
        self._days: OrderedDict[int, tuple[KlineRows, int]] = OrderedDict()
        self._paths: OrderedDict[int, SecondPath] = OrderedDict()

    def shift(self, shift: Shift) -> None:
        """Let something hold from an instant on; raises `ValueError` for one before the newest shift."""
        if self._shifts and shift.since_ms < self._shifts[-1].since_ms:
            raise ValueError(f"{self.listed}: prices were already set for a later instant")
        self._shifts.append(shift)
        self._paths.clear()

    def shifted(self) -> Shift | None:
        """Give what holds at the newest instant, None while the stored prices do."""
        return self._shifts[-1] if self._shifts else None

    def path_at(self, at_ms: int) -> SecondPath | None:
        """Give the road of the bar that holds an instant; None where the record has no bar."""
        rows, length_ms = self._day(at_ms // _DAY_MS)
        row = int(np.searchsorted(rows.open_ms, at_ms, side="right")) - 1
        if row < 0 or rows.open_ms[row] + length_ms <= at_ms:
            return None
        return self._path(rows, row, length_ms)

    def ticks_at(self, at_ms: int) -> int | None:
        """Give the last price in ticks; in a hole the one before it, None before the record."""
        path = self.path_at(at_ms)
        if path is not None:
            return int(path.last[path.row(at_ms)])
        for day in range(at_ms // _DAY_MS, at_ms // _DAY_MS - _LONGEST_LOOK_BACK_DAYS, -1):
            rows, length_ms = self._day(day)
            row = int(np.searchsorted(rows.open_ms, at_ms, side="right")) - 1
            if row >= 0:
                return int(self._path(rows, row, length_ms).last[-1])
        return None

    def rows(self, interval: str, span: Span, now_ms: int) -> KlineRows:
        """Give the intervals of a span that have begun by now, the running one as far as it has come."""
        first_ms = open_of(now_ms, interval)
        end_ms = first_ms if span.end_ms is None else min(first_ms, span.end_ms)
        if span.start_ms is None:
            start_ms = end_ms - span.limit * INTERVAL_MS[interval]
            closed = self._closed(interval, start_ms, min(end_ms + 1, first_ms))
        else:
            start_ms = max(span.start_ms, self.begin_ms)
            closed = self._closed(interval, start_ms, min(end_ms + 1, first_ms, _enough(start_ms, interval, span)))
        running = self._running(interval, now_ms) if start_ms <= first_ms <= end_ms else no_rows()
        found = join((closed, running))
        return found.take(slice(0, span.limit) if span.start_ms is not None else slice(-span.limit, None))

    def extremes(self, since_ms: int, until_ms: int) -> tuple[int, int] | None:
        """Give the lowest and the highest price in ticks within `since_ms..until_ms` (exclusive), None in a hole."""
        found: list[int] = []
        for path in self._paths_between(since_ms, until_ms):
            cut = path.last[path.row(since_ms) : path.row(until_ms - 1) + 1]
            found.extend((int(cut.min()), int(cut.max())))
        return (min(found), max(found)) if found else None

    def _closed(self, interval: str, start_ms: int, end_ms: int) -> KlineRows:
        """Give finished intervals with `start_ms <= open < end_ms`."""
        if end_ms <= start_ms:
            return no_rows()
        plain_until = self._shifts[0].since_ms if self._shifts else end_ms
        plain_end = min(end_ms, open_of(plain_until, interval))
        parts = [self._plain(interval, start_ms, plain_end)] if plain_end > start_ms else []
        rest = max(start_ms, plain_end)
        if rest < end_ms:
            parts.append(self._drawn(interval, rest, end_ms))
        return join(parts)

    def _plain(self, interval: str, start_ms: int, end_ms: int) -> KlineRows:
        base = _BUILT_FROM.get(interval)
        if base is None:
            return self._drawn(interval, start_ms, end_ms)
        begin = start_ms if open_of(start_ms, interval) == start_ms else close_of(open_of(start_ms, interval), interval)
        until = close_of(open_of(end_ms - 1, interval), interval)
        bars = self._source.bars(self._stored, base, begin, until)
        if not len(bars):
            return self._drawn(interval, start_ms, end_ms) if base.ms < Timeframe.D1.ms else no_rows()
        rows = rows_of(bars, self.rules.tick)
        return rows if base.value == interval else merge(rows, interval)

    def _drawn(self, interval: str, start_ms: int, end_ms: int) -> KlineRows:
        """Build intervals from the roads inside the stored bars."""
        first = open_of(start_ms, interval)
        begin = first if first == start_ms else close_of(first, interval)
        until = close_of(open_of(end_ms - 1, interval), interval)
        step = INTERVAL_MS[interval]
        parts = [_pieces(path, min(step, path.bar.length_ms), self.rules) for path in self._paths_between(begin, until)]
        return merge(_within(join(parts), begin, until), interval)

    def _running(self, interval: str, now_ms: int) -> KlineRows:
        opened = open_of(now_ms, interval)
        parts = [self._done(opened, now_ms)]
        path = self.path_at(now_ms)
        if path is not None:
            parts.append(_so_far(path, opened, now_ms, self.rules))
        return merge(join(parts), interval)

    def _done(self, start_ms: int, now_ms: int) -> KlineRows:
        """Give the whole stored bars inside a running interval."""
        if self._shifts:
            paths = [path for path in self._paths_between(start_ms, now_ms) if path.bar.close_ms <= now_ms]
            return join([_pieces(path, path.bar.length_ms, self.rules) for path in paths])
        parts = []
        for day in range(start_ms // _DAY_MS, now_ms // _DAY_MS + 1):
            rows, length_ms = self._day(day)
            parts.append(rows.take((rows.open_ms >= start_ms) & (rows.open_ms + length_ms <= now_ms)))
        return join(parts)

    def _paths_between(self, start_ms: int, end_ms: int) -> Iterator[SecondPath]:
        for day in range(start_ms // _DAY_MS, (end_ms - 1) // _DAY_MS + 1):
            rows, length_ms = self._day(day)
            first = int(np.searchsorted(rows.open_ms, start_ms - length_ms, side="right"))
            last = int(np.searchsorted(rows.open_ms, end_ms, side="left"))
            for row in range(first, last):
                yield self._path(rows, row, length_ms)

    def _path(self, rows: KlineRows, row: int, length_ms: int) -> SecondPath:
        open_ms = int(rows.open_ms[row])
        path = self._paths.get(open_ms)
        if path is None:
            path = self._with_shifts(second_path(_path_bar(rows, row, length_ms), self.listed, self._seed))
            self._paths[open_ms] = path
            while len(self._paths) > _PATHS_KEPT:
                self._paths.popitem(last=False)
        return path

    def _with_shifts(self, path: SecondPath) -> SecondPath:
        if not self._shifts or path.bar.close_ms <= self._shifts[0].since_ms:
            return path
        last: IntArray = path.last.copy()
        for shift in self._shifts:
            if shift.since_ms < path.bar.close_ms:
                row = path.row(shift.since_ms) if shift.since_ms >= path.bar.open_ms else 0
                last[row:] = shift.pinned or np.maximum(np.rint(path.last[row:] * shift.factor), 1)
        return joined(path.bar, last)

    def _day(self, day: int) -> tuple[KlineRows, int]:
        found = self._days.get(day)
        if found is None:
            bars = self._finest(day * _DAY_MS)
            found = (rows_of(bars, self.rules.tick), bars.timeframe.ms)
            self._days[day] = found
            while len(self._days) > _DAYS_KEPT:
                self._days.popitem(last=False)
        return found

    def _finest(self, start_ms: int) -> Bars:
        bars = self._source.path(self._stored, start_ms, start_ms + _DAY_MS)
        if len(bars) and bars.timeframe.ms <= Timeframe.M15.ms:
            return bars
        for timeframe in (Timeframe.M15, Timeframe.H1):
            coarser = self._source.bars(self._stored, timeframe, start_ms, start_ms + _DAY_MS)
            if len(coarser):
                return coarser
        return bars


def _enough(start_ms: int, interval: str, span: Span) -> int:
    """Give an end far enough for `limit` intervals, holes of a quarter of them included."""
    return start_ms + (span.limit + span.limit // 4 + 10) * INTERVAL_MS[interval]


def _path_bar(rows: KlineRows, row: int, length_ms: int) -> PathBar:
    return PathBar(
        open_ms=int(rows.open_ms[row]),
        length_ms=length_ms,
        open=int(rows.open[row]),
        high=int(rows.high[row]),
        low=int(rows.low[row]),
        close=int(rows.close[row]),
        volume=round(float(rows.volume[row]) * VOLUME_UNITS),
        trades=int(rows.trades[row]),
    )


def _so_far(path: SecondPath, since_ms: int, now_ms: int, rules: MarketRules) -> KlineRows:
    """Give the part of a bar's road from an instant (or the bar's open) to the second of now."""
    first, last = path.row(max(since_ms, path.bar.open_ms)), path.row(now_ms)
    return _piece(path, [first], [last + 1], rules)


def _pieces(path: SecondPath, step_ms: int, rules: MarketRules) -> KlineRows:
    """Cut a bar's road into intervals of `step_ms`."""
    step = step_ms // SECOND_MS
    first = list(range(0, path.bar.seconds, step))
    return _piece(path, first, [*first[1:], path.bar.seconds], rules)


def _piece(path: SecondPath, first: list[int], stop: list[int], rules: MarketRules) -> KlineRows:
    starts, stops = np.array(first), np.array(stop)
    cut = path.last[starts[0] : stops[-1]]
    at = starts - starts[0]
    seconds = path.bar.seconds
    share = (stops - starts) / seconds
    volume = path.bar.volume / VOLUME_UNITS * share
    close = path.last[stops - 1]
    return KlineRows(
        open_ms=path.bar.open_ms + starts * SECOND_MS,
        open=path.last[starts],
        high=np.maximum.reduceat(cut, at),
        low=np.minimum.reduceat(cut, at),
        close=close,
        volume=volume,
        quote_volume=volume * close * float(rules.tick),
        trades=path.bar.trades * stops // seconds - path.bar.trades * starts // seconds,
    )


def _within(rows: KlineRows, start_ms: int, end_ms: int) -> KlineRows:
    return rows.take((rows.open_ms >= start_ms) & (rows.open_ms < end_ms))

"""Whether the features of a row know anything they may not: later bars, the window's start, units, names, dates.

The whole feature matrix of the user's own bars is compared, column by column, not only the rows on which trades fired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe
from data_manager.bars import Bars, BoolArray, FloatArray
from data_manager.feature_audit import same_bits
from data_manager.feature_columns import BASE_TIMEFRAME, ColumnSpec
from data_manager.feature_engineer import FeatureEngineer, FeatureFrame, base_columns, usable_bars, window_start
from data_manager.indicators import INDICATORS
from data_manager.market_context import MarketContext
from ml_engine.audit_findings import Check, Notes

STEP_MS = BASE_TIMEFRAME.ms
YEAR_MS = 52 * 7 * 86_400_000
# The turnover of a month, and the days it begins and ends in.
MONTH_MS = 33 * 86_400_000
POISON = 1000.0
_SAME_SCALE = 1e-9
_SAME_WINDOW = 1e-6
_SMALLEST = 1e-3

Market = Mapping[Symbol, Bars]


class FeatureRoad:
    """The road under audit: from the bars of all symbols to the feature rows of one."""

    def __init__(self, engineer: FeatureEngineer, basket: Sequence[Symbol], benchmark: Symbol) -> None:
        """Take the engineer and the symbols of the market columns."""
        self.engineer = engineer
        self.basket = tuple(basket)
        self.benchmark = benchmark

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return self.engineer.columns

    def rows(self, market: Market, symbol: Symbol, since_ms: int) -> FeatureFrame:
        """Give the rows of `symbol` whose bars open at or after `since_ms`, from nothing but `market`."""
        context = None
        if self.benchmark in market and self.benchmark in self.basket:
            inside = {name: bars for name, bars in market.items() if name in self.basket}
            context = MarketContext.of(inside, self.benchmark, self.basket)
        return self.engineer.build({BASE_TIMEFRAME: market[symbol]}, context, since_ms=since_ms)

    def renamed(self, old: Symbol, new: Symbol) -> FeatureRoad:
        """Give the same road through a market where one symbol has another name."""
        other = copy(self)
        other.basket = tuple(new if name == old else name for name in self.basket)
        other.benchmark = new if self.benchmark == old else self.benchmark
        return other


@dataclass(frozen=True)
class FeatureAudit:
    """One symbol's features under audit; `first_ms` is the first row (open time) that training would use."""

    road: FeatureRoad
    market: Market
    symbol: Symbol
    first_ms: int
    rows: int
    seed: int

    def checks(self) -> Iterator[Check]:
        """Run every check of the features, one after the other."""
        yield self.cut()
        yield self.window_start()
        yield self.units()
        yield self.identity()
        yield self.poison()
        yield self.warm_up()

    @cached_property
    def base(self) -> Bars:
        """The usable bars of the symbol."""
        return usable_bars(self.market[self.symbol])

    @cached_property
    def full(self) -> FeatureFrame:
        """The rows built from all bars."""
        return self.road.rows(self.market, self.symbol, self.first_ms)

    @cached_property
    def places(self) -> list[int]:
        """Positions among the base bars to test: random ones, those at borders of longer bars, those around gaps."""
        first = int(np.searchsorted(self.base.open_time, self.first_ms))
        last = len(self.base) - 2
        if last <= first:
            return []
        dice = np.random.default_rng(self.seed)
        count = min(self.rows, last - first)
        chosen = dice.choice(np.arange(first, last), size=count, replace=False).tolist()
        for length in (Timeframe.H1.ms, Timeframe.H4.ms, Timeframe.D1.ms):
            middle = int(self.base.open_time[(first + last) // 2]) // length * length
            at = int(np.searchsorted(self.base.open_time, middle))
            chosen += [at - 2, at - 1, at, at + 1]
        holes = np.flatnonzero(np.diff(self.base.open_time) > STEP_MS)
        for hole in holes[(holes >= first) & (holes < last)][:8].tolist():
            chosen += [hole - 1, hole, hole + 1]
        return sorted({place for place in chosen if first <= place <= last})

    def cut(self) -> Check:
        """Compare the last row known at each place with the same row built from all bars, bit for bit.

        The cut market is handed over with its symbols in the opposite order.
        """
        notes = Notes("truncated future")
        for place in self.places:
            close_ms = int(self.base.close_time[place])
            known = {name: bars.closed_by(close_ms) for name, bars in reversed(list(self.market.items()))}
            present = {name: bars for name, bars in known.items() if len(bars)}
            alone = self.road.rows(present, self.symbol, int(self.base.open_time[place])).values[-1]
            self._compare(notes, alone, self._row_of(place), place, "changes when later bars are taken away")
        return notes.close(len(self.places), self.rows)

    def poison(self) -> Check:
        """Multiply everything after an instant by 1000: no row up to it may change a bit."""
        notes = Notes("poisoned future")
        chosen = self.places[:: max(1, len(self.places) // 3)][:3]
        for place in chosen:
            sick = {name: _after(bars, int(self.base.open_time[place])) for name, bars in self.market.items()}
            since = max(self.first_ms, int(self.base.open_time[max(place - 300, 0)]))
            hurt = self.road.rows(sick, self.symbol, since)
            count = int(np.searchsorted(hurt.close_time, int(self.base.close_time[place]), side="right"))
            start = int(np.searchsorted(self.full.close_time, int(hurt.close_time[0])))
            clean = self.full.values[start : start + count]
            self._compare_block(notes, clean, hurt.values[:count], start, "changes when later bars are poisoned")
        return notes.close(len(chosen), min(3, self.rows))

    def window_start(self) -> Check:
        """Compare rows built from the declared window with rows built from all history."""
        notes = Notes("window start")
        window = self.road.engineer.options.window
        chosen, tested = self.places[:: max(1, len(self.places) // 6)][:6], 0
        for place in chosen:
            open_ms = int(self.base.open_time[place])
            longest = max((step.ms for step in self.road.engineer.options.timeframes), default=STEP_MS)
            longer_ms = open_ms - (window.bars + window.absent_bars + 2) * longest
            start_ms = min(window_start(open_ms), longer_ms, open_ms - MONTH_MS)
            if start_ms <= int(self.base.open_time[0]) + STEP_MS:
                continue
            tested += 1
            known = {name: bars.between(start_ms, open_ms + STEP_MS) for name, bars in self.market.items()}
            present = {name: bars for name, bars in known.items() if len(bars)}
            alone, full = self.road.rows(present, self.symbol, open_ms).values[-1], self._row_of(place)
            for column in np.flatnonzero(_apart(alone, full, _SAME_WINDOW)):
                text = f"{alone[column]:.6g} from the declared window, {full[column]:.6g} from more history"
                notes.add(text, column=self.road.columns[column], row_ms=int(self.base.close_time[place]))
        note = "" if tested else "history is no longer than the declared window"
        return notes.close(tested, 1, note)

    def warm_up(self) -> Check:
        """Compare each base column on its declared warm-up with twice as many bars; the note names the worst."""
        notes = Notes("warm-up")
        worst, tested = (0.0, ""), 0
        specs = [spec for spec in self.road.engineer.specs if _is_base(spec)]
        for spec in specs:
            for end in self._ends(2 * spec.warmup_bars):
                tested += 1
                gap = self._warm_up_gap(spec, end)
                worst = max(worst, (gap, spec.name))
                if gap > _SAME_WINDOW:
                    message = f"differs by {gap:.3g} (relative) between {spec.warmup_bars} bars and twice as many"
                    notes.add(message, column=spec.name, row_ms=int(self.base.close_time[end - 1]))
        return notes.close(tested, len(specs), f"largest difference {worst[0]:.2g} in {worst[1]}" if tested else "")

    def units(self) -> Check:
        """Multiply prices by 100 and volumes by 10,000: no column may notice."""
        notes = Notes("units")
        other = {name: _scaled(bars, 100.0, 10_000.0) for name, bars in self.market.items()}
        rows = self.road.rows(other, self.symbol, int(self._sampled.close_time[0]) - STEP_MS)
        self._judge_all(notes, rows.values, "notices the unit of prices or volumes")
        return notes.close(len(self._sampled), 1)

    def identity(self) -> Check:
        """Rename the symbol and move everything by 52 weeks: no column may know who it is or which year it is."""
        notes = Notes("identity")
        alias = Symbol(f"QQQQ/{self.symbol.quote}")
        moved = {
            alias if name == self.symbol else name: replace(
                bars, symbol=alias if name == self.symbol else name, open_time=bars.open_time + YEAR_MS
            )
            for name, bars in self.market.items()
        }
        road = self.road.renamed(self.symbol, alias)
        other = road.rows(moved, alias, int(self._sampled.close_time[0]) - STEP_MS + YEAR_MS)
        self._judge_all(notes, other.values, "knows the symbol or the date")
        return notes.close(len(self._sampled), 1)

    @cached_property
    def _sampled(self) -> FeatureFrame:
        """The rows of the last fortnight."""
        since = max(self.first_ms, int(self.base.open_time[-1]) - 14 * 86_400_000)
        return self.road.rows(self.market, self.symbol, since)

    def _judge_all(self, notes: Notes, other: FloatArray, message: str) -> None:
        for row, column in np.argwhere(_apart(other, self._sampled.values, _SAME_SCALE, least=1.0)):
            notes.add(message, column=self.road.columns[column], row_ms=int(self._sampled.close_time[row]))

    def _ends(self, needed: int) -> list[int]:
        """Give up to three places where so many bars without a gap end."""
        return [end for end in (len(self.base), len(self.base) - 137, len(self.base) - 1511) if end >= needed]

    def _warm_up_gap(self, spec: ColumnSpec, end: int) -> float:
        need = spec.warmup_bars
        once = base_columns(self.base.rows(end - need, end), [spec], need - 1)[-1, 0]
        twice = base_columns(self.base.rows(end - 2 * need, end), [spec], 2 * need - 1)[-1, 0]
        if np.isnan(once) or np.isnan(twice):
            # A hole inside the stretch leaves fewer bars than the column needs.
            return 0.0
        return float(abs(once - twice) / max(abs(twice), _SMALLEST))

    def _row_of(self, place: int) -> FloatArray:
        at = int(np.searchsorted(self.full.close_time, int(self.base.close_time[place])))
        row: FloatArray = self.full.values[at]
        return row

    def _compare(self, notes: Notes, known: FloatArray, full: FloatArray, place: int, message: str) -> None:
        for column in np.flatnonzero(~same_bits(known, full)):
            text = f"{message} ({full[column]:.6g} with them, {known[column]:.6g} without)"
            notes.add(text, column=self.road.columns[column], row_ms=int(self.base.close_time[place]))

    def _compare_block(self, notes: Notes, clean: FloatArray, hurt: FloatArray, start: int, message: str) -> None:
        for row, column in np.argwhere(~same_bits(clean, hurt)):
            at = int(self.full.close_time[start + row])
            notes.add(message, column=self.road.columns[column], row_ms=at)


def _apart(one: FloatArray, other: FloatArray, tolerance: float, *, least: float = _SMALLEST) -> BoolArray:
    """Mask values that differ by more than a relative tolerance, or that only one side knows."""
    unknown = np.isnan(one) != np.isnan(other)
    with np.errstate(invalid="ignore"):
        far = np.abs(one - other) > tolerance * np.maximum(np.abs(other), least)
    apart: BoolArray = far | unknown
    return apart


def _after(bars: Bars, open_ms: int) -> Bars:
    return _scaled(bars, POISON, POISON, since_ms=open_ms + 1)


def _scaled(bars: Bars, price: float, volume: float, *, since_ms: int | None = None) -> Bars:
    chosen = np.ones(len(bars), dtype=np.bool_) if since_ms is None else bars.open_time >= since_ms
    by_price, by_volume = np.where(chosen, price, 1.0), np.where(chosen, volume, 1.0)
    return replace(
        bars,
        open=bars.open * by_price,
        high=bars.high * by_price,
        low=bars.low * by_price,
        close=bars.close * by_price,
        volume=bars.volume * by_volume,
        quote_volume=bars.quote_volume * by_price * by_volume,
    )


def _is_base(spec: ColumnSpec) -> bool:
    return spec.timeframe == BASE_TIMEFRAME.value and spec.function in INDICATORS

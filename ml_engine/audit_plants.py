"""Every forbidden thing, planted one at a time into an honest pipeline: an audit that misses one is not an audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe
from data_manager.bars import Bars, FloatArray, IntArray, concat
from data_manager.feature_engineer import FeatureFrame, usable_bars
from data_manager.resampling import resample
from ml_engine.audit_features import FeatureRoad, Market
from ml_engine.fitting import Grown, Vote
from ml_engine.labeling import ABSENT, HOLD, Labels
from ml_engine.trainer import EnsembleTrainer
from ml_engine.training_data import Sample
from ml_engine.tuning_records import Tuned
from ml_engine.validation import Blocks, Purge, block_of

# From the market and the symbol to one value per usable base bar of the symbol.
Column = Callable[[Market, Symbol], FloatArray]


class PlantedRoad(FeatureRoad):
    """The honest road with one forbidden column at its end."""

    def __init__(self, honest: FeatureRoad, name: str, column: Column) -> None:
        """Add `column` under `name`."""
        super().__init__(honest.engineer, honest.basket, honest.benchmark)
        self._name = name
        self._column = column

    @property
    def columns(self) -> tuple[str, ...]:
        """The honest columns and the planted one."""
        return (*super().columns, self._name)

    def rows(self, market: Market, symbol: Symbol, since_ms: int) -> FeatureFrame:
        """Give the honest rows with the planted column."""
        frame = super().rows(market, symbol, since_ms)
        base = usable_bars(market[symbol])
        places = np.searchsorted(base.close_time, frame.close_time)
        planted = self._column(market, symbol)[places]
        values = np.concatenate([frame.values, planted[:, None]], axis=1)
        return FeatureFrame(frame.symbol, frame.close_time, values, self.columns)


def next_return(market: Market, symbol: Symbol) -> FloatArray:
    """The return of the next bar: a shift by -1."""
    returns = _returns(market, symbol)
    return np.append(returns[1:], np.nan)


def centred_mean(market: Market, symbol: Symbol) -> FloatArray:
    """The mean return of two bars before and two after."""
    padded = np.pad(_returns(market, symbol), 2, constant_values=0.0)
    means: FloatArray = np.convolve(padded, np.full(5, 0.2), mode="valid")
    return means


def whole_column_score(market: Market, symbol: Symbol) -> FloatArray:
    """The return in deviations of the whole column."""
    returns = _returns(market, symbol)
    scores: FloatArray = (returns - returns.mean()) / returns.std()
    return scores


def running_obv(market: Market, symbol: Symbol) -> FloatArray:
    """Signed volume since the first bar, as a share of all volume since then."""
    base = _base(market, symbol)
    return _share(np.sign(_returns(market, symbol)) * base.volume, base.volume)


def running_ad(market: Market, symbol: Symbol) -> FloatArray:
    """Accumulation and distribution since the first bar, as a share of volume."""
    base = _base(market, symbol)
    spread = np.maximum(base.high - base.low, 1e-12)
    return _share((2.0 * base.close - base.high - base.low) / spread * base.volume, base.volume)


def running_pvt(market: Market, symbol: Symbol) -> FloatArray:
    """Price-volume trend since the first bar, as a share of volume."""
    base = _base(market, symbol)
    return _share(_returns(market, symbol) * base.volume, base.volume)


def running_vwap(market: Market, symbol: Symbol) -> FloatArray:
    """Distance to the volume-weighted price since the first bar."""
    base = _base(market, symbol)
    distance: FloatArray = base.close / _share(base.close * base.volume, base.volume) - 1.0
    return distance


def running_sum(market: Market, symbol: Symbol) -> FloatArray:
    """The sum of returns since the first bar."""
    total: FloatArray = np.cumsum(_returns(market, symbol))
    return total


def price_level(market: Market, symbol: Symbol) -> FloatArray:
    """The close itself."""
    return _base(market, symbol).close


def filled_backwards(market: Market, symbol: Symbol) -> FloatArray:
    """Returns of every fourth bar, the rest filled from the one that follows."""
    returns = _returns(market, symbol)
    opens = _base(market, symbol).open_time
    known = np.flatnonzero(opens // 900_000 % 4 == 0)
    place = np.searchsorted(known, np.arange(len(returns)))
    inside = place < len(known)
    filled = np.full(len(returns), np.nan)
    filled[inside] = returns[known[place[inside]]]
    return filled


def forming_bar(market: Market, symbol: Symbol) -> FloatArray:
    """The range of the hour a bar lies in, taken before that hour is over."""
    hours, place = _hours(market, symbol)
    return _known(hours.high / hours.low - 1.0, place)


def hour_by_open_time(market: Market, symbol: Symbol) -> FloatArray:
    """The return of the hourly bar that has opened, joined on its open time."""
    hours, place = _hours(market, symbol)
    return _known(hours.close / hours.open - 1.0, place)


def other_symbols_future(market: Market, symbol: Symbol) -> FloatArray:
    """The next bar's return of another symbol."""
    other = next(name for name in sorted(market) if name != symbol or len(market) == 1)
    return _laid(market, symbol, other, next_return(market, other))


def symbol_identity(market: Market, symbol: Symbol) -> FloatArray:
    """A number made of the symbol's name."""
    return np.full(len(_base(market, symbol)), float(sum(map(ord, symbol))))


def calendar_identity(market: Market, symbol: Symbol) -> FloatArray:
    """Days since 1970."""
    days: FloatArray = _base(market, symbol).open_time / 86_400_000.0
    return days


FEATURE_PLANTS: Mapping[str, Column] = {
    "shift(-k)": next_return,
    "centred window": centred_mean,
    "statistics of the whole column": whole_column_score,
    "running OBV": running_obv,
    "running A/D": running_ad,
    "running PVT": running_pvt,
    "running VWAP": running_vwap,
    "running CUMSUM": running_sum,
    "price level": price_level,
    "filled backwards": filled_backwards,
    "forming bar": forming_bar,
    "longer bar by open time": hour_by_open_time,
    "other symbols' later bars": other_symbols_future,
    "symbol identity": symbol_identity,
    "calendar identity": calendar_identity,
}


def incomplete_as_hold(label: Callable[[Bars], Labels]) -> Callable[[Bars], Labels]:
    """Give a labeler that calls rows without a whole window HOLD."""

    def labels(bars: Bars) -> Labels:
        honest = label(bars)
        known = (honest.label == ABSENT) & np.isfinite(honest.width)
        return replace(honest, label=np.where(known, HOLD, honest.label))

    return labels


class NoPurge(EnsembleTrainer):
    """Cuts blocks where they touch."""

    @property
    def purge(self) -> Purge:
        """No distance at all."""
        return Purge(0, 0)


class _Remembering(EnsembleTrainer):
    """Keeps its blocks where a planted step can misuse them."""

    blocks: Blocks

    def _split(self, found: Sample) -> Blocks:
        self.blocks = super()._split(found)
        return self.blocks


class FitsOnValidation(_Remembering):
    """Fits its members on the calibrate block too."""

    def _grow(self, found: Sample, rows: IntArray, columns: tuple[int, ...], tuned: Tuned | None) -> Grown:
        return super()._grow(found, np.concatenate([rows, self.blocks.calibrate.rows]), columns, tuned)


class ScalesOverEverything(_Remembering):
    """Centres the columns on the mean of all rows before fitting."""

    def _grow(self, found: Sample, rows: IntArray, columns: tuple[int, ...], tuned: Tuned | None) -> Grown:
        centre = np.nan_to_num(np.nanmean(found.data.values, axis=0))
        data = replace(found.data, values=found.data.values[np.arange(len(found.data))] - centre)
        return super()._grow(replace(found, data=data), rows, columns, tuned)


class CalibratesOnFitted(EnsembleTrainer):
    """Calibrates and weights on rows the members were fitted on."""

    def _settle(self, found: Sample, blocks: Blocks, twin: Grown) -> Vote:
        return super()._settle(found, replace(blocks, calibrate=blocks.train), twin)


class SelectsOnReport(EnsembleTrainer):
    """Admits members by the report block."""

    def _settle(self, found: Sample, blocks: Blocks, twin: Grown) -> Vote:
        return super()._settle(found, replace(blocks, select=blocks.report), twin)


class SplitsAtRandom(EnsembleTrainer):
    """Deals rows to blocks by chance."""

    def _split(self, found: Sample) -> Blocks:
        honest = super()._split(found)
        t0, t1 = found.data.t0, found.data.t1
        order = np.random.default_rng(0).permutation(np.concatenate([block.rows for block in honest]))
        cuts = np.cumsum([len(block) for block in honest])[:-1]
        parts = [np.sort(part) for part in np.split(order, cuts)]
        made = [block_of(block.name, part, t0, t1) for block, part in zip(honest, parts, strict=True)]
        return Blocks(*made)


TRAINER_PLANTS: Mapping[str, type[EnsembleTrainer]] = {
    "purge 0": NoPurge,
    "validation rows in the fit": FitsOnValidation,
    "scaler outside the train block": ScalesOverEverything,
    "calibration on fitted rows": CalibratesOnFitted,
    "report block reused": SelectsOnReport,
    "random split": SplitsAtRandom,
}


def _base(market: Market, symbol: Symbol) -> Bars:
    return usable_bars(market[symbol])


def _returns(market: Market, symbol: Symbol) -> FloatArray:
    close = _base(market, symbol).close
    returns: FloatArray = np.diff(np.log(close), prepend=np.log(close[:1]))
    return returns


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    share: FloatArray = np.cumsum(part) / np.maximum(np.cumsum(whole), 1e-12)
    return share


def _hours(market: Market, symbol: Symbol) -> tuple[Bars, IntArray]:
    """Give hourly bars, the unfinished one included, and the place of each base bar's hour among them (-1: none)."""
    base = _base(market, symbol)
    last = base.rows(len(base) - 1, len(base))
    padding = 4
    closing = replace(
        last,
        open_time=last.open_time[-1] + 900_000 * np.arange(1, padding + 1),
        open=np.repeat(last.close, padding),
        high=np.repeat(last.close, padding),
        low=np.repeat(last.close, padding),
        close=np.repeat(last.close, padding),
        volume=np.zeros(padding),
        quote_volume=np.zeros(padding),
        trades=np.zeros(padding, dtype=np.int64),
    )
    hours = resample(concat([base, closing]), Timeframe.H1)
    wanted = base.open_time // Timeframe.H1.ms * Timeframe.H1.ms
    place = np.minimum(np.searchsorted(hours.open_time, wanted), len(hours) - 1)
    return hours, np.where(hours.open_time[place] == wanted, place, -1)


def _known(values: FloatArray, place: IntArray) -> FloatArray:
    return np.where(place >= 0, values[place], np.nan)


def _laid(market: Market, symbol: Symbol, other: Symbol, values: FloatArray) -> FloatArray:
    """Lay another symbol's values on the bars of the symbol by open time, NaN where it has none."""
    mine, theirs = _base(market, symbol).open_time, _base(market, other).open_time
    place = np.minimum(np.searchsorted(theirs, mine), len(theirs) - 1)
    return np.where(theirs[place] == mine, values[place], np.nan)

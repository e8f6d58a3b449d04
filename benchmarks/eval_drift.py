"""How soon the watch on drift notices a flipped signal and how often it is wrong, on worlds with a planted state.

A hidden state z (AR(1) .9) shows in the close's place in its bar and moves the next bar's log return:
`r[t+1] = vol[t] * (sqrt(1 - R2) * e + sqrt(R2) * z[t])`, e Student-5, log volatility AR(1) .97/.12 around 35 bp.
The real trainer learns 20,000 bars of it; 8,000 more follow, quiet, with the sign flipped or with volatility doubled.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.settings import ModelSettings, RiskSettings
from bn_ml.settings_model import DriftSettings
from data_manager.bars import Bars, FloatArray, IntArray
from ml_engine.dataset import Dataset
from ml_engine.drift_reference import Reference, window_moves
from ml_engine.drift_triggers import Ended, Triggers
from ml_engine.trainer import EnsembleTrainer, Trained, train_shares
from ml_engine.training_data import Sample

COIN = Symbol("COIN/USDC")
STEP_MS = Timeframe.M15.ms
START_MS = 1_640_995_200_000
HORIZON = 8
TRAIN_BARS, TEST_BARS, CALM_BARS = 20_000, 8_000, 960
BARS_PER_DAY = 96.0
COLUMNS = ("place", "place_1", "place_2", "past_1", "past_4", "past_16", "sigma_ratio")


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Bars and the features of each, all known at the bar's close; shapes (n,) and (n, 7)."""

    bars: Bars
    features: FloatArray
    volatility: FloatArray


@dataclass(frozen=True, slots=True)
class Change:
    """What happens at a bar: the sign of the signal flips or volatility is multiplied."""

    at: int
    flips: bool = False
    volatility: float = 1.0


def measure(seeds: Sequence[int], *, quick: bool = False) -> Mapping[str, float]:
    """Give false alarms per 30 quiet days, delays after a flip (days), and alarms per 30 days at doubled volatility.

    Each seed is a symbol of its own, trained once per strength of the signal (R2 10 % and 3 %). Quiet, flipped and
    wilder worlds are judged on the same bars, ten days after the training. A flip that is not noticed counts with the
    length of what follows it.
    """
    figures: dict[str, float] = {}
    quiet: list[float] = []
    for name, strength in (("r2_10", 0.10), ("r2_3", 0.03)):
        runs = [_runs(strength, seed, quick=quick) for seed in seeds]
        delays = [run["delay"] for run in runs]
        figures[f"drift_{name}_delay_mean_days"] = float(np.mean(delays))
        figures[f"drift_{name}_delay_worst_days"] = float(np.max(delays))
        figures[f"drift_{name}_false_per_30d"] = float(np.mean([run["false"] for run in runs]))
        figures[f"drift_{name}_double_volatility_per_30d"] = float(np.mean([run["double"] for run in runs]))
        quiet.extend(run["false"] for run in runs)
    figures["drift_false_per_30d"] = float(np.mean(quiet))
    figures["drift_false_per_30d_worst"] = float(np.max(quiet))
    return figures


def alarms(trained: Trained, world: World, settings: DriftSettings, *, first: int) -> list[tuple[int, str]]:
    """Give bar and chart of each alarm from bar `first` on; the bar is the one at whose close it is raised."""
    rows = np.arange(max(first, 200), len(world.bars) - HORIZON - 1, HORIZON)
    said = trained.ensemble.probabilities(world.features[rows][:, list(trained.shipped.columns)])
    labels = _labels(world, rows)
    moves, volatility = window_moves(world.bars, world.bars.close_time[rows], HORIZON)
    sizes = moves / (volatility * np.sqrt(HORIZON))
    charts = Triggers.of(Reference.of(trained.drift), settings, train_shares(trained), BARS_PER_DAY / HORIZON)
    found: list[tuple[int, str]] = []
    for row, answer, label, size in zip(rows.tolist(), said.tolist(), labels.tolist(), sizes.tolist(), strict=True):
        tripped = charts.follow(Ended((answer[0], answer[1], answer[2]), label, size))
        if tripped is not None:
            found.append((row + HORIZON, tripped.kind))
    return found


def planted_world(seed: int, strength: float, change: Change | None = None) -> World:
    """Give the bars of one world; the same seed gives the same noise whatever changes."""
    count = TRAIN_BARS + TEST_BARS
    generator = np.random.default_rng([seed, round(strength * 10_000)])
    state = _autoregression(generator, count, 0.9, np.sqrt(1.0 - 0.81))
    volatility = 0.0035 * np.exp(_autoregression(generator, count, 0.97, 0.12))
    noise = generator.standard_t(5, count) / np.sqrt(5.0 / 3.0)
    sign = np.ones(count)
    if change is not None:
        sign[change.at :] = -1.0 if change.flips else 1.0
        volatility[change.at :] *= change.volatility
    driven = np.sqrt(1.0 - strength) * noise[1:] + np.sqrt(strength) * sign[:-1] * state[:-1]
    returns = np.concatenate([[0.0], volatility[:-1] * driven])
    close = 100.0 * np.exp(np.cumsum(returns))
    place = np.tanh(0.8 * state)
    wick = volatility * close
    low = np.minimum(close, np.concatenate([[100.0], close[:-1]])) - wick * (1.0 + place)
    high = np.maximum(close, np.concatenate([[100.0], close[:-1]])) + wick * (1.0 - place)
    bars = Bars(
        symbol=COIN,
        timeframe=Timeframe.M15,
        open_time=START_MS + np.arange(count, dtype=np.int64) * STEP_MS,
        open=np.concatenate([[100.0], close[:-1]]),
        high=high,
        low=low,
        close=close,
        volume=np.ones(count),
        source="planted",
    )
    sigma = _sigma(returns, 96)
    return World(bars, _features(place, returns, sigma), sigma)


def trained_on(world: World, seed: int, *, quick: bool = False) -> Trained:
    """Train the real ensemble on the first 20,000 bars of a world."""
    model = ModelSettings.model_validate({"random_state": seed, "labeling": {"horizon_bars": HORIZON}})
    rows = np.arange(200, TRAIN_BARS - HORIZON - 1)
    t0 = world.bars.close_time[rows]
    ends = t0 + HORIZON * STEP_MS
    data = Dataset(
        symbol=COIN,
        columns=COLUMNS,
        values=world.features[rows],
        labels=_labels(world, rows),
        width=_width(world)[rows],
        t0=t0,
        t1=ends,
        t1_trade=ends,
        trade_gross=world.bars.close[rows + HORIZON] / world.bars.close[rows] - 1.0,
        uniqueness=np.full(len(rows), 1.0 / HORIZON),
    )
    bars = world.bars.rows(0, TRAIN_BARS)
    sample = Sample(data, "planted", "f" * 64, int(t0[0]), int(bars.close_time[-1]), len(bars), (), bars)
    return EnsembleTrainer(model, RiskSettings(), quick=quick).train_on(sample)


def _runs(strength: float, seed: int, *, quick: bool) -> dict[str, float]:
    quiet = planted_world(seed, strength)
    trained = trained_on(quiet, seed, quick=quick)
    settings = DriftSettings()
    turn = TRAIN_BARS + CALM_BARS
    false = [at for at, _ in alarms(trained, quiet, settings, first=TRAIN_BARS) if at >= turn]
    flipped = alarms(trained, planted_world(seed, strength, Change(turn, flips=True)), settings, first=TRAIN_BARS)
    wilder = planted_world(seed, strength, Change(turn, volatility=2.0))
    double = [at for at, _ in alarms(trained, wilder, settings, first=TRAIN_BARS) if at >= turn]
    noticed = next((at for at, _ in flipped if at >= turn), len(quiet.bars))
    months = (TEST_BARS - CALM_BARS) / (30.0 * BARS_PER_DAY)
    return {
        "delay": (noticed - turn) / BARS_PER_DAY,
        "false": len(false) / months,
        "double": len(double) / months,
    }


def _autoregression(generator: np.random.Generator, count: int, keep: float, noise: float) -> FloatArray:
    steps = generator.normal(0.0, noise, count)
    values = np.empty(count)
    level = 0.0
    for place in range(count):
        level = keep * level + steps[place]
        values[place] = level
    return values


def _sigma(returns: FloatArray, window: int) -> FloatArray:
    spans = np.lib.stride_tricks.sliding_window_view(returns, window)
    return np.concatenate([np.full(window - 1, np.nan), spans.std(axis=1)])


def _features(place: FloatArray, returns: FloatArray, sigma: FloatArray) -> FloatArray:
    total = np.concatenate([[0.0], np.cumsum(returns)])
    columns = [place, *(_lagged(place, lag) for lag in (1, 2))]
    for span in (1, 4, 16):
        past = np.full(len(returns), np.nan)
        past[span - 1 :] = total[span:] - total[:-span]
        columns.append(past / (sigma * np.sqrt(span)))
    columns.append(_sigma(returns, 12) / sigma)
    return np.stack(columns, axis=1)


def _lagged(values: FloatArray, lag: int) -> FloatArray:
    return np.concatenate([np.full(lag, np.nan), values[:-lag]])


def _width(world: World) -> FloatArray:
    width: FloatArray = np.maximum(0.003, 0.7 * world.volatility * np.sqrt(HORIZON))
    return width


def _labels(world: World, rows: IntArray) -> IntArray:
    moves = world.bars.close[rows + HORIZON] / world.bars.close[rows] - 1.0
    width = _width(world)[rows]
    return np.where(moves <= -width, 0, np.where(moves >= width, 2, 1)).astype(np.int64)


if __name__ == "__main__":
    chosen = [int(text) for text in sys.argv[1:]] or list(range(6))
    for label, figure in measure(chosen).items():
        print(f"{label:45s} {figure:8.3f}")

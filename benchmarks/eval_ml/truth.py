"""Whether anything of the future or of the window's start reaches a column or a prediction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.eval_ml import pipeline, recorded, worlds
from benchmarks.eval_ml.made import auc_ratio
from benchmarks.eval_ml.running import Answer
from benchmarks.eval_ml.settings import model_settings, risk_settings
from bn_ml.domain.market import Symbol, Timeframe
from data_manager.bars import Bars, FloatArray
from data_manager.feature_audit import same_bits, truncation_differences
from data_manager.feature_columns import BASE_SPECS
from data_manager.feature_engineer import FeatureEngineer, base_columns, week_start
from data_manager.indicators import INDICATORS
from data_manager.market_context import MarketContext
from ml_engine.training_data import BASE

AROUND = ("BTC", "ETH", "SOL", "XRP")
CUTS = 50


def cut_future(folder: str, base: str, seed: int) -> Answer:
    """Count columns of 50 random rows and of rows at longer borders that change when later bars are taken away."""
    bars, market = _market(folder, base)
    context = MarketContext.of(market, recorded.BENCHMARK)
    generator = np.random.default_rng([seed, 7])
    places = generator.integers(20_200, len(bars) - 1, CUTS).tolist()
    for length in (Timeframe.H1.ms, Timeframe.H4.ms, Timeframe.D1.ms):
        at = int(np.searchsorted(bars.open_time, int(bars.open_time[23_000]) // length * length))
        places += [at - 2, at - 1, at, at + 1]
    places += (np.flatnonzero(np.diff(bars.open_time) > BASE.ms) + 1).tolist()[:4]
    engineer = FeatureEngineer()
    found = truncation_differences(engineer, {BASE: bars}, context, places)
    backwards = MarketContext.of(dict(reversed(market.items())), recorded.BENCHMARK)
    part = bars.rows(24_000, 26_000)
    order = int((~same_bits(context.columns(part), backwards.columns(part))).sum())
    return Answer({"columns": sorted({item.column for item in found}), "order": order, "rows": len(set(places))})


def poisoned_future(seed: int) -> Answer:
    """Count predictions that change when the bars after a row become NaN or a thousand times larger."""
    world = worlds.planted(seed, r2=0.03, count=16_000)
    setup = pipeline.Setup({worlds.COIN: world.bars}, model_settings("bed"), risk_settings("horizon"))
    trained = pipeline.trained_at(setup, worlds.COIN, int(world.bars.close_time[13_999]))
    clean, differing = _said(trained, setup, world.bars, 14_000), 0
    places = np.random.default_rng([seed, 8]).integers(14_100, 15_900, 12)
    for poison in (np.nan, 1000.0):
        for place in places:
            hurt = _said(trained, setup, _poisoned(world.bars, int(place), poison), 14_000)
            differing += int((clean[: place - 13_999] != hurt[: place - 13_999]).any(axis=1).sum())
    return Answer({"differing": differing, "rows": 2 * len(places)})


def window_start(folder: str, base: str) -> Answer:
    """Give columns whose value moves by more than a millionth when the declared window is doubled."""
    bars, _ = _market(folder, base)
    specs = [spec for spec in BASE_SPECS if spec.function in INDICATORS]
    far: set[str] = set()
    for middle in (9_000, 16_000, 30_000):
        monday = int(np.searchsorted(bars.open_time, week_start(int(bars.open_time[middle]))))
        one = base_columns(bars.rows(monday - 2000, monday + 672), specs, 2000)
        two = base_columns(bars.rows(monday - 4000, monday + 672), specs, 4000)
        beyond = np.abs(one - two) > 1e-6 * np.maximum(np.abs(one), 1e-3)
        beyond |= np.isnan(one) != np.isnan(two)
        far |= {specs[place].name for place in np.flatnonzero(beyond.any(axis=0))}
    return Answer({"columns": sorted(far), "rows": 3 * 672})


def longer_bars(seed: int) -> Answer:
    """Give what longer timeframes tell of direction on a random walk, joined by close and, as control, by open."""
    world = worlds.stochastic(seed, count=28_000)
    setup = pipeline.Setup({worlds.COIN: world.bars}, model_settings("bed"), risk_settings("horizon"))
    data = pipeline.rows_ahead(setup, worlds.COIN, int(world.bars.close_time[0]), int(world.bars.close_time[-1])).data
    honest, early = np.array(data.values), np.array(data.values)
    places = {4: "mtf_1h_", 16: "mtf_4h_", 96: "mtf_1d_"}
    for steps, prefix in places.items():
        own = [place for place, name in enumerate(data.columns) if name.startswith(prefix)]
        early[:-steps, own] = honest[steps:, own]
    used = [place for place, name in enumerate(data.columns) if name.startswith(tuple(places.values()))]
    used = [place for place in used if np.isfinite(honest[:, place]).mean() > 0.9]
    return Answer(
        {
            "auc": _direction(honest[:-96, used], data.labels[:-96]),
            "control": _direction(early[:-96, used], data.labels[:-96]),
        }
    )


def parity(seed: int) -> Answer:
    """Compare the predictor on later stored bars with the trainer's own forecast of them (unrefitted bundle)."""
    world = worlds.planted(seed, r2=0.1, count=16_000)
    setup = pipeline.Setup({worlds.COIN: world.bars}, model_settings("bed"), risk_settings("horizon"))
    end_ms = int(world.bars.close_time[13_999])
    trained = pipeline.as_twin(pipeline.trained_at(setup, worlds.COIN, end_ms))
    ahead = pipeline.rows_ahead(setup, worlds.COIN, end_ms, int(world.bars.close_time[-1]))
    theirs = pipeline.twin_forecasts(trained, ahead.data)
    answers = {int(signal.at.timestamp() * 1000): signal for signal in pipeline.signals(trained, setup, ahead)}
    ours = [answers[int(t0)] for t0 in ahead.data.t0]
    own = np.array([[said.probabilities.sell, said.probabilities.hold, said.probabilities.buy] for said in ours])
    enters = pipeline.rule_buys(theirs, setup.model)
    said = np.array([pipeline.passes_rule(signal) for signal in ours])
    gap, others = float(np.abs(own - theirs).max()), int((said != enters).sum())
    return Answer({"gap": gap, "other_actions": others, "rows": len(ours)})


def _market(folder: str, base: str) -> tuple[Bars, dict[Symbol, Bars]]:
    names = dict.fromkeys((*AROUND, base))
    market = {part.symbol: part for part in (recorded.recorded_bars(folder, name) for name in names)}
    return market[Symbol(f"{base}/USDT")], market


def _poisoned(bars: Bars, after: int, poison: float) -> Bars:
    factor = np.where(np.arange(len(bars)) > after, poison, 1.0)
    prices = {name: getattr(bars, name) * factor for name in ("open", "high", "low", "close", "volume", "quote_volume")}
    return replace(bars, **prices)


def _said(trained: pipeline.Trained, setup: pipeline.Setup, bars: Bars, first: int) -> FloatArray:
    frame = FeatureEngineer(setup.model).build({BASE: bars}, None, since_ms=int(bars.open_time[first]))
    places = [frame.columns.index(name) for name in trained.columns]
    return trained.ensemble.probabilities(frame.values[:, places])


def _direction(values: FloatArray, labels: np.ndarray) -> float:
    """Give the AUC of BUY against SELL of a linear forecast of the last 40 % of rows."""
    cut, gap = int(0.6 * len(values)), 200
    centre, spread = np.nanmean(values[:cut], axis=0), np.nanstd(values[:cut], axis=0) + 1e-12
    standard = np.nan_to_num(np.clip((values - centre) / spread, -5, 5))
    model = LogisticRegression(C=0.003, max_iter=500).fit(standard[: cut - gap], labels[: cut - gap])
    return auc_ratio(model.predict_proba(standard[cut:]), labels[cut:])

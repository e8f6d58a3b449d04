"""S20 and S21: alarms of the drift charts, and how much of a Sharpe ratio the search for it explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks import eval_drift
from benchmarks.eval_ml.figures import Found, Line, Options, at_most, numbers, seconds
from benchmarks.eval_ml.running import Answer, Figure, Unit
from ml_engine.overfitting import deflated_sharpe, overfitting_probability

Units = Mapping[str, Sequence[Unit]]
KNOWN = {1: 0.993, 40: 0.299, 1000: 0.024}


def known_ratio(trials: int) -> Answer:
    """Deflate an annual Sharpe ratio of 1.8 over 504 days, skew -.6, excess kurtosis 4.5, trial variance 1 a year."""
    year = 252.0
    found = deflated_sharpe(1.8 / np.sqrt(year), 504, skew=-0.6, kurtosis=7.5, trials=trials, variance=1.0 / year)
    return Answer({"found": found, "known": KNOWN[trials]})


def noise_overfits(seed: int) -> Answer:
    """Give how often the best of 20 worthless trials falls below the median out of sample."""
    returns = np.random.default_rng([seed, 9]).normal(size=(640, 20))
    return Answer({"found": overfitting_probability(returns)})


def _s21_units(options: Options) -> Units:
    return {
        "known": [Unit(known_ratio, (trials,)) for trials in KNOWN],
        "noise": [Unit(noise_overfits, (seed,)) for seed in range(options.seed, options.seed + 20)],
    }


def _s21(found: Mapping[str, Found]) -> list[Figure]:
    off = np.abs(numbers(found["known"], "found") - numbers(found["known"], "known"))
    note = ", ".join(f"{value:.3f}" for value in numbers(found["known"], "found"))
    noise = float(numbers(found["noise"], "found").mean())
    spent = seconds(found["noise"])
    return [
        Figure("S21", "deflated Sharpe ratio, worst error", round(float(off.max()), 5), "<= .005",
               bool(off.max() <= 0.005), len(off), seconds(found["known"]), note),
        Figure("S21", "probability of overfitting of noise", round(noise, 3), ".5 +- .1", abs(noise - 0.5) <= 0.1,
               len(found["noise"]), spent),
    ]  # fmt: skip


def drift_charts(seed: int) -> Answer:
    """Count alarms of the drift charts on quiet, flipped and wilder planted worlds of one seed."""
    return Answer(dict(eval_drift.measure([seed])))


def _s20_units(options: Options) -> Units:
    return {"charts": [Unit(drift_charts, (seed,)) for seed in options.seeds_of(4)]}


def _s20(found: Mapping[str, Found]) -> list[Figure]:
    charts = found["charts"]
    by = {name: numbers(charts, name) for name in charts[0].values}
    false = by["drift_false_per_30d"].mean()
    strong, weak = by["drift_r2_10_delay_mean_days"], by["drift_r2_3_delay_mean_days"]
    double = np.mean([by["drift_r2_10_double_volatility_per_30d"], by["drift_r2_3_double_volatility_per_30d"]])
    count, spent = len(charts), seconds(charts)
    return [
        Figure("S20", "false drift alarms in 30 quiet days", round(float(false), 2), "<= 1", at_most(false, 1), count,
               spent, f"worst {by['drift_false_per_30d_worst'].max():.2f}"),
        Figure("S20", "days until a flip at R2 10 % is noticed", round(float(strong.mean()), 2), "<= 3, worst 6",
               bool(strong.mean() <= 3 and strong.max() <= 6), count, 0.0, f"worst {strong.max():.1f}"),
        Figure("S20", "days until a flip at R2 3 % is noticed", round(float(weak.mean()), 2), "<= 6",
               at_most(weak.mean(), 6), count, 0.0, f"worst {weak.max():.1f}"),
        Figure("S20", "alarms in 30 days of doubled volatility", round(float(double), 2), "<= quiet",
               at_most(double, false), count, 0.0, f"quiet {false:.2f}"),
    ]  # fmt: skip


LINES = (
    Line("S20", False, _s20_units, _s20),
    Line("S21", False, _s21_units, _s21),
)

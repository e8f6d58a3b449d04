"""S7, S8, S9, S17: abstention on martingales, recovery of planted drifts, and how far a seed moves a forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from benchmarks.eval_ml import made, recorded
from benchmarks.eval_ml.figures import Found, Line, Options, numbers, seconds, share
from benchmarks.eval_ml.running import Figure, Unit

Units = Mapping[str, Sequence[Unit]]
NULL_WORLDS = ("garch", "regimes", "skew")
RECOVERY = {0.03: (0.85, 0.75), 0.01: (0.70, 0.55), 0.0025: (0.55, 0.40)}


def _s7_units(options: Options) -> Units:
    return {kind: [Unit(made.null_world, (kind, seed)) for seed in options.seeds_of(20)] for kind in NULL_WORLDS}


def _s7(found: Mapping[str, Found]) -> list[Figure]:
    return [_null_line(kind, worlds) for kind, worlds in found.items()]


def _null_line(kind: str, worlds: Found) -> Figure:
    closed = len(worlds) - int(numbers(worlds, "tradable").sum())
    hold = float(numbers(worlds, "hold_share").mean())
    gross = np.concatenate([np.array(world.values["gross"], dtype=np.float64) for world in worlds])
    low, high = _interval(worlds)
    holds = hold >= 0.99 - 1e-12 and closed >= 0.9 * len(worlds) and low <= 0.0 <= high
    span = f"{1e4 * low:+.0f}..{1e4 * high:+.0f} bp"
    note = f"gate closed {closed} of {len(worlds)} (bar 90 %); {len(gross)} trades, gross {span}"
    what = f"HOLD share, martingale {kind}, %"
    return Figure("S7", what, round(100 * hold, 3), ">= 99", bool(holds), len(worlds), seconds(worlds), note)


def _interval(worlds: Found) -> tuple[float, float]:
    """Give the 95 % interval of the mean gross return over trades, whole days of a world drawn together."""
    parts = []
    for world in worlds:
        gross, days = np.array(world.values["gross"]), np.array(world.values["days"])
        parts += [gross[days == day] for day in np.unique(days)] if len(gross) else []
    if not parts:
        return 0.0, 0.0
    sums, counts = np.array([part.sum() for part in parts]), np.array([len(part) for part in parts])
    draws = np.random.default_rng(0).multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=2000)
    low, high = np.quantile((draws @ sums) / (draws @ counts), (0.025, 0.975))
    return (float(low), float(high)) if len(parts) > 1 else (min(0.0, float(low)), max(0.0, float(high)))


def _s8_units(options: Options) -> Units:
    return {str(r2): [Unit(made.planted_world, (r2, seed)) for seed in options.seeds_of(10)] for r2 in RECOVERY}


def _s8(found: Mapping[str, Found]) -> list[Figure]:
    lines = []
    for name, worlds in found.items():
        bar, floor = RECOVERY[float(name)]
        recovered = recovery(worlds)
        each = (numbers(worlds, "auc") - 0.5) / (numbers(worlds, "bayes_auc") - 0.5)
        gain = float(numbers(worlds, "gain").sum() / numbers(worlds, "bayes_gain").sum())
        spread = f"seeds {100 * each.min():.0f}..{100 * each.max():.0f}"
        note = f"floor {100 * floor:.0f}; {spread}; {100 * gain:.0f} % of its log-loss gain"
        holds = recovered >= bar
        if float(name) == 0.03:
            holds, note = holds and gain >= 0.5, note + " (bar 50)"
        what = f"planted R2 {100 * float(name):g} %: % of Bayes AUC-.5"
        figure = round(100 * recovered, 1)
        lines.append(Figure("S8", what, figure, f">= {100 * bar:.0f}", bool(holds), len(worlds), seconds(worlds), note))
    return lines


def recovery(worlds: Found) -> float:
    """Give the mean share of the best forecaster's AUC - .5 that was recovered."""
    return float(((numbers(worlds, "auc") - 0.5) / (numbers(worlds, "bayes_auc") - 0.5)).mean())


def _s9_units(options: Options) -> Units:
    seeds = options.seeds_of(10)
    return {
        "profit": [Unit(made.planted_world, (0.1, seed)) for seed in seeds],
        "gate": [Unit(made.planted_world, (0.03, seed)) for seed in seeds],
    }


def _s9(found: Mapping[str, Found]) -> list[Figure]:
    worlds = found["profit"]
    net, best = numbers(worlds, "net"), numbers(worlds, "bayes_net")
    each = net / best
    traded = [world for world in worlds if world.values["precision"] is not None]
    off = float(np.mean(numbers(traded, "precision") - numbers(traded, "predicted"))) if traded else float("nan")
    note = (
        f"seeds {100 * each.min():.0f}..{100 * each.max():.0f}; precision - predicted {100 * off:+.1f} points (bar -5)"
    )
    holds = bool(net.sum() / best.sum() >= 0.7 and off >= -0.05)
    figure = round(100 * float(net.sum() / best.sum()), 1)
    profit = Figure(
        "S9", "planted R2 10 %: % of Bayes net profit", figure, ">= 70", holds, len(worlds), seconds(worlds), note
    )
    return [profit, _gate_line(found["gate"])]


def _gate_line(worlds: Found) -> Figure:
    opened = share(worlds, "tradable")
    closed = [str(world.values["reasons"][0]) for world in worlds if not world.values["tradable"]]
    what = "planted R2 3 %: gate opens, %"
    note = "; ".join(sorted({reason.split(",")[0][:60] for reason in closed}))
    return Figure("S9", what, round(100 * opened, 1), ">= 80", opened >= 0.8, len(worlds), seconds(worlds), note)


def _s17_units(options: Options) -> Units:
    return {"seeds": [Unit(recorded.other_seed, (options.seed, state)) for state in options.seeds_of(5)]}


def _s17(found: Mapping[str, Found]) -> list[Figure]:
    answers = found["seeds"]
    forecast = np.stack([answer.arrays["p_buy"] for answer in answers])
    buys = np.stack([answer.arrays["buys"] for answer in answers]).astype(bool)
    deviation = float(forecast.std(axis=0, ddof=1).mean())
    alike = [(one & two).sum() / max((one | two).sum(), 1) for one, two in combinations(buys, 2)]
    often = float(buys.mean())
    holds = deviation <= 0.01 and (often < 0.005 or np.mean(alike) >= 0.6)
    note = f"Jaccard of BUY rows {np.mean(alike):.2f} (bar .6), BUY on {100 * often:.1f} % of rows"
    what = "sd of p_buy over seeds of the trainer"
    return [Figure("S17", what, round(deviation, 5), "<= .01", bool(holds), len(answers), seconds(answers), note)]


LINES = (
    Line("S7", False, _s7_units, _s7),
    Line("S8", False, _s8_units, _s8),
    Line("S9", False, _s9_units, _s9),
    Line("S17", False, _s17_units, _s17),
)

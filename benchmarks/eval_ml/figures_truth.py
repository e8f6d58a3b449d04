"""S1 to S6: nothing of the future, nothing of the window's start, parity, and labels that mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.eval_ml import recorded, truth
from benchmarks.eval_ml.figures import Found, Line, Options, numbers, seconds
from benchmarks.eval_ml.running import Figure, Unit

Units = Mapping[str, Sequence[Unit]]


def _s1_units(options: Options) -> Units:
    return {"cuts": [Unit(truth.cut_future, (options.data, base, options.seed)) for base in ("ETH", "FTM")]}


def _s1(found: Mapping[str, Found]) -> list[Figure]:
    cuts = found["cuts"]
    columns = sorted({name for answer in cuts for name in answer.values["columns"]})
    order = int(numbers(cuts, "order").sum())
    rows = int(numbers(cuts, "rows").sum())
    note = ", ".join(columns[:5]) or "rows drawn, longer borders, gaps; symbols in the other order"
    what, holds = "columns that differ with the future cut off", not columns and not order
    return [Figure("S1", what, len(columns) + order, "0", holds, rows, seconds(cuts), note)]


def _s2_units(options: Options) -> Units:
    return {"poison": [Unit(truth.poisoned_future, (seed,)) for seed in options.seeds_of(2)]}


def _s2(found: Mapping[str, Found]) -> list[Figure]:
    differing = int(numbers(found["poison"], "differing").sum())
    rows = int(numbers(found["poison"], "rows").sum())
    what = "predictions changed by a poisoned future"
    return [Figure("S2", what, differing, "0", differing == 0, rows, seconds(found["poison"]))]


def _s3_units(options: Options) -> Units:
    return {"window": [Unit(truth.window_start, (options.data, base)) for base in ("BTC", "DIA")]}


def _s3(found: Mapping[str, Found]) -> list[Figure]:
    columns = sorted({name for answer in found["window"] for name in answer.values["columns"]})
    rows = int(numbers(found["window"], "rows").sum())
    note = ", ".join(columns[:5])
    return [
        Figure("S3", "columns that know the window's start", len(columns), "0", not columns, rows,
               seconds(found["window"]), note)
    ]  # fmt: skip


def _s4_units(options: Options) -> Units:
    return {"walks": [Unit(truth.longer_bars, (seed,)) for seed in options.seeds_of(3)]}


def _s4(found: Mapping[str, Found]) -> list[Figure]:
    own, control = numbers(found["walks"], "auc"), numbers(found["walks"], "control")
    holds = bool(own.mean() <= 0.53 and control.min() > 0.8)
    note = f"control joined on open time: {control.mean():.3f} (must exceed .8); worst seed {own.max():.3f}"
    what = "AUC dir of longer bars on a random walk"
    return [Figure("S4", what, round(float(own.mean()), 4), "<= .53", holds, len(own), seconds(found["walks"]), note)]


def _s5_units(options: Options) -> Units:
    return {"parity": [Unit(truth.parity, (options.seed,))]}


def _s5(found: Mapping[str, Found]) -> list[Figure]:
    values = found["parity"][0].values
    gap, others = float(values["gap"]), int(values["other_actions"])
    note = f"{others} rows where the probability rule decides otherwise"
    what = "predictor against the trainer's own rows"
    holds = gap <= 1e-6 and others == 0
    return [Figure("S5", what, gap, "<= 1e-6", holds, int(values["rows"]), seconds(found["parity"]), note)]


def _s6_units(options: Options) -> Units:
    return {"dealt": [Unit(recorded.dealt_labels, (options.data, "ETH", seed)) for seed in options.seeds_of(5)]}


def _s6(found: Mapping[str, Found]) -> list[Figure]:
    skill, auc = 100 * numbers(found["dealt"], "skill"), numbers(found["dealt"], "auc")
    holds = bool(skill.max() <= 0.3 and np.abs(auc - 0.5).max() <= 0.02)
    tradable = int(numbers(found["dealt"], "tradable").sum())
    note = f"AUC dir {auc.min():.3f}..{auc.max():.3f} (bar .5 +- .02); tradable {tradable}"
    what = "skill with dealt-out labels, worst seed, %"
    spent = seconds(found["dealt"])
    return [Figure("S6", what, round(float(skill.max()), 3), "<= +.3", holds, len(skill), spent, note)]


LINES = (
    Line("S1", True, _s1_units, _s1),
    Line("S2", False, _s2_units, _s2),
    Line("S3", True, _s3_units, _s3),
    Line("S4", False, _s4_units, _s4),
    Line("S5", False, _s5_units, _s5),
    Line("S6", True, _s6_units, _s6),
)

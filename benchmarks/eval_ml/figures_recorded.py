"""S11 to S14 and S16: calibration, skill and honesty on recorded bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.eval_ml import recorded
from benchmarks.eval_ml.figures import Found, Line, Options, seconds
from benchmarks.eval_ml.running import Figure, Unit
from data_manager.bars import FloatArray

Units = Mapping[str, Sequence[Unit]]
LABELS = ("default", "real")
_NAMES = {"default": "the bot's labels", "real": "labels of h 8 and max(30 bp, sigma sqrt 8)"}


def _walks(options: Options) -> Units:
    every = options.symbols
    judged = {"default": every, "real": every if options.deep or options.quick else [*every[::4], every[-1]]}
    return {
        labels: [Unit(recorded.folds, (options.data, base, labels, options.folds)) for base in judged[labels]]
        for labels in LABELS
    }


def _s12(found: Mapping[str, Found]) -> list[Figure]:
    lines = []
    for labels, symbols in found.items():
        own, prior, fold = (_rows(symbols, name) for name in ("losses", "prior_losses", "fold"))
        skill = 100 * (1 - own.sum() / prior.sum())
        by_fold = [100 * (1 - own[fold == place].sum() / prior[fold == place].sum()) for place in np.unique(fold)]
        worst = 100 * np.array([min(answer.values["skill"]) for answer in symbols])
        each = " ".join(f"{value:.1f}" for value in by_fold)
        note = f"{len(symbols)} symbols, folds {each}; worst symbol and fold {worst.min():.1f}"
        bar = skill >= 6.5 and min(by_fold) > 0
        what = f"skill on recorded bars, {_NAMES[labels]}, %"
        spent = seconds(symbols)
        lines.append(Figure("S12", what, round(float(skill), 2), ">= 6.5", bool(bar), len(own), spent, note))
        lines.append(_calibration(symbols, labels))
    return lines


def _calibration(symbols: Found, labels: str) -> Figure:
    said, truth = _rows(symbols, "said"), _rows(symbols, "labels")
    errors = [_ece(said[:, place].astype(np.float64), truth == place) for place in range(3)]
    alone = [np.mean(answer.values["ece"]) for answer in symbols]
    by_class = f"SELL {errors[0]:.4f} HOLD {errors[1]:.4f} BUY {errors[2]:.4f}"
    note = f"{by_class}; mean of one symbol and fold {np.mean(alone):.3f}"
    what = f"class-wise ECE on recorded bars, {_NAMES[labels]}"
    worst = max(errors[0], errors[2])
    return Figure("S12", what, round(float(worst), 4), "<= .010", worst <= 0.010, len(truth), 0.0, note)


def _s13(found: Mapping[str, Found]) -> list[Figure]:
    lines = []
    for labels, symbols in found.items():
        buy, hit = _rows(symbols, "said")[:, 2].astype(np.float64), _rows(symbols, "labels") == 2
        gaps = np.array([buy[part].mean() - hit[part].mean() for part in _tenths(buy)])
        what = f"largest gap over tenths of p_buy, {_NAMES[labels]}, points"
        note = " ".join(f"{100 * gap:+.1f}" for gap in gaps)
        worst = 100 * float(np.abs(gaps).max())
        lines.append(Figure("S13", what, round(worst, 2), "<= 5", worst <= 5, len(buy), 0.0, note))
    return lines


def _s14(found: Mapping[str, Found]) -> list[Figure]:
    symbols = found["default"]
    trainings = [_at(answer.values, place) for answer in symbols for place in range(len(answer.values["skill"]))]
    open_ones = [training for training in trainings if training["tradable"]]
    note = f"gate open in {len(open_ones)} of {len(trainings)} trainings"
    what = "realised / promised of the top 5 % by expected value"
    if not open_ones:
        return [Figure("S14", what, "gate closed", ">= .5 or closed", True, len(trainings), 0.0, note)]
    realised = sum(float(str(training["top_realised"])) for training in open_ones)
    promised = sum(float(str(training["top_promised"])) for training in open_ones)
    honest = realised / promised if promised > 0 else 0.0
    return [Figure("S14", what, round(honest, 3), ">= .5 or closed", honest >= 0.5, len(open_ones), 0.0, note)]


def _s16(found: Mapping[str, Found]) -> list[Figure]:
    symbols = found["default"]
    said = 100 * np.concatenate([answer.values["report_skill"] for answer in symbols])
    later = 100 * np.concatenate([answer.values["twin_skill_30_days"] for answer in symbols])
    shipped = 100 * np.concatenate([answer.values["skill_30_days"] for answer in symbols])
    gap, deviation = said - later, (said - later).std(ddof=1) / np.sqrt(len(said))
    both = int(((said > 0) & (later > 0)).sum())
    holds = gap.mean() <= 2.0 and said.mean() > 0 and later.mean() > 0
    note = (
        f"+- {deviation:.2f}; both above 0 in {both} of {len(said)}; reported {said.mean():.1f}, next 30 days "
        f"{later.mean():.1f} (as shipped {shipped.mean():.1f})"
    )
    what = "reported skill - skill of the next 30 days, points"
    return [Figure("S16", what, round(float(gap.mean()), 2), "<= 2.0", bool(holds), len(said), 0.0, note)]


def _s11_units(options: Options) -> Units:
    return {
        "mirrored": [
            Unit(recorded.mirrored_symbol, (options.data, base, options.seed, "default", options.folds))
            for base in options.symbols
        ],
        "plain": _walks(options)["default"],
    }


def _s11(found: Mapping[str, Found]) -> list[Figure]:
    mirrored, plain = found["mirrored"], found["plain"]
    auc = np.array([answer.values["auc"] for answer in mirrored])
    skill = 100 * np.array([answer.values["skill"] for answer in mirrored])
    original = 100 * np.array([answer.values["skill"][-1] for answer in plain])
    closed = np.mean([not answer.values["tradable"] for answer in mirrored])
    apart = abs(skill.mean() - original.mean())
    holds = auc.mean() <= 0.525 and auc.max() <= 0.54 and closed >= 0.9 and apart <= 3.0
    note = (
        f"worst {auc.max():.3f} (bar .54); gate closed {100 * closed:.0f} % (bar 90); "
        f"skill {skill.mean():.1f} against {original.mean():.1f} unmirrored (bar 3 apart)"
    )
    what = "AUC dir on mirrored recorded bars"
    spent = seconds(mirrored)
    return [Figure("S11", what, round(float(auc.mean()), 4), "<= .525", bool(holds), len(auc), spent, note)]


def _rows(symbols: Found, name: str) -> FloatArray:
    return np.concatenate([answer.arrays[name] for answer in symbols])


def _at(values: Mapping[str, object], place: int) -> dict[str, object]:
    return {name: value[place] for name, value in values.items() if isinstance(value, list)}


def _tenths(probability: FloatArray) -> list[np.ndarray]:
    return np.array_split(np.argsort(probability, kind="stable"), 10)


def _ece(probability: FloatArray, hit: np.ndarray) -> float:
    parts = _tenths(probability)
    return float(sum(abs(probability[part].mean() - hit[part].mean()) * len(part) for part in parts) / len(hit))


LINES = (
    Line("S11", True, _s11_units, _s11),
    Line("S12", True, _walks, _s12),
    Line("S13", True, _walks, _s13),
    Line("S14", True, lambda options: {"default": _walks(options)["default"]}, _s14),
    Line("S16", True, lambda options: {"default": _walks(options)["default"]}, _s16),
)

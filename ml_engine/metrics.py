"""Figures about probabilities and trades, each with its bound where chance could make it look good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_manager.bars import FloatArray, IntArray
from ml_engine.overfitting import UNTUNED, Luck, sharpe_probability

CLASS_NAMES = ("SELL", "HOLD", "BUY")
_FLOOR = 1e-15


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the lower and upper bound of its interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Precision, recall, F1 and the share of one class; precision is 0 where the class is never said."""

    precision: float
    recall: float
    f1: float
    base_rate: float


@dataclass(frozen=True, slots=True)
class MoneyFigures:
    """What entering on BUY would have earned, per trade as fractions of the notional, non-overlapping trades."""

    trades: int
    gross_return: float
    net_return: float
    net_total: float
    sharpe_net: float
    sortino_net: float
    max_drawdown: float
    turnover: float
    random_entry_net: float
    random_entry_p: float
    dsr: float
    win_rate: float = 0.0


def log_loss(probabilities: FloatArray, labels: IntArray) -> float:
    """Give the mean of -log p of the true class; `probabilities` (n, 3), `labels` (n,)."""
    return float(row_losses(probabilities, labels).mean())


def row_losses(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """Give -log p of the true class of each row, shape (n,)."""
    chosen = probabilities[np.arange(len(labels)), labels]
    losses: FloatArray = -np.log(np.maximum(chosen, _FLOOR))
    return losses


def class_shares(labels: IntArray) -> FloatArray:
    """Give the shares of SELL, HOLD, BUY, shape (3,)."""
    return np.bincount(labels, minlength=3).astype(np.float64) / max(len(labels), 1)


def prior_losses(shares: FloatArray, labels: IntArray) -> FloatArray:
    """Give the loss of each row had the shares been the forecast."""
    losses: FloatArray = -np.log(np.maximum(shares, _FLOOR))[labels]
    return losses


def skill(losses: FloatArray, prior: FloatArray, day: IntArray, *, seed: int, draws: int = 1000) -> Estimate:
    """Give 1 - loss / prior loss with the two-sided 90 % interval of a day-block bootstrap.

    The lower bound is the one-sided 95 % bound. `day` numbers the block of each row.
    """
    weights = day_draws(day, seed=seed, draws=draws)
    own, base = _day_sums(losses, day), _day_sums(prior, day)
    spread = 1.0 - (weights @ own) / (weights @ base)
    low, high = np.quantile(spread, (0.05, 0.95))
    return Estimate(float(1.0 - losses.sum() / prior.sum()), float(low), float(high))


def day_draws(day: IntArray, *, seed: int, draws: int) -> FloatArray:
    """Give how often each day block is drawn in each bootstrap sample, shape (draws, n_days)."""
    count = len(np.unique(day))
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=draws).astype(np.float64)


def class_scores(probabilities: FloatArray, labels: IntArray) -> Mapping[str, ClassScore]:
    """Give precision, recall and F1 of the most likely class."""
    matrix = confusion(probabilities, labels)
    said, true = matrix.sum(axis=0), matrix.sum(axis=1)
    return {name: _class_score(matrix[i, i], said[i], true[i], len(labels)) for i, name in enumerate(CLASS_NAMES)}


def confusion(probabilities: FloatArray, labels: IntArray) -> IntArray:
    """Give counts by true class (rows) and most likely class (columns), shape (3, 3)."""
    matrix = np.zeros((3, 3), dtype=np.int64)
    np.add.at(matrix, (labels, probabilities.argmax(axis=1)), 1)
    return matrix


def accuracy(probabilities: FloatArray, labels: IntArray) -> float:
    """Give the share of rows whose most likely class is the true one."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def calibration_error(probabilities: FloatArray, labels: IntArray, *, bins: int = 10) -> float:
    """Give the class-wise expected calibration error over `bins` bins of equal count, averaged over classes."""
    return float(np.mean([_class_ece(probabilities[:, i], labels == i, bins) for i in range(3)]))


def calibration_floor(probabilities: FloatArray, *, seed: int, bins: int = 10, draws: int = 20) -> float:
    """Give the calibration error a perfect model would show on as many rows, by drawing labels from it."""
    generator = np.random.default_rng(seed)
    edges = np.cumsum(probabilities, axis=1)[:, :2]
    errors = []
    for _ in range(draws):
        labels = (generator.random((len(probabilities), 1)) > edges).sum(axis=1)
        errors.append(calibration_error(probabilities, labels, bins=bins))
    return float(np.mean(errors))


def direction_auc(score: FloatArray, labels: IntArray) -> float:
    """Give the chance that a BUY row scores above a SELL row; NaN without both."""
    up, down = score[labels == 2], score[labels == 0]
    if not (len(up) and len(down)):
        return float("nan")
    order = np.argsort(np.concatenate((up, down)), kind="stable")
    merged = np.concatenate((up, down))[order]
    _, first, counts = np.unique(merged, return_index=True, return_counts=True)
    ranks = np.empty(len(merged))
    ranks[order] = np.repeat(first + (counts + 1) / 2.0, counts)
    return float((ranks[: len(up)].sum() - len(up) * (len(up) + 1) / 2.0) / (len(up) * len(down)))


def without_overlap(enter: IntArray, t0: IntArray, t1: IntArray) -> IntArray:
    """Give the entries left when one is only made after the trade before it has ended; `enter` in time order."""
    taken: list[int] = []
    free_at = -1
    for row in enter:
        if t0[row] >= free_at:
            taken.append(int(row))
            free_at = int(t1[row])
    return np.array(taken, dtype=np.int64)


def money(
    enter: IntArray,
    trade_gross: FloatArray,
    span: tuple[IntArray, IntArray],
    *,
    round_trip: float,
    seed: int,
    luck: Luck = UNTUNED,
) -> MoneyFigures:
    """Give net figures of entering at rows `enter`, one trade at a time, against random entries at the same rate.

    `span` = (t0, t1_trade) of all rows in ms; a row whose trade would overlap the one before is skipped. `luck` says
    how many trials the forecast was chosen from.
    """
    t0, t1 = span
    taken = without_overlap(enter, t0, t1)
    net = trade_gross[taken] - round_trip
    random_mean, random_p = _random_entries(len(taken), trade_gross - round_trip, net, seed=seed)
    years = max((int(t0[-1]) - int(t0[0])) / 31_557_600_000, 1e-9)
    curve = np.cumsum(net)
    return MoneyFigures(
        trades=len(taken),
        gross_return=_mean(trade_gross[taken]),
        net_return=_mean(net),
        net_total=float(net.sum()),
        sharpe_net=_ratio(net, net, years),
        sortino_net=_ratio(net, np.minimum(net, 0.0), years),
        max_drawdown=float((np.maximum.accumulate(np.maximum(curve, 0.0)) - curve).max(initial=0.0)),
        turnover=2.0 * len(taken) / (years * 365.25),
        random_entry_net=random_mean,
        random_entry_p=random_p,
        dsr=sharpe_probability(net, luck),
        win_rate=_mean((net > 0.0).astype(np.float64)),
    )


def _class_score(hits: int, said: int, true: int, rows: int) -> ClassScore:
    precision = float(hits / said) if said else 0.0
    recall = float(hits / true) if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return ClassScore(precision, recall, f1, float(true / rows))


def _class_ece(probability: FloatArray, hit: FloatArray, bins: int) -> float:
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, bins)
    gaps = [abs(probability[part].mean() - hit[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(probability))


def _day_sums(values: FloatArray, day: IntArray) -> FloatArray:
    _, index = np.unique(day, return_inverse=True)
    sums: FloatArray = np.bincount(index, weights=values).astype(np.float64)
    return sums


def _random_entries(
    count: int, net_all: FloatArray, net: FloatArray, *, seed: int, runs: int = 200
) -> tuple[float, float]:
    """Give the mean net return of `count` random entries and the share of runs at least as good as ours."""
    if count == 0:
        return 0.0, 1.0
    generator = np.random.default_rng(seed)
    means = generator.choice(net_all, size=(runs, count)).mean(axis=1)
    return float(means.mean()), float((1 + (means >= net.mean()).sum()) / (runs + 1))


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _ratio(net: FloatArray, risk: FloatArray, years: float) -> float:
    """Give mean over deviation per trade, scaled by the root of the trades a year; 0 under two trades."""
    if len(net) < 2:
        return 0.0
    deviation = float(net.std(ddof=1)) if risk is net else float(np.sqrt((risk**2).mean()))
    return float(net.mean() / deviation * np.sqrt(len(net) / years)) if deviation > 0 else 0.0

"""The vote: weights on the simplex fitted on held-out calibrated rows, and who may take part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from data_manager.bars import FloatArray, IntArray
from ml_engine.inference import mixture
from ml_engine.metrics import log_loss


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a member votes, and what the select block said: its own loss and the mixture's without and with it."""

    member: str
    admitted: bool
    log_loss: float
    loss_without: float
    loss_with: float
    reason: str


def fit_weights(
    probabilities: Mapping[str, FloatArray], labels: IntArray, *, shrink_to_equal: float
) -> dict[str, float]:
    """Give weights >= 0 summing to 1 that minimise the mixture's log-loss, moved towards equal by `shrink_to_equal`.

    The share of each row's true class is linear in the weights, so the loss is convex and has one minimum.
    """
    names = sorted(probabilities)
    if len(names) == 1:
        return {names[0]: 1.0}
    rows = np.arange(len(labels))
    chosen = np.stack([probabilities[name][rows, labels] for name in names], axis=1)
    equal = np.full(len(names), 1.0 / len(names))
    best = _simplex_minimum(chosen, equal)
    blended = (1.0 - shrink_to_equal) * best + shrink_to_equal * equal
    blended = blended / blended.sum()
    return {name: float(weight) for name, weight in zip(names, blended, strict=True)}


def admit(
    probabilities: Mapping[str, FloatArray], labels: IntArray, weights: Mapping[str, float], *, prior_loss: float
) -> list[Admission]:
    """Judge each member on the select block: it must beat the prior, and leaving it out must worsen the mixture.

    Members leave one at a time, the one the vote misses least first; the others keep their proportions.
    """
    verdicts: dict[str, Admission] = {}
    voting = dict(weights)
    for name in sorted(weights):
        own = log_loss(probabilities[name], labels)
        if own >= prior_loss:
            reason = f"log-loss {own:.4f} does not beat the class shares' {prior_loss:.4f}"
            verdicts[name] = Admission(name, False, own, own, own, reason)
            del voting[name]
    while voting:
        judged = [_judge(name, probabilities, labels, voting) for name in sorted(voting)]
        least = min(judged, key=lambda verdict: verdict.loss_without)
        if len(voting) == 1 or least.loss_without > least.loss_with:
            return sorted([*verdicts.values(), *judged], key=lambda verdict: verdict.member)
        reason = f"the vote is no worse without it ({least.loss_without:.4f} against {least.loss_with:.4f})"
        verdicts[least.member] = replace(least, admitted=False, reason=reason)
        del voting[least.member]
    return [verdicts[name] for name in sorted(verdicts)]


def admitted_names(verdicts: Sequence[Admission]) -> list[str]:
    """Give the members that vote; when all were refused, the one with the smallest loss alone."""
    names = [verdict.member for verdict in verdicts if verdict.admitted]
    return names or [min(verdicts, key=lambda verdict: verdict.log_loss).member]


def _judge(
    name: str, probabilities: Mapping[str, FloatArray], labels: IntArray, voting: Mapping[str, float]
) -> Admission:
    own = log_loss(probabilities[name], labels)
    with_all = log_loss(mixture(probabilities, voting), labels)
    rest = {other: weight for other, weight in voting.items() if other != name and weight > 0.0}
    without = log_loss(mixture(probabilities, rest), labels) if rest else float("inf")
    return Admission(name, True, own, without, with_all, "admitted")


def _simplex_minimum(chosen: FloatArray, start: FloatArray) -> FloatArray:
    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        mixed = np.maximum(chosen @ weights, 1e-15)
        return float(-np.log(mixed).mean()), -(chosen / mixed[:, None]).mean(axis=0)

    found = minimize(
        loss,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(start),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones_like(w)},
    )
    clipped = np.clip(found.x if found.success else start, 0.0, 1.0)
    result: FloatArray = clipped / clipped.sum()
    return result

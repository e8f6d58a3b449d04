"""Weights of the vote and admission to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_engine.ensemble import admit, admitted_names, fit_weights
from ml_engine.inference import mixture
from ml_engine.metrics import class_shares, log_loss, prior_losses


def three_members(rows: int = 2_000, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two members that each know half of the truth, and one that knows nothing."""
    generator = np.random.default_rng(seed)
    left, right = generator.normal(size=(2, rows))
    logits = np.stack([-left - right, np.full(rows, 0.5), left + right], axis=1)
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (generator.random((rows, 1)) > np.cumsum(true, axis=1)[:, :2]).sum(axis=1)
    halves = [np.exp(np.stack([-part, np.full(rows, 0.4), part], axis=1)) for part in (left, right)]
    noise = generator.dirichlet((0.5, 0.5, 0.5), rows)
    members = dict(
        zip(("lgb", "xgb", "rf"), [half / half.sum(axis=1, keepdims=True) for half in halves] + [noise], strict=True)
    )
    return members, labels


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), shrink=st.floats(0.0, 1.0))
def test_weights_lie_on_the_simplex_and_no_closer_to_zero_than_the_shrinkage(seed: int, shrink: float) -> None:
    members, labels = three_members(200, seed)
    weights = fit_weights(members, labels, shrink_to_equal=shrink)
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-9)
    assert min(weights.values()) >= shrink / 3 - 1e-9


def test_fitted_weights_are_no_worse_than_equal_ones_on_their_rows() -> None:
    members, labels = three_members()
    weights = fit_weights(members, labels, shrink_to_equal=0.0)
    equal = dict.fromkeys(members, 1 / 3)
    assert log_loss(mixture(members, weights), labels) < log_loss(mixture(members, equal), labels)
    assert weights["rf"] < 0.01


def test_full_shrinkage_gives_equal_weights() -> None:
    members, labels = three_members()
    assert list(fit_weights(members, labels, shrink_to_equal=1.0).values()) == pytest.approx([1 / 3] * 3)


def test_a_member_that_knows_nothing_is_not_admitted_and_the_reason_is_said() -> None:
    members, labels = three_members()
    prior = float(prior_losses(class_shares(labels), labels).mean())
    verdicts = {item.member: item for item in admit(members, labels, dict.fromkeys(members, 1 / 3), prior_loss=prior)}
    assert [name for name, item in sorted(verdicts.items()) if item.admitted] == ["lgb", "xgb"]
    assert "does not beat the class shares" in verdicts["rf"].reason


def test_a_member_the_vote_is_no_worse_without_is_not_admitted() -> None:
    members, labels = three_members()
    blurred = {**members, "rf": 0.5 * members["lgb"] + 0.5 / 3}
    verdicts = {item.member: item for item in admit(blurred, labels, dict.fromkeys(blurred, 1 / 3), prior_loss=9.0)}
    assert not verdicts["rf"].admitted
    assert "no worse without it" in verdicts["rf"].reason


def test_of_members_that_are_all_alike_one_stays() -> None:
    members, labels = three_members()
    alike = dict.fromkeys(("lgb", "rf", "xgb"), members["lgb"])
    verdicts = admit(alike, labels, dict.fromkeys(alike, 1 / 3), prior_loss=9.0)
    assert len(admitted_names(verdicts)) == 1


def test_when_nobody_is_admitted_the_best_speaks_alone() -> None:
    members, labels = three_members()
    verdicts = admit(members, labels, dict.fromkeys(members, 1 / 3), prior_loss=0.0)
    assert not any(verdict.admitted for verdict in verdicts)
    best = min(members, key=lambda name: log_loss(members[name], labels))
    assert admitted_names(verdicts) == [best]

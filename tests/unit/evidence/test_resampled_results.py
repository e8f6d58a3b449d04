from __future__ import annotations

import itertools

import numpy as np
import pytest
from proof_builders import a_book, a_trade

from evidence.resampling import bootstrap, shuffled_trades, stationary_indices

DAILY = tuple(float(value) for value in np.random.default_rng(1).normal(0.001, 0.01, 120))


def test_days_follow_one_another_in_blocks_of_the_wanted_mean_length() -> None:
    places = stationary_indices(100, 5, draws=400, seed=3)
    follows = np.diff(places, axis=1) % 100 == 1
    assert places.shape == (400, 100)
    assert (places >= 0).all()
    assert (places < 100).all()
    assert 1 / (1 - follows.mean()) == pytest.approx(5, rel=0.1)


def test_blocks_of_one_day_are_independent_days() -> None:
    follows = np.diff(stationary_indices(50, 1, draws=400, seed=3), axis=1) % 50 == 1
    assert follows.mean() == pytest.approx(1 / 50, abs=0.005)


def test_the_interval_holds_what_happened_and_is_as_wide_as_theory_says() -> None:
    found = bootstrap(DAILY, seed=7, block_days=1)
    assert found.total_return is not None
    assert found.total_return.low < np.prod(1 + np.array(DAILY)) - 1 < found.total_return.high
    logs = np.log1p(np.array(DAILY))
    low, high = (np.expm1(logs.sum() + z * logs.std() * np.sqrt(120)) for z in (-1.645, 1.645))
    assert found.total_return.low == pytest.approx(low, abs=0.02)
    assert found.total_return.high == pytest.approx(high, abs=0.02)


def test_the_share_of_losing_resamples_is_told() -> None:
    assert bootstrap([0.01] * 10, seed=1).loss_share == 0
    assert bootstrap([-0.01, -0.02] * 10, seed=1).loss_share == 1


def test_constant_days_have_no_sharpe_ratio() -> None:
    found = bootstrap([0.0] * 20, seed=1)
    assert found.sharpe_ratio is not None
    assert (found.sharpe_ratio.low, found.sharpe_ratio.high) == (0, 0)


def test_one_seed_gives_one_bootstrap() -> None:
    assert bootstrap(DAILY, seed=7) == bootstrap(DAILY, seed=7)
    assert bootstrap(DAILY, seed=7) != bootstrap(DAILY, seed=8)


def test_nine_days_are_too_few_and_ten_enough() -> None:
    few = bootstrap(DAILY[:9], seed=1)
    assert few.total_return is None
    assert few.why == "9 days are too few, 10 are needed"
    assert bootstrap(DAILY[:10], seed=1).why is None
    assert bootstrap((), seed=1).why is not None


def test_shuffled_trades_agree_with_all_orders() -> None:
    results = [30.0, -50.0, 40.0, -20.0, 10.0]
    book = a_book(("100", "110"), closed=[a_trade(str(value)) for value in results])

    def drawdown(order: tuple[float, ...]) -> float:
        path = 100 + np.concatenate(([0.0], np.cumsum(order)))
        return float((1 - path / np.maximum.accumulate(path)).max())

    orders = [drawdown(order) for order in itertools.permutations(results)]
    found = shuffled_trades(book, seed=2, draws=4_000)
    assert found.actual == pytest.approx(drawdown(tuple(results)))
    assert found.median == pytest.approx(np.median(orders), abs=0.02)
    assert found.quantile_95 == pytest.approx(np.quantile(orders, 0.95), abs=0.02)


def test_four_trades_are_too_few_to_shuffle() -> None:
    found = shuffled_trades(a_book(closed=[a_trade()] * 4), seed=1)
    assert (found.actual, found.quantile_95) == (None, None)
    assert found.why == "4 trades are too few, 5 are needed"
    assert shuffled_trades(a_book(closed=[a_trade()] * 5), seed=1).quantile_95 == 0

"""A bundle that does worse than it promised is told, once; bad luck and few trades are not."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import accumulate

import numpy as np
import pytest

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import Symbol
from monitoring.performance_decay import (
    DecayWatch,
    Promise,
    Service,
    ServiceRecord,
    chance_of_at_most,
    decays,
)

AT = datetime(2024, 3, 4, tzinfo=timezone.utc)
BTC, ETH = Symbol("BTC/USDC"), Symbol("ETH/USDC")
WORSE_BY = 0.15
HALF = tuple((0.5, place % 2 == 0) for place in range(200))


class Told:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def offer(self, alert: Alert) -> None:
        self.alerts.append(alert)


def returns(wins: int, losses: int) -> tuple[float, ...]:
    return (0.01,) * wins + (-0.01,) * losses


def a_service(version: int = 1, *, wins: int = 5, losses: int = 45, symbol: Symbol = BTC) -> Service:
    return Service(symbol, version, Promise(win_rate=0.6), ServiceRecord(returns=returns(wins, losses)))


@pytest.mark.parametrize(
    ("ratio", "days", "told"),
    [(1.12699, 5.0, False), (1.12701, 5.0, True), (1.3, 4.99, False), (None, 9.0, False)],
)
def test_the_log_loss_counts_beyond_the_margin_after_enough_days(ratio: float | None, days: float, told: bool) -> None:
    found = decays(Promise(loss_ratio=0.98), ServiceRecord(ratio, days, HALF), WORSE_BY)
    assert bool(found) is told


def test_the_log_loss_of_a_few_predictions_says_nothing() -> None:
    assert decays(Promise(loss_ratio=0.98), ServiceRecord(2.0, 30.0, HALF[:99]), WORSE_BY) == ()


@pytest.mark.parametrize(
    ("wins", "losses", "told"),
    [(0, 19, False), (3, 17, True), (5, 15, True), (6, 14, False), (20, 30, False), (17, 33, True), (30, 20, False)],
)
def test_a_win_rate_counts_only_where_chance_would_hardly_be_so_unkind(wins: int, losses: int, told: bool) -> None:
    found = decays(Promise(win_rate=0.6), ServiceRecord(returns=returns(wins, losses)), WORSE_BY)
    assert bool(found) is told


def test_only_the_newest_trades_count() -> None:
    long_ago = returns(0, 200)
    assert decays(Promise(win_rate=0.6), ServiceRecord(returns=(*long_ago, *returns(30, 20))), WORSE_BY) == ()


def test_an_expectancy_far_below_the_promised_one_is_told() -> None:
    generator = np.random.default_rng(3)
    promise = Promise(net_return=0.004)
    bad = tuple(generator.normal(-0.002, 0.008, 60).tolist())
    (text,) = decays(promise, ServiceRecord(returns=bad), WORSE_BY)
    assert text.startswith("expectancy -")
    assert decays(promise, ServiceRecord(returns=bad[:19]), WORSE_BY) == ()
    fair = tuple(generator.normal(0.004, 0.008, 60).tolist())
    assert decays(promise, ServiceRecord(returns=fair), WORSE_BY) == ()


def test_probabilities_that_do_not_come_true_are_told() -> None:
    rarely = tuple((0.5, place % 4 == 0) for place in range(200))
    (text,) = decays(Promise(), ServiceRecord(forecasts=rarely), WORSE_BY)
    assert text == "calibration: BUY came in 25.0% of 200 bars, 50.0% were promised"
    assert decays(Promise(), ServiceRecord(forecasts=rarely[:99]), WORSE_BY) == ()
    assert decays(Promise(), ServiceRecord(forecasts=HALF), WORSE_BY) == ()


def test_a_bundle_that_keeps_its_promise_is_hardly_ever_told_however_often_it_is_looked_at() -> None:
    generator = np.random.default_rng(11)
    alarmed = 0
    for _ in range(60):
        results = np.where(generator.random(150) < 0.55, 0.012, -0.01).tolist()
        promise = Promise(win_rate=0.55, net_return=0.55 * 0.012 - 0.45 * 0.01)
        alarmed += any(
            decays(promise, ServiceRecord(returns=results[:end]), WORSE_BY) for end in range(20, len(results))
        )
    assert alarmed <= 5


def test_a_bundle_that_lost_its_edge_is_told_within_a_hundred_trades() -> None:
    generator = np.random.default_rng(12)
    found = 0
    for _ in range(20):
        results = np.where(generator.random(100) < 0.3, 0.012, -0.01).tolist()
        record = [ServiceRecord(returns=results[:end]) for end in range(20, 101)]
        found += any(decays(Promise(win_rate=0.6), item, WORSE_BY) for item in record)
    assert found >= 19


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_binomial_chances_rise_to_one(rate: float) -> None:
    chances = [chance_of_at_most(wins, 12, rate) for wins in range(13)]
    assert chances[-1] == 1.0
    assert list(accumulate(chances, max)) == pytest.approx(chances)


def test_binomial_chances_are_exact() -> None:
    assert chance_of_at_most(2, 4, 0.25) == pytest.approx(0.75**4 + 4 * 0.25 * 0.75**3 + 6 * 0.25**2 * 0.75**2)


def test_people_are_told_once_and_again_when_it_is_over() -> None:
    told = Told()
    watch = DecayWatch(told, WORSE_BY)
    for minute in range(3):
        watch.look([a_service()], AT + timedelta(minutes=minute))
    (alert,) = told.alerts
    assert (alert.level, alert.key, alert.symbol) == (AlertLevel.WARNING, "performance_decay:BTC/USDC", BTC)
    assert alert.title == "bundle 1 of BTC/USDC does worse than it promised"
    assert alert.why == "win rate 10% of the last 50 trades, promised 60%"
    assert "bnml-trainer --symbol BTC/USDC" in alert.next_action
    watch.look([a_service(wins=30, losses=20)], AT + timedelta(hours=1))
    assert [item.ends for item in told.alerts] == [False, True]


def test_a_bundle_taken_out_of_service_closes_its_incident() -> None:
    told = Told()
    watch = DecayWatch(told, WORSE_BY)
    watch.look([a_service(), a_service(symbol=ETH)], AT)
    watch.look([a_service(symbol=ETH)], AT)
    assert [(item.symbol, item.ends) for item in told.alerts] == [(BTC, False), (ETH, False), (BTC, True)]


def test_a_new_version_that_is_bad_too_is_told_anew() -> None:
    told = Told()
    watch = DecayWatch(told, WORSE_BY)
    watch.look([a_service(1)], AT)
    watch.look([a_service(2)], AT)
    assert [item.title for item in told.alerts] == [
        "bundle 1 of BTC/USDC does worse than it promised",
        "bundle 2 of BTC/USDC does worse than it promised",
    ]

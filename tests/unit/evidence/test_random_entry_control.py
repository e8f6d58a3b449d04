from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import cache

import numpy as np
import pytest
from proof_builders import a_book, a_trade
from scipy import stats

from bn_ml.domain.market import Symbol, from_ms, to_ms
from bn_ml.domain.positions import Position
from bn_ml.settings import Settings
from data_manager.bars import Bars, FloatArray, IntArray
from evidence.book import Book
from evidence.clustering import clustered_mean
from evidence.possible_trades import gross_returns, possible_rows
from evidence.random_entry import random_entry
from ml_engine.labeling import DynamicLabeler
from tests.fakes.bar_builders import BTC, START, some_bars
from trader.performance import EquityPoint

ETH = Symbol("ETH/USDC")
SETTINGS = Settings()
DAYS = 12


def market(*symbols: Symbol) -> Mapping[Symbol, Bars]:
    return {symbol: some_bars(DAYS * 96, symbol=symbol, seed=place) for place, symbol in enumerate(symbols)}


BARS = market(BTC, ETH)
SPAN = (to_ms(START), to_ms(START + timedelta(days=DAYS)))


@cache
def possible(symbol: Symbol) -> tuple[IntArray, FloatArray]:
    rows = possible_rows(BARS[symbol], SETTINGS, SPAN)
    return rows, gross_returns(BARS[symbol], SETTINGS, rows)


def entered(symbol: Symbol, places: Sequence[int] | IntArray) -> list[Position]:
    """Trades entered after the possible rows at `places`, free of slippage, that paid 0.2 % in fees."""
    rows, gross = possible(symbol)
    found = []
    for place in places:
        row = int(rows[place])
        at = from_ms(int(BARS[symbol].close_time[row]))
        trade = a_trade(f"{100 * gross[place] - 0.2:.10f}", symbol=symbol, at=at)
        found.append(replace(trade, entry_price=Decimal(str(BARS[symbol].open[row + 1]))))
    return found


def book_of(closed: Sequence[Position]) -> Book:
    curve = (EquityPoint(START, Decimal(1000)), EquityPoint(START + timedelta(days=DAYS), Decimal(1000)))
    return replace(a_book(closed=closed), curve=curve)


def test_possible_trades_are_those_of_the_labels() -> None:
    bars = BARS[BTC].take(np.r_[0:500, 510 : len(BARS[BTC])])
    labels = DynamicLabeler(SETTINGS, max_gap_bars=SETTINGS.data.max_gap_bars).label(bars)
    labelled = np.flatnonzero(np.isfinite(labels.trade_gross))
    rows = possible_rows(bars, SETTINGS, SPAN)
    assert np.array_equal(rows[rows >= labelled[0]], labelled)
    assert np.array_equal(gross_returns(bars, SETTINGS, labelled), labels.trade_gross[labelled])


def test_possible_trades_lie_in_the_span_alone() -> None:
    span = (int(BARS[BTC].close_time[300]), int(BARS[BTC].close_time[310]))
    assert possible_rows(BARS[BTC], SETTINGS, span).tolist() == list(range(300, 310))
    assert len(possible_rows(BARS[BTC].rows(0, 0), SETTINGS, SPAN)) == 0
    assert len(possible_rows(BARS[BTC].rows(0, 20), SETTINGS, SPAN)) == 0


def test_perfect_entries_reach_the_smallest_p_value() -> None:
    closed = [trade for symbol in (BTC, ETH) for trade in entered(symbol, np.argsort(-possible(symbol)[1])[:60:3])]
    found = random_entry(book_of(closed), BARS, SETTINGS, runs=200, seed=1)
    assert found.p_value == 1 / 201
    assert found.trades == 40
    assert found.actual is not None
    assert found.control_high is not None
    assert found.actual > found.control_high
    assert found.cost == pytest.approx(0.002)


def test_worst_entries_reach_the_largest_p_value() -> None:
    closed = entered(BTC, np.argsort(possible(BTC)[1])[:20])
    found = random_entry(book_of(closed), BARS, SETTINGS, runs=200, seed=1)
    assert found.p_value == 1


def test_the_control_has_the_mean_of_all_possible_trades_less_costs() -> None:
    closed = [*entered(BTC, range(0, 300, 10)), *entered(ETH, range(0, 100, 10))]
    found = random_entry(book_of(closed), BARS, SETTINGS, runs=2000, seed=1)
    expected = (30 * possible(BTC)[1].mean() + 10 * possible(ETH)[1].mean()) / 40 - 0.002
    spread = np.sqrt(30 * possible(BTC)[1].var() + 10 * possible(ETH)[1].var()) / 40
    assert found.control_mean == pytest.approx(expected, abs=4 * spread / np.sqrt(2000))
    assert found.control_low == pytest.approx(expected - 1.645 * spread, abs=0.3 * spread)
    assert found.control_high == pytest.approx(expected + 1.645 * spread, abs=0.3 * spread)
    assert found.excess is not None
    assert found.actual is not None
    assert found.excess.mean == pytest.approx(found.actual - expected)


def test_random_entries_give_evenly_spread_p_values() -> None:
    generator = np.random.default_rng(11)
    bars = {BTC: BARS[BTC].rows(0, 400)}
    rows = possible_rows(bars[BTC], SETTINGS, SPAN)
    found = []
    for seed in range(40):
        closed = entered(BTC, generator.integers(0, len(rows), 25))
        p_value = random_entry(book_of(closed), bars, SETTINGS, runs=99, seed=seed).p_value
        assert p_value is not None
        found.append(p_value)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0.35 < np.mean(found) < 0.65


def test_one_seed_gives_one_control() -> None:
    book = book_of(entered(BTC, range(0, 200, 10)))
    first, again, other = (random_entry(book, BARS, SETTINGS, runs=50, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.control_mean != other.control_mean


def test_an_entry_above_the_open_is_a_cost_of_the_control_too() -> None:
    closed = [replace(trade, entry_price=trade.entry_price * Decimal("1.001")) for trade in entered(BTC, range(20))]
    found = random_entry(book_of(closed), BARS, SETTINGS, runs=10, seed=1)
    assert found.cost == pytest.approx(0.003)


def test_dust_is_a_cost_of_the_control_too() -> None:
    trade = entered(BTC, [5])[0]
    dusty = replace(trade, dust_quantity=Decimal("0.001"))
    found = random_entry(book_of([dusty] * 3), BARS, SETTINGS, runs=10, seed=1)
    assert found.cost == pytest.approx(0.002 + 0.001 * float(trade.legs[-1].price) / 100)


def test_an_entry_in_a_hole_or_without_a_price_paid_costs_what_is_known() -> None:
    trades = entered(BTC, range(10))
    unseen = [replace(trade, opened_at=START - timedelta(days=1)) for trade in trades]
    free = [replace(trade, cost_quote=Decimal(0)) for trade in trades]
    assert random_entry(book_of(unseen), BARS, SETTINGS, runs=10, seed=1).cost == pytest.approx(0.002)
    assert random_entry(book_of(free), BARS, SETTINGS, runs=10, seed=1).cost == 0


def test_a_sample_of_the_possible_entries_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    book = book_of(entered(BTC, range(0, 600, 20)))
    full = random_entry(book, BARS, SETTINGS, runs=400, seed=1)
    monkeypatch.setattr("evidence.random_entry.MOST_FOLLOWED", 300)
    monkeypatch.setattr("evidence.random_entry.FEWEST_FOLLOWED", 200)
    sampled = random_entry(book, BARS, SETTINGS, runs=400, seed=1)
    error = 4 * float(possible(BTC)[1].std()) / np.sqrt(300)
    assert sampled != full
    assert full.control_mean is not None
    assert sampled.control_mean == pytest.approx(full.control_mean, abs=error)


def test_symbols_without_bars_are_left_out_and_counted() -> None:
    closed = [*entered(BTC, range(10)), *entered(ETH, range(4))]
    found = random_entry(book_of(closed), {BTC: BARS[BTC]}, SETTINGS, runs=10, seed=1)
    assert (found.trades, found.left_out) == (10, 4)


@pytest.mark.parametrize(
    ("closed", "bars", "runs", "why"),
    [
        ([], BARS, 10, "no trade was closed"),
        ([a_trade(symbol=BTC)], {}, 10, "no bars of the traded symbols allow a random entry in the period"),
        ([a_trade(symbol=BTC)], {BTC: BARS[BTC].rows(0, 40)}, 10, "no bars of the traded symbols"),
        ([a_trade(symbol=BTC, at=START + timedelta(days=3))], BARS, 0, "no run was asked for"),
    ],
)
def test_nothing_to_test_says_why_and_makes_up_no_p_value(
    closed: list[Position], bars: Mapping[Symbol, Bars], runs: int, why: str
) -> None:
    found = random_entry(book_of(closed), bars, SETTINGS, runs=runs, seed=1)
    assert found.p_value is None
    assert found.strict_p_value is None
    assert found.why is not None
    assert found.why.startswith(why)


def test_trades_of_one_day_count_as_one_bunch() -> None:
    closed = entered(BTC, np.argsort(-possible(BTC)[1])[:20])
    bunched = [replace(trade, opened_at=START + timedelta(days=3)) for trade in closed]
    found = random_entry(book_of(bunched), BARS, SETTINGS, runs=50, seed=1)
    assert found.excess is not None
    assert (found.excess.clusters, found.excess.p_value, found.strict_p_value) == (1, None, None)


def test_the_strict_p_value_is_the_larger_one() -> None:
    found = random_entry(book_of(entered(BTC, range(0, 600, 20))), BARS, SETTINGS, runs=50, seed=1)
    assert found.excess is not None
    assert found.strict_p_value == max(found.p_value or 0, found.excess.p_value or 0)


def test_the_clustered_error_equals_a_plain_one_for_clusters_of_one() -> None:
    values = np.random.default_rng(2).normal(0.1, 1, 50)
    found = clustered_mean(values, np.arange(50))
    expected = stats.ttest_1samp(values, 0, alternative="greater")
    assert found.t == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_repeating_every_value_in_its_cluster_proves_nothing_more() -> None:
    values = np.random.default_rng(2).normal(0.1, 1, 50)
    once = clustered_mean(values, np.arange(50))
    often = clustered_mean(np.repeat(values, 8), np.repeat(np.arange(50), 8))
    assert (often.t, often.clusters) == (pytest.approx(once.t), 50)


def test_four_clusters_are_too_few_and_five_enough() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 6.0])
    assert clustered_mean(values[:4], np.arange(4)).t is None
    assert clustered_mean(values, np.arange(5)).t is not None
    assert clustered_mean(np.ones(9), np.arange(9)).p_value is None

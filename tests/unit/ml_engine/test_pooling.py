"""A young symbol learns from all symbols, and nothing of its own future or theirs gets into the fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import Symbol
from bn_ml.settings import RiskSettings
from ml_engine.balancing import smote
from ml_engine.dataset import Dataset
from ml_engine.pooling import MOST_DONORS, YOUNG_DAYS, is_young, own_lessons, pooled_lessons
from ml_engine.trainer import EnsembleTrainer
from ml_engine.training_data import BASE, TrainingMarket
from ml_engine.validation import Purge, split_blocks
from tests.fakes.feature_market import walk
from tests.fakes.training_builders import a_model, a_sample, planted_rows

PURGE = Purge(12 * BASE.ms, 20 * BASE.ms)
DAY_ROWS = 96


def donor(name: str, *, count: int = 4_000, seed: int = 7, later_rows: int = 0) -> Dataset:
    data = replace(planted_rows(count, seed=seed), symbol=Symbol(f"{name}/USDC"))
    shift = later_rows * BASE.ms
    return replace(data, t0=data.t0 + shift, t1=data.t1 + shift, t1_trade=data.t1_trade + shift)


@pytest.mark.parametrize(("days", "young"), [(YOUNG_DAYS, True), (YOUNG_DAYS + 1, False)])
def test_half_a_year_of_rows_is_no_longer_young(days: int, young: bool) -> None:
    assert is_young(planted_rows(days * DAY_ROWS, seed=1)) == young


@settings(max_examples=25, deadline=None)
@given(st.integers(900, 3_000), st.integers(-2_000, 2_000), st.integers(1, 20), st.integers(0, 3))
def test_no_outcome_of_a_row_that_grows_members_reaches_the_calibrate_block(
    count: int, later: int, horizon: int, seed: int
) -> None:
    own = planted_rows(count, seed=seed)
    blocks = split_blocks(own.t0, own.t1, train_ratio=0.7, purge=PURGE)
    known = int(own.t1.max()) + 1
    lessons = pooled_lessons(
        own, blocks, [donor("AAA", later_rows=later), donor("BBB")], purge=PURGE, horizon=horizon, known_ms=known
    )
    data = lessons.data
    assert (np.diff(data.t0) >= 0).all()
    assert (data.t1[lessons.train] + PURGE.embargo_ms < blocks.calibrate.first_t0).all()
    assert (data.t1[lessons.vote_blocks.calibrate.rows] + PURGE.embargo_ms < blocks.select.first_t0).all()
    assert (data.t0[lessons.vote_blocks.calibrate.rows] >= blocks.calibrate.first_t0).all()
    assert (data.t1 < known).all() or not lessons.donors
    for mine, theirs in zip(blocks, lessons.vote_blocks, strict=True):
        if mine.name in ("select", "report"):
            assert np.array_equal(own.t0[mine.rows], data.t0[theirs.rows])
            assert np.array_equal(own.values[mine.rows], data.values[theirs.rows])


def test_every_own_row_and_every_hth_row_of_the_others_take_part() -> None:
    own = planted_rows(2_000)
    blocks = split_blocks(own.t0, own.t1, train_ratio=0.7, purge=PURGE)
    known = int(own.t1.max()) + 1
    others = [donor("AAA", count=2_000), donor("BBB", count=2_000)]
    lessons = pooled_lessons(own, blocks, others, purge=PURGE, horizon=10, known_ms=known)
    assert lessons.donors == (Symbol("AAA/USDC"), Symbol("BBB/USDC"))
    assert len(lessons.data) == 2_000 + 200 + 200
    times = {int(value) for value in lessons.data.t0}
    assert times >= {int(value) for value in own.t0}
    assert lessons.pooled_vote


def test_a_calibrate_block_that_is_large_enough_stays_the_symbols_own() -> None:
    own = planted_rows(14_000)
    blocks = split_blocks(own.t0, own.t1, train_ratio=0.7, purge=PURGE)
    lessons = pooled_lessons(own, blocks, [donor("AAA")], purge=PURGE, horizon=10, known_ms=int(own.t1.max()) + 1)
    assert not lessons.pooled_vote
    assert len(lessons.vote_blocks.calibrate) == len(blocks.calibrate)


def test_others_with_other_columns_or_too_new_teach_nothing() -> None:
    own = planted_rows(2_000)
    blocks = split_blocks(own.t0, own.t1, train_ratio=0.7, purge=PURGE)
    strange = replace(donor("AAA"), columns=tuple(f"x{place}" for place in range(8)))
    newer = donor("BBB", later_rows=50_000)
    known = int(own.t1.max()) + 1
    lessons = pooled_lessons(own, blocks, [strange, newer], purge=PURGE, horizon=10, known_ms=known)
    assert lessons.data is own
    assert lessons.donors == ()
    assert own_lessons(own, blocks).vote_blocks is blocks


def test_the_order_of_the_others_changes_nothing_and_their_number_is_capped() -> None:
    own = planted_rows(1_500)
    blocks = split_blocks(own.t0, own.t1, train_ratio=0.7, purge=PURGE)
    others = [donor(f"S{number:02d}", count=600, seed=number) for number in range(MOST_DONORS + 3)]
    known = int(own.t1.max()) + 1
    one, two = (
        pooled_lessons(own, blocks, order, purge=PURGE, horizon=10, known_ms=known) for order in (others, others[::-1])
    )
    assert len(one.donors) == MOST_DONORS
    assert np.array_equal(one.data.values, two.data.values)
    assert np.array_equal(one.train, two.train)


def test_a_young_symbol_is_trained_with_the_others_and_an_old_one_alone() -> None:
    names = tuple(map(Symbol, ("AAA/USDC", "BBB/USDC", "CCC/USDC")))
    bars = {name: walk(name, bars=6_000, seed=seed) for seed, name in enumerate(names)}
    market = TrainingMarket(bars, {}, names, names[0], int(bars[names[0]].close_time[-1]))
    keys = {"drift": {"benchmark_symbol": "AAA/USDC"}, "multi_timeframe": {"timeframes": ["1h"]}}
    pooled = EnsembleTrainer(a_model(**keys), RiskSettings(), quick=True).train(names[1], market)
    alone = EnsembleTrainer(a_model(pooled_warm_start=False, **keys), RiskSettings(), quick=True).train(
        names[1], market
    )
    assert pooled.lessons is not None
    assert pooled.lessons.donors == (names[0], names[2])
    assert alone.lessons is not None
    assert alone.lessons.donors == ()
    assert len(pooled.blocks.report) == len(alone.blocks.report)
    assert pooled.label_end < pooled.sample.data_end


def test_synthetic_rows_lie_between_rows_of_their_class_and_the_given_ones_stay() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(300, 3))
    values[::17, 2] = np.nan
    labels = np.where(np.arange(300) < 20, 0, np.where(np.arange(300) < 240, 1, 2)).astype(np.int64)
    weights = generator.random(300)
    more, classes, heavier = smote(values, labels, weights, seed=5)
    assert np.bincount(classes).tolist() == [220, 220, 220]
    assert np.array_equal(more[:300], values, equal_nan=True)
    assert np.array_equal(heavier[:300], weights)
    rare = values[labels == 0]
    new = more[300:][classes[300:] == 0]
    assert (new[:, 0] >= rare[:, 0].min()).all()
    assert (new[:, 0] <= rare[:, 0].max()).all()
    again = smote(values, labels, weights, seed=5)
    assert np.array_equal(more, again[0], equal_nan=True)


def test_a_class_of_one_row_cannot_be_filled_up() -> None:
    values = np.arange(12.0).reshape(6, 2)
    _, classes, _ = smote(values, np.array([0, 1, 1, 1, 2, 2]), np.ones(6), seed=1)
    assert np.bincount(classes).tolist() == [1, 3, 3]


def test_balanced_classes_reach_every_fit_and_the_record_says_so() -> None:
    data = planted_rows(4_000, strength=0.5)
    plain, full = (
        EnsembleTrainer(a_model(labeling={"balance": name}), RiskSettings(), quick=True).train_on(a_sample(data))
        for name in ("none", "smote")
    )
    assert full.twin.parameters.balance == "smote"
    rows = data.values[:200]
    assert not np.array_equal(plain.twin.raw(rows)["rf"], full.twin.raw(rows)["rf"])

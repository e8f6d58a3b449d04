"""Which rows and columns are learnt from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bn_ml.errors import ModelError
from ml_engine.dataset import last_continuous, require_enough
from ml_engine.models import make_rows
from ml_engine.selection import select_columns
from tests.fakes.bar_builders import some_bars
from tests.fakes.training_builders import planted_rows


def test_history_before_a_redenomination_is_left_out() -> None:
    bars = some_bars(300)
    prices = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close")}
    for column in prices.values():
        column[:200] *= 1000
    assert len(last_continuous(replace(bars, **prices))) == 100


@pytest.mark.parametrize(("missing", "kept"), [(191, 300), (192, 100)])
def test_history_before_a_hole_of_more_than_two_days_is_left_out(missing: int, kept: int) -> None:
    bars = some_bars(300)
    times = bars.open_time.copy()
    times[200:] += missing * bars.timeframe.ms
    assert len(last_continuous(replace(bars, open_time=times))) == kept


def test_too_few_rows_refuse_the_training() -> None:
    data = planted_rows(2_999)
    with pytest.raises(ModelError, match="2999 labelled rows, at least 3000"):
        require_enough(data, min_rows=3_000)
    require_enough(data, min_rows=2_999)


def test_too_few_independent_rows_refuse_the_training() -> None:
    data = planted_rows(2_000)
    with pytest.raises(ModelError, match="299 independent rows"):
        require_enough(replace(data, uniqueness=np.full(2_000, 299.4 / 2_000)), min_rows=500)
    require_enough(replace(data, uniqueness=np.full(2_000, 0.15001)), min_rows=500)


@pytest.mark.parametrize(("rare", "fine"), [(59, False), (60, True)])
def test_a_class_under_three_percent_refuses_the_training(rare: int, fine: bool) -> None:
    labels = np.ones(2_000, dtype=np.int64)
    labels[:1_000] = 0
    labels[:rare] = 2
    data = replace(planted_rows(2_000), labels=labels)
    if fine:
        require_enough(data, min_rows=500)
    else:
        with pytest.raises(ModelError, match="class shares"):
            require_enough(data, min_rows=500)


def test_of_two_columns_that_rank_alike_the_first_is_kept_and_constants_go() -> None:
    data = planted_rows(3_000)
    values = data.values.copy()
    values[:, 3] = np.exp(values[:, 0])
    values[:, 5] = 7.0
    rows = make_rows(values, data.labels, data.uniqueness)
    assert select_columns([(rows, rows)], limit=50, seed=1) == (0, 1, 2, 4, 6, 7)


def test_the_column_that_carries_the_signal_survives_a_tight_limit() -> None:
    data = planted_rows(4_000)
    fit = make_rows(data.values[:3_000], data.labels[:3_000], data.uniqueness[:3_000])
    test = make_rows(data.values[3_000:], data.labels[3_000:], data.uniqueness[3_000:])
    assert 0 in select_columns([(fit, test)], limit=2, seed=1)


def test_a_column_mostly_unknown_is_not_offered() -> None:
    data = planted_rows(3_000)
    values = data.values.copy()
    values[:1_600, 2] = np.nan
    values[:1_400, 4] = np.nan
    rows = make_rows(values, data.labels, data.uniqueness)
    chosen = select_columns([(rows, rows)], limit=50, seed=1)
    assert 2 not in chosen
    assert 4 in chosen

"""The pandas references of the benchmark compute the same columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from benchmarks.features_reference import AGREEING, naive_columns, tuned_columns
from data_manager.feature_columns import BASE_SPECS
from data_manager.feature_engineer import base_columns
from data_manager.indicators import INDICATORS
from tests.fakes.feature_market import walk

BARS = walk(bars=700, seed=5)
SPECS = [spec for spec in BASE_SPECS if spec.function in INDICATORS]


@pytest.mark.parametrize("reference", [naive_columns, tuned_columns])
def test_a_reference_gives_every_base_column_and_agrees_where_no_seed_enters(
    reference: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    theirs = reference(BARS.to_frame())
    ours = dict(zip([spec.name for spec in SPECS], base_columns(BARS, SPECS).T, strict=True))

    assert set(theirs.columns) == set(ours)
    for name in AGREEING:
        np.testing.assert_allclose(theirs[name].to_numpy()[200:], ours[name][200:], rtol=1e-9, atol=1e-9, err_msg=name)

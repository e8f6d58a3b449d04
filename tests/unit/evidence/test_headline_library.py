"""The headline figures against those of independent libraries, on books drawn by seed."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest
from proof_builders import a_random_book

from evidence.headline import daily_returns, headline, yearly_return

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ffn

DAYS = 365


@pytest.mark.parametrize("seed", range(6))
def test_headline_figures_equal_those_of_libraries(seed: int) -> None:
    book = a_random_book(seed, days=40 + 15 * seed)
    found = headline(book)
    daily = pd.Series(daily_returns(book), dtype=float)
    cycles = pd.Series([float(point.equity) for point in book.curve])
    results = pd.Series([float(position.realized_quote) for position in book.closed])
    costs = pd.Series([float(position.cost_quote) for position in book.closed])
    total, fallen = ffn.calc_total_return(cycles), -ffn.calc_max_drawdown(cycles)
    yearly = ffn.annualize(total, len(daily), one_year=DAYS)
    expected = {
        "total_return": total,
        "max_drawdown": fallen,
        "sharpe_ratio": ffn.calc_sharpe(daily, nperiods=DAYS),
        "sortino_ratio": ffn.calc_sortino_ratio(daily, nperiods=DAYS),
        "calmar_ratio": yearly / fallen,
        "profit_factor": results.where(results > 0).sum() / -results.where(results < 0).sum(),
        "win_rate": results.gt(0).mean(),
        "expectancy": results.mean(),
        "best_trade": results.div(costs).max(),
        "worst_trade": results.div(costs).min(),
        "positive_day_share": daily.gt(0).mean(),
    }
    for name, value in expected.items():
        assert float(getattr(found, name)) == pytest.approx(float(value), rel=1e-9, abs=1e-9), name
    assert yearly_return(found.total_return, len(daily)) == pytest.approx(float(yearly), rel=1e-9)

from __future__ import annotations

import json
import math
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from proof_builders import START, a_book, a_fill, a_random_book, a_trade

from bn_ml.domain.orders import Side
from evidence.headline import calmar, headline, longest_drawdown, yearly_return
from trader.performance import EquityPoint


def test_figures_equal_an_independent_computation() -> None:
    book = a_random_book()
    found = headline(book)
    equity = np.array([float(point.equity) for point in book.curve])
    day = np.array([(point.at - START).days for point in book.curve])
    last = equity[np.flatnonzero(np.diff(day, append=day[-1] + 1))]
    daily = np.diff(np.concatenate((equity[:1], last))) / np.concatenate((equity[:1], last[:-1]))
    steps = np.diff(equity) / equity[:-1]
    wealth = np.concatenate(([1.0], np.cumprod(1 + steps)))
    drawdown = -np.min(wealth / np.maximum.accumulate(wealth) - 1)
    yearly = np.prod(1 + daily) ** (365 / len(daily)) - 1
    result = np.array([float(position.realized_quote) for position in book.closed])
    expected = {
        "total_return": wealth[-1] - 1,
        "max_drawdown": drawdown,
        "win_rate": np.count_nonzero(result > 0) / result.size,
        "sharpe_ratio": np.mean(daily) / np.std(daily, ddof=1) * np.sqrt(365),
        "sortino_ratio": np.mean(daily) * 365 / (np.sqrt(np.mean(np.minimum(daily, 0) ** 2)) * np.sqrt(365)),
        "calmar_ratio": yearly / drawdown,
        "profit_factor": result[result > 0].sum() / -result[result < 0].sum(),
        "expectancy": result.mean(),
        "exposure": np.mean(book.exposure_frac),
        "fees": 16.0,
        "turnover": np.sum([float(fill.price) for fill in book.fills]) / np.mean(equity[1:]),
        "positive_day_share": np.mean(daily > 0),
        "best_trade": result.max() / 100,
        "worst_trade": result.min() / 100,
    }
    for name, value in expected.items():
        assert float(getattr(found, name)) == pytest.approx(value, rel=1e-9, abs=1e-9), name
    assert (found.trade_count, found.days) == (80, 61)


def test_a_hand_computed_book() -> None:
    trades = [a_trade("3"), a_trade("-1"), a_trade("2"), a_trade("-4")]
    fills = [a_fill(), a_fill(Side.SELL, price="104"), a_fill(fee="0.001", fee_asset="BTC")]
    found = headline(a_book(("1000", "1010", "990", "1000"), closed=trades, fills=fills, exposure=(0.1, 0.2, 0.6)))
    assert found.total_return == 0
    assert found.max_drawdown == pytest.approx(20 / 1010)
    assert (found.win_rate, found.profit_factor, found.expectancy) == (0.5, 1.0, 0)
    assert (found.best_trade, found.worst_trade) == (0.03, -0.04)
    assert found.exposure == pytest.approx(0.3)
    assert found.fees == Decimal("0.3")
    assert found.turnover == pytest.approx(304 / 1000)
    assert found.longest_drawdown_days == 2
    assert found.positive_day_share == 0.5


def test_an_infinite_factor_is_null_in_json_and_says_why() -> None:
    found = headline(a_book(closed=[a_trade("3")])).as_dict()
    assert found["profit_factor"] is None
    assert found["calmar_ratio"] is None
    assert isinstance(found["notes"], dict)
    assert sorted(found["notes"]) == ["calmar_ratio", "profit_factor"]
    json.dumps(found, allow_nan=False)


def test_a_book_without_trades_gives_zeros_and_no_notes() -> None:
    found = headline(a_book(("1000", "1000")))
    assert (found.trade_count, found.profit_factor, found.calmar_ratio, found.best_trade) == (0, 0, 0, 0)
    assert found.as_dict()["notes"] == {}


@pytest.mark.parametrize(
    ("total", "days", "yearly"),
    [(0.1, 365, 0.1), (0.1, 73, 1.1**5 - 1), (0.0, 10, 0.0), (-1.0, 10, -1.0), (-1.5, 10, -1.0), (0.1, 0, 0.0)],
)
def test_yearly_return(total: float, days: int, yearly: float) -> None:
    assert yearly_return(total, days) == pytest.approx(yearly)


def test_a_year_beyond_every_number_is_infinite() -> None:
    assert yearly_return(50.0, 1) == math.inf
    assert calmar(0.1, 365, 0.2) == pytest.approx(0.5)
    assert calmar(0.0, 365, 0.0) == 0


def test_the_longest_drawdown_may_be_over_or_still_last() -> None:
    def curve(*values: int) -> list[EquityPoint]:
        return [EquityPoint(START + timedelta(days=place), Decimal(value)) for place, value in enumerate(values)]

    assert longest_drawdown(curve(10, 9, 8, 10, 9, 11)) == timedelta(days=3)
    assert longest_drawdown(curve(10, 11, 9, 8)) == timedelta(days=2)
    assert longest_drawdown(curve(10, 10, 11, 11)) == timedelta(0)
    assert longest_drawdown(curve(10)) == timedelta(0)

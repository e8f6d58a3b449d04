from __future__ import annotations

import math
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from risk_builders import NOW, position

from bn_ml.domain.positions import Position
from trader.performance import (
    EquityPoint,
    daily_equity,
    max_drawdown,
    performance,
    profit_factor,
    returns,
    sharpe,
    sortino,
)


def closed(pnl: str) -> Position:
    return position(realized_quote=Decimal(pnl), fees_quote=Decimal("0.2"))


def curve(*values: str, start: datetime = NOW, step: timedelta = timedelta(days=1)) -> list[EquityPoint]:
    return [EquityPoint(start + index * step, Decimal(value)) for index, value in enumerate(values)]


def test_figures_of_a_few_trades() -> None:
    found = performance([closed("4"), closed("-2"), closed("2"), closed("-1")], curve("1000", "1004", "1002", "1003"))
    assert (found.trades, found.win_rate, found.profit_factor) == (4, 0.5, 2.0)
    assert (found.net_quote, found.expectancy_quote, found.fees_quote) == (3, Decimal("0.75"), Decimal("0.8"))
    assert found.mean_return_frac == pytest.approx(0.0075)
    assert found.max_drawdown_frac == pytest.approx(2 / 1004)


def test_no_trades_give_zeros() -> None:
    found = performance([], [])
    assert (found.trades, found.win_rate, found.profit_factor, found.sharpe, found.max_drawdown_frac) == (0, 0, 0, 0, 0)


def test_profit_factor_without_losses_is_infinite() -> None:
    assert profit_factor([Decimal(1)]) == math.inf
    assert profit_factor([Decimal(-1)]) == 0


def test_drawdown_is_the_deepest_fall_from_a_peak() -> None:
    assert max_drawdown([Decimal(value) for value in (100, 90, 110, 55, 120)]) == 0.5
    assert max_drawdown([Decimal(1), Decimal(2)]) == 0
    assert max_drawdown([]) == 0


def test_daily_equity_takes_the_last_of_each_day() -> None:
    points = curve("1", "2", "3", "4", step=timedelta(hours=12))
    assert daily_equity(points) == (1, 1, 3, 4)
    assert daily_equity([]) == ()


def test_returns_are_relative_changes() -> None:
    assert returns([Decimal(100), Decimal(110), Decimal(99)]) == pytest.approx((0.1, -0.1))
    assert returns([Decimal(0), Decimal(5)]) == (0.0,)


def test_sharpe_and_sortino_by_hand() -> None:
    daily = (0.01, -0.01, 0.03)
    deviation = math.sqrt((0.0**2 + 0.02**2 + 0.02**2) / 2)
    assert sharpe(daily) == pytest.approx(0.01 / deviation * math.sqrt(365))
    assert sortino(daily) == pytest.approx(0.01 / math.sqrt(0.0001 / 3) * math.sqrt(365))


def test_ratios_are_zero_where_they_are_undefined() -> None:
    assert sharpe((0.01,)) == sharpe((0.01, 0.01)) == 0
    assert sortino((0.01,)) == sortino((0.01, 0.02)) == 0

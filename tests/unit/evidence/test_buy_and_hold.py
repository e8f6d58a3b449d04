from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from proof_builders import BTC, ETH, START

from bn_ml.domain.market import Symbol, Timeframe, to_ms
from data_manager.bars import Bars
from evidence.holding import buy_and_hold

HOUR = timedelta(hours=1)


def hourly(*closes: float, symbol: Symbol = BTC, first: int = 0) -> Bars:
    """Bars that open where the one before closed, the first at 100."""
    close = np.array(closes, dtype=np.float64)
    opened = np.concatenate(([100.0], close[:-1]))
    times = to_ms(START) + (first + np.arange(len(close), dtype=np.int64)) * Timeframe.H1.ms
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    return Bars(symbol, Timeframe.H1, times, opened, high, low, close, np.ones(len(close)), "test")


def test_one_symbol_held_free_of_cost() -> None:
    found = buy_and_hold({BTC: hourly(110, 88, 99)}, [BTC], START, START + 3 * HOUR, 0.0, benchmark=BTC)
    assert found.equal is not None
    assert found.equal.total_return == pytest.approx(-0.01)
    assert found.equal.max_drawdown == pytest.approx(0.2)
    assert found.benchmark == found.equal


def test_fees_are_paid_on_both_sides() -> None:
    found = buy_and_hold({BTC: hourly(110, 120)}, [BTC], START, START + 2 * HOUR, 0.01)
    assert found.equal is not None
    assert found.equal.total_return == pytest.approx(1.2 * 0.99 * 0.99 - 1)
    assert found.benchmark is None


def test_symbols_have_equal_parts() -> None:
    bars = {BTC: hourly(110, 120), ETH: hourly(90, 50, symbol=ETH)}
    found = buy_and_hold(bars, [BTC, ETH], START, START + 2 * HOUR, 0.0, benchmark=BTC)
    assert found.equal is not None
    assert found.benchmark is not None
    assert found.equal.total_return == pytest.approx((1.2 + 0.5) / 2 - 1)
    assert found.equal.max_drawdown == pytest.approx(0.15)
    assert found.benchmark.total_return == pytest.approx(0.2)


def test_only_whole_bars_of_the_period_count() -> None:
    bars = {BTC: hourly(110, 120, 500)}
    at = buy_and_hold(bars, [BTC], START + HOUR, START + 2 * HOUR, 0.0)
    short = buy_and_hold(bars, [BTC], START + HOUR, START + 3 * HOUR - timedelta(seconds=1), 0.0)
    assert at.equal is not None
    assert at.equal.total_return == pytest.approx(120 / 110 - 1)
    assert short == at


def test_a_late_listing_is_money_before_and_a_delisting_money_after() -> None:
    late, gone = hourly(50, symbol=BTC, first=2), hourly(200, symbol=ETH)
    found = buy_and_hold({BTC: late, ETH: gone}, [BTC, ETH], START, START + 3 * HOUR, 0.0)
    assert found.equal is not None
    assert found.equal.total_return == pytest.approx((0.5 + 2.0) / 2 - 1)
    assert found.equal.max_drawdown == pytest.approx(1 - 1.25 / 1.5)


def test_symbols_without_bars_are_named() -> None:
    found = buy_and_hold({BTC: hourly(110)}, [BTC, ETH], START, START + HOUR, 0.0, benchmark=ETH)
    assert found.left_out == (ETH,)
    assert found.benchmark is None
    nothing = buy_and_hold({}, [ETH], START, START + HOUR, 0.0)
    assert nothing.equal is None


def test_bars_of_another_symbol_are_not_touched() -> None:
    bars = hourly(110, 120)
    before = bars.close.copy()
    buy_and_hold({BTC: replace(bars)}, [BTC], START, START + HOUR, 0.001)
    assert np.array_equal(bars.close, before)

"""Candles of stored bars and the marks of our fills on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bn_ml.domain.market import Timeframe, from_ms, to_ms
from data_manager.history import HistoryStore
from monitoring.stored_bars import candles_of, marks_of, read_candles
from monitoring.views_trades import trade_line
from tests.fakes.bar_builders import BTC, START, START_MS, some_bars
from tests.fakes.panel_books import NOW, a_trade

HOUR_MS = 3_600_000


def test_few_bars_are_shown_as_they_are() -> None:
    bars = some_bars(20)
    candles = candles_of(bars)
    assert candles.step_ms == Timeframe.M15.ms
    assert candles.close == tuple(bars.close.tolist())
    assert candles.times[0] == START


def test_many_bars_become_fewer_candles_that_keep_every_extreme() -> None:
    bars = some_bars(200)
    candles = candles_of(bars, most=30)
    assert len(candles.times) <= 30
    assert max(candles.high) == bars.high.max()
    assert min(candles.low) == bars.low.min()
    assert (candles.open[0], candles.close[-1]) == (bars.open[0], bars.close[-1])


def test_bars_absent_leave_no_candle() -> None:
    bars = some_bars(10)
    gappy = bars.take(bars.open_time != START_MS + 4 * Timeframe.M15.ms)
    assert len(candles_of(gappy).times) == 9


def test_the_finest_series_that_fits_is_read(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    store.write(some_bars(2000, timeframe=Timeframe.M1))
    store.write(some_bars(200, timeframe=Timeframe.M15))
    short = read_candles(tmp_path, BTC, since_ms=START_MS, until_ms=START_MS + 2 * HOUR_MS)
    long = read_candles(tmp_path, BTC, since_ms=START_MS, until_ms=START_MS + 48 * HOUR_MS)
    assert (short.step_ms, len(short.times)) == (60_000, 120)
    assert (long.step_ms, len(long.times)) == (900_000, 192)
    assert (short.source, short.problem) == ("test", "")


def test_bars_that_are_absent_or_damaged_are_named_and_no_error(tmp_path: Path) -> None:
    assert "no bars of BTC/USDC are stored" in read_candles(tmp_path, BTC, since_ms=0, until_ms=HOUR_MS).problem
    HistoryStore(tmp_path).write(some_bars(10))
    assert "for this period" in read_candles(tmp_path, BTC, since_ms=0, until_ms=HOUR_MS).problem
    HistoryStore(tmp_path).path(BTC, Timeframe.M15).write_bytes(b"no parquet")
    damaged = read_candles(tmp_path, BTC, since_ms=START_MS, until_ms=START_MS + HOUR_MS)
    assert damaged.problem == "the stored bars of BTC/USDC cannot be read"
    assert str(tmp_path) not in damaged.problem


def test_marks_are_our_fills_of_the_symbol_in_the_period_oldest_first() -> None:
    lines = [
        trade_line(a_trade(3, "SELL", price=101.2)),
        trade_line(a_trade(2)),
        trade_line(a_trade(1, at=from_ms(to_ms(NOW) - 99 * 86_400_000))),
        trade_line(a_trade(4, symbol="ETH/USDC")),
    ]
    buy, sale = marks_of(lines, "BTC/USDC", from_ms(to_ms(NOW) - 86_400_000))
    assert (buy.side, buy.words) == ("BUY", "BUY entry")
    assert sale.words == "SELL tp1, +1.00 USDC"
    assert sale.price == pytest.approx(101.2)

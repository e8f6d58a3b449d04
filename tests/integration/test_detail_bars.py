"""Stop and target inside one 15m bar: finer stored bars say which came first, without them it is the stop."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.domain.orders import OrderStatus, OrderType, Side
from bn_ml.paper_exchange import open_paper_exchange
from bn_ml.settings import Settings
from bn_ml.venue.persistence import MemoryPersistence
from data_manager.bars import Bars
from data_manager.data_manager import BinanceDataManager
from data_manager.history import HistoryStore
from data_manager.resampling import resample
from tests.fakes.feature_market import MONDAY_MS
from tests.fakes.venue_world import intent

SYMBOL = Symbol("ABC/USDT")
CALM = 300
"""15m bars before the wild one."""

UP_FIRST, DOWN_FIRST = (112.0, 100.0, 90.0), (90.0, 100.0, 112.0)


def fine_bars(timeframe: Timeframe, extremes: tuple[float, ...]) -> Bars:
    """A calm market at 100, then 15 minutes in which the price visits the extremes one after another."""
    per_bar = Timeframe.M15.ms // timeframe.ms
    count = (CALM + 3) * per_bar
    prices = np.full(count, 100.0)
    high, low = prices.copy() + 0.01, prices.copy() - 0.01
    wild = CALM * per_bar + np.arange(3) * (per_bar // 3)
    high[wild] = np.maximum(high[wild], extremes)
    low[wild] = np.minimum(low[wild], extremes)
    times = MONDAY_MS + timeframe.ms * np.arange(count, dtype=np.int64)
    volume = np.full(count, 1e6)
    return Bars(SYMBOL, timeframe, times, prices, high, low, prices, volume, "made")


def sold_by(folder: Path, stored: list[Bars]) -> str:
    """Buy before the wild bar, rest a target and a stop around the price, and tell which of them sold."""
    store = HistoryStore(folder)
    for bars in stored:
        store.write(bars)
    clock = SimulatedClock(from_ms(MONDAY_MS + CALM * Timeframe.M15.ms))
    settings = Settings.from_mapping(
        {
            "base_quote": "USDT",
            "data": {"paper_market_data_mode": "replay", "replay_dir": str(folder)},
            "backtest": {"max_participation_pct": 1.0},
        }
    )
    market = BinanceDataManager(settings, clock=clock)
    exchange = open_paper_exchange(settings, MemoryPersistence(), market, clock)
    exchange.create_order(intent(Side.BUY, OrderType.MARKET, "2", client_id="entry"))
    exchange.create_oco(
        intent(Side.SELL, OrderType.LIMIT_MAKER, "1", client_id="target", price="110", list_id="list"),
        intent(Side.SELL, OrderType.STOP_LOSS, "1", client_id="stop", stop="95", list_id="list"),
    )
    clock.sleep_until(clock.now() + timedelta(minutes=15))
    found = {name: exchange.order_status(SYMBOL, name) for name in ("target", "stop")}
    filled = [name for name, report in found.items() if report and report.status is OrderStatus.FILLED]
    assert len(filled) == 1
    report = found[filled[0]]
    assert report is not None
    limit = Decimal(110) if filled == ["target"] else Decimal(95)
    assert (report.fills[0].price >= limit) == (filled == ["target"])
    return filled[0]


@pytest.mark.parametrize("timeframe", [Timeframe.M5, Timeframe.M1])
@pytest.mark.parametrize(("extremes", "first"), [(UP_FIRST, "target"), (DOWN_FIRST, "stop")])
def test_finer_bars_order_stop_and_target(
    timeframe: Timeframe, extremes: tuple[float, ...], first: str, tmp_path: Path
) -> None:
    fine = fine_bars(timeframe, extremes)
    assert sold_by(tmp_path, [resample(fine, Timeframe.M15), fine]) == first


@pytest.mark.parametrize("extremes", [UP_FIRST, DOWN_FIRST])
def test_without_them_the_adverse_one_came_first(extremes: tuple[float, ...], tmp_path: Path) -> None:
    assert sold_by(tmp_path, [resample(fine_bars(Timeframe.M5, extremes), Timeframe.M15)]) == "stop"


def test_of_one_minute_and_five_minute_bars_the_finest_decide(tmp_path: Path) -> None:
    minutes = fine_bars(Timeframe.M1, UP_FIRST)
    five = fine_bars(Timeframe.M5, DOWN_FIRST)
    assert sold_by(tmp_path, [resample(minutes, Timeframe.M15), five, minutes]) == "target"


def test_finer_bars_that_do_not_cover_the_time_are_not_used(tmp_path: Path) -> None:
    fine = fine_bars(Timeframe.M5, UP_FIRST)
    early = fine.rows(0, CALM * 3 - 30)
    assert sold_by(tmp_path, [resample(fine, Timeframe.M15), early]) == "stop"

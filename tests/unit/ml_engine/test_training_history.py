"""Stored history is completed from the exchange, each bar fetched once, and never past the training's end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bn_ml.clock import SimulatedClock, SystemClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms, to_ms
from bn_ml.errors import MarketDataError, ModelError
from bn_ml.settings import RiskSettings, Settings
from data_manager.bars import Bars
from data_manager.history import HistoryStore
from ml_engine.training_data import load_market, sample
from ml_engine.training_history import StoredHistory
from scripts.market_basket import basket
from scripts.training_market import training_clock, training_end
from tests.fakes.bar_builders import BTC, START_MS, same_bars, some_bars
from tests.fakes.training_builders import a_model

STEP = Timeframe.M15.ms
ALL = some_bars(400)


class RecordedExchange:
    """Answers from a series and remembers what it was asked."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.asked: list[tuple[int, int]] = []

    def history(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        if symbol != self.bars.symbol:
            raise MarketDataError(f"{symbol}: not listed")
        self.asked.append((start_ms, end_ms))
        return self.bars.between(start_ms, end_ms)


def test_only_bars_before_the_stored_ones_and_from_the_newest_on_are_fetched(tmp_path: Path) -> None:
    store, exchange = HistoryStore(tmp_path), RecordedExchange(ALL)
    store.write(ALL.rows(100, 200))
    history = StoredHistory(store, exchange)
    found = history.history(BTC, Timeframe.M15, START_MS, START_MS + 300 * STEP)
    assert same_bars(found, ALL.rows(0, 300))
    assert exchange.asked == [
        (START_MS, START_MS + 100 * STEP),
        (START_MS + 199 * STEP, START_MS + 300 * STEP),
    ]
    exchange.asked.clear()
    history.history(BTC, Timeframe.M15, START_MS, START_MS + 300 * STEP)
    assert exchange.asked == []


def test_without_an_exchange_what_is_stored_is_used_and_nothing_stored_is_an_error(tmp_path: Path) -> None:
    history = StoredHistory(HistoryStore(tmp_path), None)
    with pytest.raises(MarketDataError, match="not in the history"):
        history.history(BTC, Timeframe.M15, START_MS, START_MS + STEP)
    HistoryStore(tmp_path).write(ALL)
    assert len(history.history(BTC, Timeframe.M15, START_MS, START_MS + 50 * STEP)) == 50


def test_a_market_holds_no_bar_that_closes_after_its_end_and_names_what_is_missing() -> None:
    other = Symbol("NONE/USDC")
    end = START_MS + 100 * STEP + 1
    market = load_market(RecordedExchange(ALL), [BTC, other], [BTC, other], a_model(), end_ms=end)
    assert market.bars[BTC].close_time.max() <= end
    assert market.basket == (BTC,)
    assert "not listed" in market.missing[other]


def test_no_outcome_reaches_the_newest_bar() -> None:
    bars = some_bars(4_000)
    end = int(bars.close_time[-1])
    market = load_market(RecordedExchange(bars), [BTC], [BTC], a_model(), end_ms=end)
    found = sample(BTC, market, a_model(), RiskSettings(), max_gap_bars=3)
    assert found.data_end == end
    assert found.data.t1.max() < end
    assert found.data.t0.max() == end - 97 * STEP
    assert np.isfinite(found.data.trade_gross).all()


def test_fallback_bars_train_nothing() -> None:
    bars = some_bars(4_000, source="synthetic_fallback")
    market = load_market(RecordedExchange(bars), [BTC], [BTC], a_model(), end_ms=int(bars.close_time[-1]))
    with pytest.raises(ModelError, match="never train"):
        sample(BTC, market, a_model(), RiskSettings(), max_gap_bars=3)


def test_a_replay_is_trained_until_its_start_and_a_given_instant_comes_first() -> None:
    start = from_ms(START_MS + 200 * STEP)
    data = {"paper_market_data_mode": "replay", "replay_from": start.isoformat()}
    settings = Settings.from_mapping({"data": data})
    exchange = RecordedExchange(ALL)
    assert training_end(settings, training_clock(settings, None), None, exchange, [BTC]) == to_ms(start)
    earlier = start - timedelta(days=1)
    assert training_end(settings, training_clock(settings, earlier), earlier, exchange, [BTC]) == to_ms(earlier)


def test_a_replay_without_start_is_trained_until_the_end_of_its_records() -> None:
    settings = Settings.from_mapping({"data": {"paper_market_data_mode": "replay"}})
    end = training_end(settings, training_clock(settings, None), None, RecordedExchange(ALL), [BTC])
    assert end == int(ALL.close_time[-1])


def test_a_real_exchange_is_read_by_the_running_clock() -> None:
    until = from_ms(START_MS)
    live = Settings.from_mapping({"data": {"paper_market_data_mode": "live"}})
    synthetic = Settings.from_mapping({"data": {"paper_market_data_mode": "synthetic"}})
    assert isinstance(training_clock(live, until), SystemClock)
    assert isinstance(training_clock(synthetic, until), SimulatedClock)


def test_the_basket_is_the_configured_market_without_what_is_excluded() -> None:
    settings = Settings.from_mapping(
        {"universe": {"training_symbols": ["ETH/USDC", "SOL/USDC"], "exclude": ["SOL/USDC"]}}
    )
    assert basket(settings) == (Symbol("BTC/USDC"), Symbol("ETH/USDC"))

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError
from data_manager.bars import empty_bars
from data_manager.downloading import download, repair
from data_manager.history import HistoryStore, content_hash
from data_manager.inspecting import inspect, missing_ranges
from data_manager.sources.replay import ReplaySource
from tests.fakes.bar_builders import BTC, START_MS, clock_at, same_bars, some_bars

QUARTER = Timeframe.M15.ms
COLUMNS = ["open_time", "open", "high", "low", "close", "volume", "quote_volume", "trades", "source"]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    store, bars = HistoryStore(tmp_path), some_bars(50)
    store.write(bars)
    read = store.read(BTC, Timeframe.M15)
    assert same_bars(read, bars)
    assert read.source == "test"


def test_the_file_lies_where_it_is_promised_with_the_promised_columns(tmp_path: Path) -> None:
    path = HistoryStore(tmp_path).write(some_bars(5))
    assert path == tmp_path / "BTC_USDC" / "15m.parquet"
    assert pq.read_schema(path).names == COLUMNS


def test_an_overlap_is_joined_once_and_the_new_bars_win(tmp_path: Path) -> None:
    store, bars = HistoryStore(tmp_path), some_bars(50)
    store.write(bars.rows(0, 30))
    corrected = replace(bars.rows(20, 50), volume=bars.volume[20:50] + 1, source="other")
    assert store.merge(corrected) == 20
    read = store.read(BTC, Timeframe.M15)
    assert len(read) == 50
    assert np.array_equal(read.volume[20:], bars.volume[20:50] + 1)
    assert read.source == "other+test"


def test_each_row_keeps_the_name_of_its_source(tmp_path: Path) -> None:
    store, bars = HistoryStore(tmp_path), some_bars(4)
    store.write(bars.rows(0, 2))
    store.merge(replace(bars.rows(2, 4), source="binance"))
    rows = pq.read_table(store.path(BTC, Timeframe.M15))["source"].to_pylist()
    assert rows == ["test", "test", "binance", "binance"]


@pytest.mark.parametrize("unreal", ["synthetic", "synthetic_fallback", "binance_testnet", "binance_sandbox"])
def test_a_markets_bars_are_never_mixed_with_made_up_ones(unreal: str, tmp_path: Path) -> None:
    store, bars = HistoryStore(tmp_path), replace(some_bars(10), source="binance")
    store.write(bars.rows(0, 5))
    with pytest.raises(MarketDataError, match="not mixed"):
        store.merge(replace(bars.rows(5, 10), source=unreal))
    assert len(store.read(BTC, Timeframe.M15)) == 5


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    store, bars = HistoryStore(tmp_path), some_bars(10)
    store.write(bars)
    with pytest.raises(TypeError):
        store.write(bars, holes=(object(),))  # type: ignore[arg-type]
    assert same_bars(store.read(BTC, Timeframe.M15), bars)
    assert [path.name for path in (tmp_path / "BTC_USDC").iterdir()] == ["15m.parquet"]


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    path = store.write(some_bars(10))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(MarketDataError, match=r"cannot read .*15m.parquet"):
        store.read(BTC, Timeframe.M15)


def test_an_absent_series_is_named(tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match="BTC/USDC 1h: not in the history"):
        HistoryStore(tmp_path).read(BTC, Timeframe.H1)


def test_the_series_are_listed_by_symbol_and_timeframe(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    for bars in (some_bars(3, timeframe=Timeframe.H1), some_bars(5), some_bars(2, symbol=Symbol("ADA/USDC"))):
        store.write(bars)
    listed = [(item.symbol, item.timeframe.value, item.rows, item.first_ms) for item in store.series()]
    expected = [("ADA/USDC", "15m", 2), ("BTC/USDC", "15m", 5), ("BTC/USDC", "1h", 3)]
    assert listed == [(*name, START_MS) for name in expected]
    assert store.timeframes(BTC) == (Timeframe.M15, Timeframe.H1)


def test_an_empty_series_can_be_described(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    store.write(empty_bars(BTC, Timeframe.M15, "test"))
    assert store.describe(BTC, Timeframe.M15).rows == 0
    assert len(store.read(BTC, Timeframe.M15)) == 0


def test_the_hash_follows_the_content() -> None:
    bars = some_bars(20)
    assert content_hash(bars) == content_hash(some_bars(20))
    assert content_hash(bars) != content_hash(replace(bars, close=bars.close + 0.01))


def a_source(folder: Path, count: int, absent: tuple[int, ...] = ()) -> ReplaySource:
    bars = some_bars(count)
    HistoryStore(folder).write(bars.take(np.delete(np.arange(count), list(absent))))
    return ReplaySource(folder, clock_at(START_MS + count * QUARTER))


def test_a_download_goes_on_where_the_history_stands(tmp_path: Path) -> None:
    store, source = HistoryStore(tmp_path / "own"), a_source(tmp_path / "other", 300)
    span = (START_MS, START_MS + 300 * QUARTER)
    assert (
        download(store, source, BTC, Timeframe.M15, (START_MS + 100 * QUARTER, START_MS + 200 * QUARTER)).added == 100
    )
    assert download(store, source, BTC, Timeframe.M15, span).added == 200
    assert download(store, source, BTC, Timeframe.M15, span).added == 0
    assert same_bars(store.read(BTC, Timeframe.M15), some_bars(300))


def test_repair_fills_exactly_the_holes_and_marks_those_nobody_can_fill(tmp_path: Path) -> None:
    source = a_source(tmp_path / "other", 100, absent=(70, 71, 75))
    store, bars = HistoryStore(tmp_path / "own"), some_bars(100)
    store.write(bars.take(np.delete(np.arange(100), [20, 21, 70, 71, 72, 73, 74, 75])))
    before = inspect(store, BTC, Timeframe.M15)
    assert (before.missing, before.sound) == (8, False)
    done = repair(store, source, BTC, Timeframe.M15)
    assert (done.added, done.holes_filled, done.holes_marked) == (5, 1, 2)
    after = inspect(store, BTC, Timeframe.M15)
    assert (after.missing, after.known_absent, after.sound) == (3, 3, True)
    assert store.holes(BTC, Timeframe.M15) == (
        (START_MS + 70 * QUARTER, START_MS + 72 * QUARTER),
        (START_MS + 75 * QUARTER, START_MS + 76 * QUARTER),
    )
    assert repair(store, source, BTC, Timeframe.M15).holes_marked == 0


def test_repair_drops_bars_that_contradict_themselves_and_fetches_them_again(tmp_path: Path) -> None:
    source = a_source(tmp_path / "other", 100)
    store, bars = HistoryStore(tmp_path / "own"), some_bars(100)
    high = bars.high.copy()
    high[40] = 1.0
    store.write(replace(bars, high=high))
    assert inspect(store, BTC, Timeframe.M15).bad_ohlc == 1
    repair(store, source, BTC, Timeframe.M15)
    assert same_bars(store.read(BTC, Timeframe.M15), bars)


def test_inspection_counts_what_a_reader_wants_to_know(tmp_path: Path) -> None:
    store, bars = HistoryStore(tmp_path), some_bars(300)
    factor = np.where(np.arange(300) >= 150, 1.5, 1.0)
    names = ("open", "high", "low", "close")
    moved = replace(bars, **{name: np.round(getattr(bars, name) * factor, 4) for name in names})
    volume = moved.volume.copy()
    volume[10] = 0
    store.write(replace(moved, volume=volume))
    told = inspect(store, BTC, Timeframe.M15)
    assert (told.bars, told.coverage, told.gaps, told.zero_volume, told.outliers) == (300, 1.0, 0, 1, 1)
    assert told.sound


def test_missing_ranges_are_half_open() -> None:
    bars = some_bars(10).take(np.array([0, 1, 4, 5, 9]))
    assert missing_ranges(bars) == (
        (START_MS + 2 * QUARTER, START_MS + 4 * QUARTER),
        (START_MS + 6 * QUARTER, START_MS + 9 * QUARTER),
    )

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError
from data_manager.bar_files import read_bars, symbol_of
from data_manager.history import HistoryStore
from data_manager.importing import import_path
from data_manager.stored_rules import EXCHANGE_INFO_FILE, stored_rules
from tests.fakes.bar_builders import START_MS, some_bars

HOUR = Timeframe.H1.ms
HEAD = "timestamp,open,high,low,close,volume"


def a_csv(folder: Path, times: list[str], name: str = "BTCUSDT_1h.csv", head: str = HEAD) -> Path:
    path = folder / name
    lines = [f"{time},10.0,12.0,9.0,11.0,{100 + place}.5" for place, time in enumerate(times)]
    path.write_text("\n".join([head, *lines] if head else lines) + "\n")
    return path


@pytest.mark.parametrize(
    "times",
    [
        [f"{START_MS}", f"{START_MS + HOUR}"],
        [f"{START_MS}000", f"{START_MS + HOUR}000"],
        [f"{START_MS}000000", f"{START_MS + HOUR}000000"],
        [f"{START_MS // 1000}", f"{(START_MS + HOUR) // 1000}"],
        ["2024-03-04 00:00:00", "2024-03-04 01:00:00"],
        ["2024-03-04T00:00:00Z", "2024-03-04T01:00:00Z"],
        ["2024-03-04T00:00:00.000", "2024-03-04T01:00:00.000"],
    ],
)
def test_every_written_form_of_time_is_understood_as_utc(times: list[str], tmp_path: Path) -> None:
    bars = read_bars(a_csv(tmp_path, times))
    assert bars.open_time.tolist() == [START_MS, START_MS + HOUR]
    assert (bars.symbol, bars.timeframe) == ("BTC/USDT", Timeframe.H1)
    assert bars.close.tolist() == [11.0, 11.0]


def test_a_csv_without_a_head_is_read_as_the_venue_publishes_it(tmp_path: Path) -> None:
    rows = [f"{START_MS + n * HOUR},10,12,9,11,5,{START_MS + (n + 1) * HOUR - 1},55.5,7,0,0,0" for n in range(3)]
    path = tmp_path / "ETHUSDC-1h-2024-03.csv"
    path.write_text("\n".join(rows))
    bars = read_bars(path)
    assert bars.symbol == "ETH/USDC"
    assert bars.quote_volume.tolist() == [55.5] * 3
    assert bars.trades.tolist() == [7] * 3


@pytest.mark.parametrize("packed", [False, True])
def test_json_arrays_are_read_plain_and_gzipped(packed: bool, tmp_path: Path) -> None:
    raw = json.dumps([[START_MS, "10", 12, 9, 11, 5.5], [START_MS + HOUR, 11, 12, 9, 10, 4.5]]).encode()
    path = tmp_path / f"SOL_USDC-1h.json{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(raw) if packed else raw)
    bars = read_bars(path)
    assert bars.symbol == "SOL/USDC"
    assert bars.volume.tolist() == [5.5, 4.5]


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTC_USDT-15m.parquet", "BTC/USDT"),
        ("BTCUSDT_1h.csv", "BTC/USDT"),
        ("fabricated_BTC_USDT-4h_nonpositive.csv", "BTC/USDT"),
        ("CVC_USDT_long_halt-15m.parquet", "CVC/USDT"),
        ("1INCHUSDC-1h.csv", "1INCH/USDC"),
        ("ETHBTC-1h.csv.gz", "ETH/BTC"),
    ],
)
def test_the_symbol_is_read_from_the_name(name: str, symbol: str) -> None:
    assert symbol_of(Path("somewhere") / name) == symbol


def test_the_symbol_may_be_the_folder(tmp_path: Path) -> None:
    assert symbol_of(tmp_path / "BTC_USDC" / "15m.parquet") == "BTC/USDC"


def test_a_nameless_file_needs_a_symbol(tmp_path: Path) -> None:
    path = a_csv(tmp_path, [str(START_MS), str(START_MS + HOUR)], name="bars.csv")
    with pytest.raises(MarketDataError, match="say which with --symbol"):
        read_bars(path)
    assert read_bars(path, symbol=Symbol("BTC/USDC")).timeframe is Timeframe.H1


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("BTCUSDT_1h.csv", "timestamp,price\n1,2\n", "missing open, high, low, close, volume"),
        ("BTCUSDT_1h.csv", "EventType,Price\ntrade,1\n", "trade or depth stream"),
        ("BTCUSDT_1h.json", '{"lastUpdateId": 1}', "no bars in this JSON"),
        ("BTCUSDT_1h.json", "[[", "cannot be read"),
        ("BTCUSDT_1h.txt", "", "unknown kind of file"),
        ("BTCUSDT_1h.csv.gz", "not packed", "cannot be read"),
    ],
)
def test_what_is_no_bar_file_is_refused_with_the_reason(name: str, text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(MarketDataError, match=why):
        read_bars(path)


def test_a_folder_is_imported_file_by_file_and_refusals_are_named(market_data: Path, tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    outcomes = {outcome.path.name: outcome for outcome in import_path(market_data / "dirty", store)}
    assert len(outcomes) == 20
    refused = {name for name, outcome in outcomes.items() if outcome.refused}
    assert refused == {
        "TRXUSDT_difference_depth_stream_2025-03-04_tampered.csv.gz",
        "TRXUSDT_trade_stream_2025-03-04_tampered.csv.gz",
        "fabricated_BTCUSDT_1h.csv",
        "fabricated_ETHUSDT_1h.csv",
        "fabricated_BTC_USDT-4h_nonpositive.csv",
    }
    assert "TOKENSTAKE" in " ".join(outcomes["exchangeInfo_bogus_record.json"].notes)
    assert outcomes["LUNAUSDT_1h.csv"].rows_stored == 1482
    assert store.read(Symbol("LUNA/USDT"), Timeframe.H1).open[0] == 1.0


def test_only_the_newest_continuous_series_is_kept(market_data: Path, tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    (outcome,) = import_path(market_data / "dirty" / "BNXUSDT_1h.csv", store)
    assert (outcome.rows_read, outcome.rows_stored) == (523, 328)
    assert np.max(store.read(Symbol("BNX/USDT"), Timeframe.H1).close) < 2


def test_clean_data_are_imported_whole(market_data: Path, tmp_path: Path) -> None:
    (outcome,) = import_path(market_data / "spot_2022_2023" / "STRAX_USDT-15m.parquet", HistoryStore(tmp_path))
    assert outcome.rows_stored == outcome.rows_read == 40_507


@pytest.mark.parametrize(("day", "count", "tick"), [("2021-03-24", 1363, "0.01"), ("2023-08-13", 2276, "0.01")])
def test_rules_of_old_and_new_filter_names_are_imported(
    day: str, count: int, tick: str, market_data: Path, tmp_path: Path
) -> None:
    store = HistoryStore(tmp_path)
    (outcome,) = import_path(market_data / "exchange_info" / f"exchangeInfo-spot-{day}.json.gz", store)
    assert outcome.notes[0] == f"rules of {count} symbols"
    assert (tmp_path / EXCHANGE_INFO_FILE).is_file()
    rules = stored_rules(store, (Symbol("BTC/USDT"),))[Symbol("BTC/USDT")]
    assert str(rules.tick) == tick
    assert str(rules.min_notional) == "10"


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match="no such file"):
        import_path(tmp_path / "nothing.csv", HistoryStore(tmp_path))


def test_our_own_series_can_be_imported_again(tmp_path: Path) -> None:
    first, second = HistoryStore(tmp_path / "one"), HistoryStore(tmp_path / "two")
    first.write(some_bars(100))
    (outcome,) = import_path(tmp_path / "one", second)
    assert outcome.rows_stored == 100

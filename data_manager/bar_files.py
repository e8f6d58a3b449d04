"""Bars from files as others publish them: Parquet, CSV, JSON arrays, plain or gzipped."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars, FloatArray, IntArray

TIME_NAMES = ("open_time", "timestamp", "date", "datetime", "time")
KLINE_NAMES = ("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades")
_QUOTE_VOLUME_NAMES = ("quote_volume", "quote_asset_volume")
_TRADES_NAMES = ("trades", "number_of_trades", "count")
_QUOTES = "USDT|USDC|FDUSD|BUSD|TUSD|USD|EUR|TRY|BRL|GBP|BTC|ETH|BNB"
_SYMBOL = re.compile(rf"(?<![A-Za-z0-9])(?P<base>[A-Z0-9]{{2,}}?)[_/]?(?P<quote>{_QUOTES})(?![A-Za-z0-9])")
_TIMEFRAME = re.compile(r"(?<![A-Za-z0-9])(1m|5m|15m|1h|4h|1d)(?![A-Za-z0-9])")
_STREAM_COLUMNS = frozenset(
    {"EventType", "TradeId", "trade_id", "agg_id", "FirstUpdateId", "IsAsk", "update_id", "lastUpdateId", "recv_us"}
)
_UNITS_PER_MS = ((10**17, 1_000_000), (10**14, 1_000), (10**11, 1))


def read_bars(
    path: Path, *, symbol: Symbol | None = None, timeframe: Timeframe | None = None, source: str = "import"
) -> Bars:
    """Read bars as they stand in a file, defects included.

    Symbol and timeframe come from the file name unless given; the timeframe else from the usual distance of the bars.
    Times may be epoch s, ms, us or ns, or ISO text (UTC where no offset is written). Raises `MarketDataError` on a
    stream of trades or depth, and on anything that is no bar file.
    """
    table = read_table(path)
    stream = _STREAM_COLUMNS & set(table.column_names)
    if stream:
        raise MarketDataError(
            f"{path.name}: a trade or depth stream (column {min(stream)}), not bars: cannot be imported"
        )
    time_name = next((name for name in TIME_NAMES if name in table.column_names), None)
    absent = [name for name in ("open", "high", "low", "close", "volume") if name not in table.column_names]
    if time_name is None or absent:
        raise MarketDataError(f"{path.name}: no bars, missing {', '.join(absent) or 'a time column'}")
    times = milliseconds(table[time_name], path.name)
    return Bars(
        symbol=symbol or symbol_of(path),
        timeframe=timeframe or timeframe_of(path, times),
        open_time=times,
        open=_floats(table, ("open",)),
        high=_floats(table, ("high",)),
        low=_floats(table, ("low",)),
        close=_floats(table, ("close",)),
        volume=_floats(table, ("volume",)),
        source=source,
        quote_volume=_floats(table, _QUOTE_VOLUME_NAMES),
        trades=np.nan_to_num(_floats(table, _TRADES_NAMES)).astype(np.int64),
    )


def symbol_of(path: Path) -> Symbol:
    """Read the symbol from a name such as `BTC_USDT-15m`, `BTCUSDT_1h` or from the folder `BTC_USDT`."""
    for name in (_bare(path), path.parent.name):
        found = _SYMBOL.search(name)
        if found:
            return Symbol(f"{found['base']}/{found['quote']}")
    raise MarketDataError(f"{path.name}: no symbol in the name: say which with --symbol")


def timeframe_of(path: Path, times: IntArray) -> Timeframe:
    """Read the timeframe from the file name, else from the usual distance between bars."""
    found = _TIMEFRAME.search(_bare(path).replace("_", " "))
    if found:
        return Timeframe(found[1])
    usual = int(np.median(np.diff(times))) if len(times) > 1 else 0
    for timeframe in Timeframe:
        if timeframe.ms == usual:
            return timeframe
    raise MarketDataError(f"{path.name}: no timeframe in the name: say which with --timeframe")


def read_table(path: Path) -> pa.Table:
    """Read any supported file as a table of named columns."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        match kind.lower():
            case ".parquet":
                return pq.read_table(io.BytesIO(raw))
            case ".csv":
                return _csv(raw)
            case ".json":
                return _json(raw)
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise MarketDataError(f"{path.name}: cannot be read: {error}") from error
    raise MarketDataError(f"{path.name}: unknown kind of file; known are .parquet, .csv, .json, also with .gz")


def milliseconds(column: pa.ChunkedArray, name: str) -> IntArray:
    """Give instants in ms since 1970 UTC of a column of any known form."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = pc.cast(column, pa.timestamp("us", tz="UTC" if _zoned(column) else None))
        kind = column.type
    if pa.types.is_timestamp(kind):
        return np.asarray(pc.cast(column, pa.timestamp("ms", tz=kind.tz), safe=False).cast(pa.int64()), dtype=np.int64)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise MarketDataError(f"{name}: times of type {kind} are not understood")
    numbers = np.asarray(column.cast(pa.float64(), safe=False), dtype=np.float64)
    exact = np.asarray(column.cast(pa.int64(), safe=False), dtype=np.int64)
    largest = float(np.nanmax(numbers)) if len(numbers) else 0.0
    for floor, units in _UNITS_PER_MS:
        if largest >= floor:
            return exact // units
    return exact * 1000


def _zoned(column: pa.ChunkedArray) -> bool:
    return len(column) > 0 and str(column[0].as_py()).endswith("Z")


def _bare(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return name.rsplit(".", 1)[0]


def _csv(raw: bytes) -> pa.Table:
    first = raw.split(b",", 1)[0].strip()
    headless = first.isdigit()
    width = raw.split(b"\n", 1)[0].count(b",") + 1
    names = [*KLINE_NAMES, *(f"unused_{index}" for index in range(width))][:width] if headless else None
    options = pyarrow.csv.ReadOptions(column_names=names)
    return pyarrow.csv.read_csv(io.BytesIO(raw), read_options=options)


def _json(raw: bytes) -> pa.Table:
    rows = json.loads(raw)
    if not (isinstance(rows, list) and rows and isinstance(rows[0], list)):
        keys = ", ".join(sorted(rows)[:4]) if isinstance(rows, dict) else type(rows).__name__
        raise MarketDataError(f"no bars in this JSON ({keys})")
    return _columns(rows)


def _columns(rows: Sequence[Sequence[object]]) -> pa.Table:
    width = min(len(KLINE_NAMES), *(len(row) for row in rows))
    columns: Iterable[list[float]] = ([float(str(row[place])) for row in rows] for place in range(1, width))
    times = pa.array([int(str(row[0])) for row in rows])
    return pa.table([times, *(pa.array(column) for column in columns)], names=list(KLINE_NAMES[:width]))


def _floats(table: pa.Table, names: Sequence[str]) -> FloatArray:
    name = next((name for name in names if name in table.column_names), None)
    if name is None:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)

"""The local history: one Parquet file per symbol and timeframe, read and written as bar frames.

Files live at `<root>/<SYMBOL_KEY>/<timeframe>.parquet`. Files named `<SYMBOL_KEY>-<timeframe>.parquet` directly under
the root are read as well (bars as others publish them, with a `timestamp` column), never written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import MarketDataError
from data_manager.bars import Bars, FloatArray, empty_bars

SCHEMA = pa.schema(
    [
        ("open_time", pa.timestamp("ms", tz="UTC")),
        ("open", pa.float64()),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("close", pa.float64()),
        ("volume", pa.float64()),
        ("quote_volume", pa.float64()),
        ("trades", pa.int64()),
        ("source", pa.dictionary(pa.int32(), pa.string())),
    ]
)
FINEST_DECIMALS = 8
_ABSENT_KEY = b"bnml.absent"
_UNREAL = ("synthetic", "sandbox", "testnet")
Holes = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One file of the store. `first_ms` and `last_ms` are open times, -1 when the file is empty."""

    symbol: Symbol
    timeframe: Timeframe
    path: Path
    rows: int
    first_ms: int
    last_ms: int
    bytes: int


class HistoryStore:
    """Bars on disk. Reads raise `MarketDataError` when a file is absent or unreadable."""

    def __init__(self, root: Path | str) -> None:
        """Keep the folder; nothing is read or created yet."""
        self.root = Path(root)

    def path(self, symbol: Symbol, timeframe: Timeframe) -> Path:
        """Give where a series is written."""
        return self.root / symbol.key / f"{timeframe.value}.parquet"

    def has(self, symbol: Symbol, timeframe: Timeframe) -> bool:
        """Whether a series is stored."""
        return self._found(symbol, timeframe) is not None

    def timeframes(self, symbol: Symbol) -> tuple[Timeframe, ...]:
        """Give the stored timeframes of a symbol, finest first."""
        return tuple(timeframe for timeframe in Timeframe if self.has(symbol, timeframe))

    def symbols(self) -> tuple[Symbol, ...]:
        """Give all stored symbols in alphabetical order."""
        return tuple(sorted({symbol for symbol, _ in self._names()}))

    def series(self) -> tuple[StoredSeries, ...]:
        """Describe every stored series, by symbol and timeframe."""
        order = list(Timeframe)
        names = sorted(set(self._names()), key=lambda name: (name[0], order.index(name[1])))
        return tuple(self.describe(symbol, timeframe) for symbol, timeframe in names)

    def describe(self, symbol: Symbol, timeframe: Timeframe) -> StoredSeries:
        """Describe one stored series."""
        path = self._require(symbol, timeframe)
        times = _times(_table(path, [_time_column(path)]))
        first, last = (int(times.min()), int(times.max())) if len(times) else (-1, -1)
        return StoredSeries(symbol, timeframe, path, len(times), first, last, path.stat().st_size)

    def read(self, symbol: Symbol, timeframe: Timeframe) -> Bars:
        """Give all bars of a series. `source` names every origin found, joined by `+`."""
        path = self._require(symbol, timeframe)
        return _bars(_table(path), symbol, timeframe)

    def holes(self, symbol: Symbol, timeframe: Timeframe) -> Holes:
        """Give the ranges `[start_ms, end_ms)` known to hold no bar at the exchange itself."""
        path = self._found(symbol, timeframe)
        metadata = (pq.read_schema(path).metadata or {}) if path else {}
        marked = json.loads(metadata.get(_ABSENT_KEY, b"[]"))
        return tuple((int(start), int(end)) for start, end in marked)

    def write(self, bars: Bars, *, holes: Holes = ()) -> Path:
        """Replace a series, all or nothing."""
        return self._save(_from_bars(bars), bars.symbol, bars.timeframe, holes)

    def merge(self, bars: Bars, *, holes: Holes = ()) -> int:
        """Add bars to a series; a stored bar of the same open time is replaced. Gives how many times are new.

        Raises `MarketDataError` rather than mix a market's bars with generated, testnet or sandbox ones.
        """
        symbol, timeframe = bars.symbol, bars.timeframe
        stored = self._stored_table(symbol, timeframe)
        _refuse_mixture(stored, bars)
        marked = tuple(sorted({*self.holes(symbol, timeframe), *holes}))
        added = _from_bars(bars)
        old, incoming = _times(stored), _times(added)
        kept = stored.filter(pa.array(~np.isin(old, incoming)))
        joined = pa.concat_tables([kept, added]).sort_by("open_time")
        self._save(joined, symbol, timeframe, marked)
        return len(joined) - len(stored)

    def _stored_table(self, symbol: Symbol, timeframe: Timeframe) -> pa.Table:
        path = self._found(symbol, timeframe)
        if path is None:
            return SCHEMA.empty_table()
        if path == self.path(symbol, timeframe):
            return _table(path).cast(SCHEMA)
        return _from_bars(self.read(symbol, timeframe))

    def _save(self, table: pa.Table, symbol: Symbol, timeframe: Timeframe, holes: Holes) -> Path:
        path = self.path(symbol, timeframe)
        path.parent.mkdir(parents=True, exist_ok=True)
        marked = table.replace_schema_metadata({_ABSENT_KEY: json.dumps(holes).encode()})
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with partial.open("wb") as file:
                pq.write_table(marked, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def _found(self, symbol: Symbol, timeframe: Timeframe) -> Path | None:
        own = self.path(symbol, timeframe)
        flat = self.root / f"{symbol.key}-{timeframe.value}.parquet"
        return next((path for path in (own, flat) if path.is_file()), None)

    def _require(self, symbol: Symbol, timeframe: Timeframe) -> Path:
        path = self._found(symbol, timeframe)
        if path is None:
            raise MarketDataError(f"{symbol} {timeframe.value}: not in the history at {self.root}")
        return path

    def _names(self) -> list[tuple[Symbol, Timeframe]]:
        nested = [(path.parent.name, path.stem) for path in self.root.glob("*/*.parquet")]
        flat = [tuple(path.stem.rsplit("-", 1)) for path in self.root.glob("*-*.parquet")]
        known = {timeframe.value: timeframe for timeframe in Timeframe}
        return [(Symbol.from_key(key), known[tf]) for key, tf in (*nested, *flat) if tf in known and "_" in key]


def content_hash(bars: Bars) -> str:
    """Give the SHA-256 (first 16 hex digits) of times, prices and volume."""
    digest = hashlib.sha256()
    for column in (bars.open_time, bars.open, bars.high, bars.low, bars.close, bars.volume):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]


def _refuse_mixture(stored: pa.Table, bars: Bars) -> None:
    origins = {
        origin for origin in stored["source"].unique().to_pylist() if _is_unreal(origin) != _is_unreal(bars.source)
    }
    if origins and len(bars):
        raise MarketDataError(
            f"{bars.symbol} {bars.timeframe.value}: stored bars are from {min(origins)}, "
            f"{bars.source} ones are not mixed with them: use another history folder"
        )


def _is_unreal(source: str) -> bool:
    return any(word in source for word in _UNREAL)


def _table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, memory_map=True, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> MarketDataError:
    return MarketDataError(f"cannot read {path}: {error}; remove the file and import or download it again")


def _time_column(path: Path) -> str:
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    return "open_time" if "open_time" in names else "timestamp"


def _times(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    column = "open_time" if "open_time" in table.column_names else "timestamp"
    milliseconds: np.ndarray[tuple[int], np.dtype[np.int64]] = (
        table[column].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
    )
    return milliseconds


def _bars(table: pa.Table, symbol: Symbol, timeframe: Timeframe) -> Bars:
    if not table.num_rows:
        return empty_bars(symbol, timeframe, "stored")
    names = table.column_names
    source = "+".join(sorted(table["source"].unique().to_pylist())) if "source" in names else "stored"
    empty = np.empty(0)
    return Bars(
        symbol=symbol,
        timeframe=timeframe,
        open_time=_times(table),
        open=_prices(table, "open"),
        high=_prices(table, "high"),
        low=_prices(table, "low"),
        close=_prices(table, "close"),
        volume=table["volume"].to_numpy(),
        source=source,
        quote_volume=table["quote_volume"].to_numpy() if "quote_volume" in names else empty,
        trades=table["trades"].to_numpy() if "trades" in names else empty.astype(np.int64),
    )


def _prices(table: pa.Table, name: str) -> FloatArray:
    """Give prices on the finest grid a venue quotes, 8 decimals: orders at finer prices could not be booked."""
    prices: FloatArray = np.round(table[name].to_numpy(), FINEST_DECIMALS)
    return prices


def _from_bars(bars: Bars) -> pa.Table:
    source = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(bars), dtype=np.int32)), pa.array([bars.source]))
    columns = [
        pa.array(bars.open_time).cast(pa.timestamp("ms", tz="UTC")),
        *(pa.array(column) for column in (bars.open, bars.high, bars.low, bars.close, bars.volume)),
        pa.array(bars.quote_volume),
        pa.array(bars.trades),
        source,
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)

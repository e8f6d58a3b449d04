"""What each `bnml-data` command does: call the history, show the result, give the exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from bn_ml.clock import SystemClock
from bn_ml.config import load_settings
from bn_ml.domain.market import Symbol, Timeframe, from_iso, from_ms, iso, to_ms
from bn_ml.env import load_env
from bn_ml.errors import BnMlError, ConfigError, MarketDataError, Transient
from bn_ml.settings import Settings
from data_manager.bars import Bars
from data_manager.downloading import download, repair
from data_manager.history import HistoryStore
from data_manager.importing import import_path
from data_manager.inspecting import inspect
from data_manager.open_source import live_source
from scripts import cli
from scripts.tables import Row, table

_DEFAULT_DAYS = 365.0
Choice = TypeVar("Choice")


def run(arguments: argparse.Namespace) -> int:
    """Run one command; gives its exit code."""
    settings = load_settings(arguments.config, environ=load_env(Path.cwd())).settings
    store = HistoryStore(arguments.history_dir or settings.data.history_dir)
    match arguments.command:
        case "download":
            return _download(arguments, settings, store)
        case "inspect":
            found = [inspect(store, symbol, timeframe) for symbol, timeframe in _stored(arguments, store)]
            rows = [{**asdict(item), "sound": item.sound} for item in found]
            return _show(arguments, rows, cli.DONE if all(item.sound for item in found) else cli.FAILED)
        case "repair":
            return _repair(arguments, settings, store)
        case "list":
            return _list(arguments, store)
        case "import":
            return _import(arguments, store)
        case "export":
            return _export(arguments, store)
    raise ConfigError([f"unknown command {arguments.command}"])


def _download(arguments: argparse.Namespace, settings: Settings, store: HistoryStore) -> int:
    clock = SystemClock()
    start_ms, end_ms = _span(arguments, to_ms(clock.now()))
    symbols = _symbols(arguments) or tuple(Symbol(name) for name in settings.universe.training_symbols)
    source = live_source(settings, clock)
    rows: list[Row] = []
    code = cli.DONE
    for symbol in symbols:
        for timeframe in _timeframes(arguments) or (Timeframe.M15,):
            try:
                rows.append({**asdict(download(store, source, symbol, timeframe, (start_ms, end_ms))), "error": ""})
            except BnMlError as error:
                code = max(code, cli.UNREACHABLE if isinstance(error, Transient) else cli.FAILED)
                rows.append(_failed(symbol, timeframe, error))
    return _show(arguments, rows, code)


def _repair(arguments: argparse.Namespace, settings: Settings, store: HistoryStore) -> int:
    source = live_source(settings, SystemClock())
    rows = [asdict(repair(store, source, symbol, timeframe)) for symbol, timeframe in _stored(arguments, store)]
    return _show(arguments, rows, cli.DONE)


def _list(arguments: argparse.Namespace, store: HistoryStore) -> int:
    names = tuple(_stored(arguments, store, empty=True))
    rows = [_described(store, symbol, timeframe) for symbol, timeframe in names]
    return _show(arguments, rows, cli.FAILED if any(row["problem"] for row in rows) else cli.DONE)


def _described(store: HistoryStore, symbol: Symbol, timeframe: Timeframe) -> dict[str, object]:
    row: dict[str, object] = {"symbol": str(symbol), "timeframe": timeframe.value}
    nothing = {"bars": 0, "first": "", "last": "", "bytes": 0}
    try:
        item = store.describe(symbol, timeframe)
    except MarketDataError as error:
        return {**row, **nothing, "problem": str(error)}
    first, last = (iso(from_ms(item.first_ms)), iso(from_ms(item.last_ms))) if item.rows else ("", "")
    return {**row, "bars": item.rows, "first": first, "last": last, "bytes": item.bytes, "problem": ""}


def _import(arguments: argparse.Namespace, store: HistoryStore) -> int:
    symbol, timeframe = _single(_symbols(arguments)), _single(_timeframes(arguments))
    outcomes = [
        outcome for path in arguments.files for outcome in import_path(path, store, symbol=symbol, timeframe=timeframe)
    ]
    rows = [{**asdict(outcome), "path": str(outcome.path)} for outcome in outcomes]
    return _show(arguments, rows, cli.FAILED if any(outcome.refused for outcome in outcomes) else cli.DONE)


def _export(arguments: argparse.Namespace, store: HistoryStore) -> int:
    wanted = list(_stored(arguments, store))
    if len(wanted) != 1:
        raise ConfigError([f"export writes one series, {len(wanted)} match: give --symbol and --timeframe"])
    bars = store.read(*wanted[0])
    if arguments.since or arguments.until or arguments.days:
        bars = bars.between(*_span(arguments, int(bars.close_time[-1])))
    _write(bars, arguments.out)
    row = {"symbol": str(bars.symbol), "timeframe": bars.timeframe.value, "bars": len(bars), "path": str(arguments.out)}
    return _show(arguments, [row], cli.DONE)


def _write(bars: Bars, path: Path) -> None:
    names = ("open", "high", "low", "close", "volume", "quote_volume", "trades")
    times = pa.array(bars.open_time).cast(pa.timestamp("ms", tz="UTC"))
    columns = {"open_time": times, **{name: pa.array(getattr(bars, name)) for name in names}}
    result = pa.table({**columns, "source": pa.array([bars.source] * len(bars), pa.string())})
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(result, path, compression="zstd")
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(result, path)
    else:
        raise ConfigError([f"--out must end in .csv or .parquet, got {path.name}"])


def _stored(
    arguments: argparse.Namespace, store: HistoryStore, *, empty: bool = False
) -> Iterator[tuple[Symbol, Timeframe]]:
    symbols, timeframes = _symbols(arguments), _timeframes(arguments)
    named = ((symbol, timeframe) for symbol in store.symbols() for timeframe in store.timeframes(symbol))
    matching = [
        (symbol, timeframe)
        for symbol, timeframe in named
        if (not symbols or symbol in symbols) and (not timeframes or timeframe in timeframes)
    ]
    if not matching and not empty:
        raise MarketDataError(f"no stored series matches in {store.root}: see `bnml-data list`")
    yield from matching


def _span(arguments: argparse.Namespace, now_ms: int) -> tuple[int, int]:
    try:
        end = to_ms(from_iso(arguments.until)) if arguments.until else now_ms
        days = timedelta(days=arguments.days or _DEFAULT_DAYS)
        start = to_ms(from_iso(arguments.since)) if arguments.since else end - days // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            [f"--from/--to/--days: {error}; write dates as 2023-06-10 or 2023-06-10T12:00:00Z"]
        ) from error
    if arguments.since and arguments.days:
        raise ConfigError(["--from and --days exclude each other"])
    if start >= end:
        raise ConfigError([f"--from {iso(from_ms(start))} is not before --to {iso(from_ms(end))}"])
    return start, end


def _symbols(arguments: argparse.Namespace) -> tuple[Symbol, ...]:
    try:
        return tuple(Symbol(name) for name in arguments.symbol)
    except ValueError as error:
        raise ConfigError([f"--symbol: {error}"]) from error


def _timeframes(arguments: argparse.Namespace) -> tuple[Timeframe, ...]:
    return tuple(Timeframe(name) for name in arguments.timeframe)


def _single(given: Sequence[Choice]) -> Choice | None:
    if len(given) > 1:
        raise ConfigError(["import takes one --symbol and one --timeframe at most"])
    return given[0] if given else None


def _failed(symbol: Symbol, timeframe: Timeframe, error: BnMlError) -> Row:
    blank = {"symbol": str(symbol), "timeframe": timeframe.value, "added": 0, "holes_filled": 0, "holes_marked": 0}
    return {**blank, "error": str(error)}


def _show(arguments: argparse.Namespace, rows: Sequence[Row], code: int) -> int:
    text = table(rows, terminal=sys.stdout.isatty())
    cli.show({"series": list(rows), "exit_code": code}, as_json=arguments.json, text=text)
    return code

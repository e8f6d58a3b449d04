"""The road from the flags of `bnml-report` to the page, its twin, and the verdict on the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from bn_ml.config import load_settings
from bn_ml.domain.market import from_iso, iso
from bn_ml.errors import ConfigError, StateError
from evidence.comparison import compare
from evidence.comparison_html import comparison_html
from evidence.excursions import excursions
from evidence.report_data import Extras, report_data
from evidence.report_making import Market, report_of, write_files, write_report
from evidence.report_reading import Part
from evidence.report_sources import (
    Configured,
    Period,
    Source,
    find_source,
    from_database,
    from_folder,
    kept_proof,
    stored_bars,
)
from scripts import cli


def run(arguments: argparse.Namespace) -> int:
    """Write the report or comparison asked for; gives the exit code.

    Raises `ConfigError` for wrong flags and `StateError` for a book that cannot be reported.
    """
    period, out = _period(arguments.begin, arguments.end), _out(arguments.out)
    loaded = load_settings(arguments.config)
    configured = Configured(loaded.settings, loaded.hash)
    if arguments.compare:
        return _compared(arguments, configured, period, out)
    data = _report(arguments, configured, period)
    page, twin = write_report(data, out)
    report = Part(data)
    result = {"report": str(page), "twin": str(twin), "verdict": data["verdict"], "headline": data["headline"]}
    said = report["verdict"]
    text = f"{said['sentence'].text} {said['advice'].text}\nwritten: {page} and {twin}"
    cli.show(result, as_json=arguments.json, text=text)
    return cli.DONE


def _compared(arguments: argparse.Namespace, configured: Configured, period: Period, out: Path) -> int:
    if arguments.mode is not None:
        raise ConfigError([f"--mode {arguments.mode}: belongs to a report of one book, not to --compare"])
    first, second = (find_source(place, configured, period) for place in arguments.compare)
    data = compare(first, second)
    page, twin = write_files(data, comparison_html(data), out)
    result = {"report": str(page), "twin": str(twin), **{key: data[key] for key in ("sentence", "counts", "causes")}}
    cli.show(result, as_json=arguments.json, text=f"{data['sentence']}\nwritten: {page} and {twin}")
    return cli.DONE


def _report(arguments: argparse.Namespace, configured: Configured, period: Period) -> Mapping[str, object]:
    if arguments.from_backtest:
        source = from_folder(arguments.from_backtest, period)
        kept = kept_proof(arguments.from_backtest) if period.is_whole else None
    else:
        path = Path(arguments.from_db or configured.settings.storage.sqlite_path)
        source, kept = from_database(path, configured, period), None
    _require_mode(source, arguments.mode)
    return _made(source, configured, kept)


def _made(source: Source, configured: Configured, kept: Mapping[str, object] | None) -> Mapping[str, object]:
    settings = configured.settings
    bars, absent, why = stored_bars(source, settings)
    run = replace(source.run, left_out=(*source.run.left_out, *absent))
    if kept is not None:
        extras = Extras(references=source.notes.references, excursions=excursions(source.book.closed, bars))
        return report_data(source.book, source.run, kept, extras)
    seed = settings.model.random_state if run.seed is None else run.seed
    market = None if why else Market(bars, settings, seed)
    return report_of(source.book, run, source.notes, market, no_proof=why)


def _require_mode(source: Source, mode: str | None) -> None:
    if mode is not None and source.book.mode != mode:
        raise StateError(
            f"{source.path}: holds a {source.book.mode} book, --mode {mode} was given; give the other path"
        )


def _period(begin: str | None, end: str | None) -> Period:
    period = Period(_instant("--from", begin), _instant("--to", end))
    if period.begin and period.end and period.begin >= period.end:
        raise ConfigError([f"--from {iso(period.begin)}: must lie before --to {iso(period.end)}"])
    return period


def _instant(flag: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return from_iso(text)
    except ValueError as error:
        raise ConfigError([f"{flag} {text}: give a date such as 2023-01-01 or an instant ending in Z"]) from error


def _out(out: Path) -> Path:
    if out.is_dir():
        raise ConfigError([f"--out {out}: is a folder; name the file to write, such as {out / 'report.html'}"])
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError([f"--out {out}: must end in .html; the JSON twin is written beside it"])
    return out

"""Gathers the days of a paper run, measures what stands beside them and writes the summary."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.config import load_settings
from bn_ml.database import reading
from bn_ml.env import Secrets, load_env
from bn_ml.errors import StateError
from bn_ml.settings import Settings
from monitoring.dod import Status, check_day
from monitoring.dod_files import read_days, result_of, write_summary
from monitoring.dod_summary import DayResult, Summary, summarised
from monitoring.dod_text import summary_markdown
from scripts import cli
from scripts.dod_checklist import Surroundings, measured

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Places:
    """Where daily reports are read from and the summary goes."""

    daily: Path
    markdown: Path
    plain: Path


def report(arguments: argparse.Namespace, places: Places) -> int:
    """Write and print the summary of the newest `--days` days; gives the exit code."""
    environ = load_env(Path.cwd())
    settings = load_settings(arguments.config, environ=environ).settings
    book = arguments.db_path or Path(settings.storage.sqlite_path)
    now = SystemClock().now()
    results, told = days_known(book, places.daily, settings, now=now)
    span = newest(results, arguments.days, now)
    surroundings = Surroundings(settings, Secrets.from_environ(environ), book, Path.cwd())
    summary = summarised(results, span, arguments.days, shown=measured(surroundings), now=now)
    finish(summary, places, as_json=arguments.json)
    for line in told:
        cli.complain(line, cli.DONE)
    return cli.DONE


def finish(summary: Summary, places: Places, *, as_json: bool) -> None:
    """Write a summary and print it as Markdown, or as JSON when asked."""
    write_summary(summary, markdown=places.markdown, plain=places.plain)
    cli.show(summary.as_dict(), as_json=as_json, text=summary_markdown(summary).rstrip("\n"))


def days_known(
    book: Path, daily: Path, settings: Settings, *, now: datetime, since: date = date.min
) -> tuple[tuple[DayResult, ...], tuple[str, ...]]:
    """Give the result of every day from `since` on that is over: its report, else the book checked now.

    Beside them, why other reports, or the book, cannot be read.

    A report written before its day was over says nothing of the whole day, so that day is checked again.
    """
    reports, unreadable = read_days(daily)
    over = {item.day: item for item in reports if since <= item.day < now.date()}
    try:
        for day in _traded_days(book):
            known = over.get(day)
            if since <= day < now.date() and (known is None or known.status == Status.INCOMPLETE.value):
                over[day] = result_of(check_day(book, day, settings, now=now))
    except StateError as error:
        unreadable = (*unreadable, str(error))
    return tuple(over[day] for day in sorted(over)), unreadable


def newest(results: Sequence[DayResult], days: int, now: datetime) -> tuple[date, date]:
    """Give the first and the last of the newest days, ending with the newest day known, else yesterday."""
    end = max((item.day for item in results), default=now.date() - DAY)
    return end - (days - 1) * DAY, end


def _traded_days(book: Path) -> tuple[date, ...]:
    """Give the days on which a cycle of the book ended."""
    if not book.exists():
        return ()
    with reading(book) as connection:
        rows = connection.execute("SELECT DISTINCT substr(ts, 1, 10) AS day FROM cycles ORDER BY day").fetchall()
    return tuple(date.fromisoformat(row["day"]) for row in rows)

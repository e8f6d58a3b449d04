"""Daily reports and summaries on disk: JSON for programs, Markdown beside it for people, each replaced in one step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from bn_ml.codecs import from_plain
from bn_ml.errors import StateError
from monitoring.dod import DayReport, Status
from monitoring.dod_summary import DayResult, Summary
from monitoring.dod_text import day_markdown, summary_markdown
from monitoring.export_files import write_atomically


@dataclass(frozen=True, slots=True)
class _Metrics:
    coverage_pct: float = 0.0
    sells: int = 0
    winning_sells: int = 0
    realized_pnl_usdt: float = 0.0


@dataclass(frozen=True, slots=True)
class _Broken:
    id: str


@dataclass(frozen=True, slots=True)
class _Day:
    date_utc: str
    status: str
    metrics: _Metrics
    violations: tuple[_Broken, ...] = ()


def write_day(report: DayReport, folder: Path) -> tuple[Path, Path]:
    """Write `<date>.json` and `<date>.md` into a folder, made when needed; gives both. Raises `OSError`."""
    plain, text = folder / f"{report.day.isoformat()}.json", folder / f"{report.day.isoformat()}.md"
    _write(text, day_markdown(report))
    _write(plain, json.dumps(report.as_dict(), indent=1) + "\n")
    return plain, text


def write_summary(summary: Summary, *, markdown: Path, plain: Path) -> None:
    """Write a summary in both forms. Raises `OSError`."""
    _write(markdown, summary_markdown(summary))
    _write(plain, json.dumps(summary.as_dict(), indent=1) + "\n")


def read_day(path: Path) -> DayResult:
    """Read one `<date>.json`; raises `StateError` when it is none."""
    try:
        day = from_plain(_Day, json.loads(path.read_text(encoding="utf-8")))
        Status(day.status)
        return DayResult(
            day=date.fromisoformat(day.date_utc),
            status=day.status,
            coverage=day.metrics.coverage_pct,
            violations=tuple(item.id for item in day.violations),
            realized_quote=Decimal(str(day.metrics.realized_pnl_usdt)),
            sells=day.metrics.sells,
            winning=day.metrics.winning_sells,
        )
    except (OSError, ValueError, StateError) as error:
        raise StateError(f"{path}: is no daily report ({error}); write it again with bnml-dod-check") from error


def read_days(folder: Path) -> tuple[tuple[DayResult, ...], tuple[str, ...]]:
    """Read all daily reports of a folder, oldest first, and why each of the others cannot be read."""
    results, unreadable = [], []
    for path in sorted(folder.glob("????-??-??.json")):
        try:
            results.append(read_day(path))
        except StateError as error:
            unreadable.append(str(error))
    return tuple(results), tuple(unreadable)


def result_of(report: DayReport) -> DayResult:
    """Give a report as far as a summary needs it."""
    figures = report.figures
    return DayResult(
        day=report.day,
        status=report.status.value,
        coverage=figures.coverage.share,
        violations=tuple(item.violation.value for item in report.found),
        realized_quote=round(figures.realized_quote, 8),
        sells=figures.sells,
        winning=figures.winning,
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)

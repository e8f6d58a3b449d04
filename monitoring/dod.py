"""The daily check: what one UTC day of a book says of itself, held against the limits of the configuration.

Facts are recomputed from the exact tables up to each instant; what the bot thought of them is not asked where they can
be known without it. A day that is not over, or with less than 95 % of its cycles, is never a PASS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path

from bn_ml.domain.market import iso, to_ms
from bn_ml.settings import Settings
from monitoring.dod_books import check_books
from monitoring.dod_cycles import REPLAY, Coverage, CycleWatcher, check_sources, coverage
from monitoring.dod_entries import EntryWatcher
from monitoring.dod_figures import Figures, figures
from monitoring.dod_findings import Finding, Findings, Violation, Window
from monitoring.dod_rows import Rows, read_rows
from monitoring.dod_stops import LIVE_GRACE_MS, StopWatcher, check_held_now
from monitoring.dod_story import Story, timeline

SCHEMA_VERSION = 1
LEAST_COVERAGE = 0.95
MOST_POSITIONS = 50
"""No configuration allows more."""


class Status(Enum):
    """What a day comes to: a violation fails it, and without enough of the day nothing passes."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCOMPLETE = "INCOMPLETE"


@dataclass(frozen=True, slots=True)
class DayReport:
    """One day's verdict. `judged` counts the facts each rule looked at; `why` says why a day is INCOMPLETE."""

    day: date
    window: Window
    status: Status
    found: tuple[Finding, ...]
    figures: Figures
    judged: Mapping[Violation, int]
    checked_at: datetime
    why: str = ""

    def as_dict(self) -> dict[str, object]:
        """Give the report as plain values; shares are fractions, amounts in the quote asset."""
        broken = Counter(item.violation for item in self.found)
        return {
            "schema_version": SCHEMA_VERSION,
            "date_utc": self.day.isoformat(),
            "window": {"start": iso(self.window.begin), "end": iso(self.window.end)},
            "status": self.status.value,
            "status_reason": self.why,
            "checked_at": iso(self.checked_at),
            "violations_count": len(self.found),
            "violations": [{"id": item.violation.value, "detail": item.detail} for item in self.found],
            "metrics": self.figures.as_dict(),
            "checks": [
                {
                    "id": rule.value,
                    "passed": not broken[rule],
                    "violations": broken[rule],
                    "facts_judged": self.judged[rule],
                }
                for rule in Violation
            ],
        }


def check_day(path: Path | str, day: date, settings: Settings, *, now: datetime) -> DayReport:
    """Check one UTC day of a book; the bot may go on writing.

    A book that does not exist yet gives an INCOMPLETE day. Raises `StateError` when there is one that cannot be read.
    """
    window = Window.of(day)
    if not Path(path).exists():
        return judged(EMPTY, day, settings, now=now)
    return judged(read_rows(path, window), day, settings, now=now)


def judged(rows: Rows, day: date, settings: Settings, *, now: datetime) -> DayReport:
    """Judge the rows of one day. Pure: what it needs to know is in its arguments."""
    window = Window.of(day)
    findings = Findings(window)
    limit = min(settings.risk.max_open_positions, MOST_POSITIONS)
    entries = EntryWatcher(findings, rows, settings, limit)
    _walk(rows, findings, entries, settings, now)
    check_held_now(rows, findings, limit)
    entries.check_shown_buys()
    check_sources(rows, findings)
    check_books(rows, findings)
    covered = coverage(rows, window, settings)
    found = tuple(findings.found())
    why = _gap(covered, window, now)
    status = Status.FAIL if found else Status.INCOMPLETE if why else Status.PASS
    measured = figures(rows, window, covered, most_open=entries.seen)
    return DayReport(day, window, status, found, measured, dict(findings.judged), now, why)


def _walk(rows: Rows, findings: Findings, entries: EntryWatcher, settings: Settings, now: datetime) -> None:
    """Live through the book until the end of the day, or until now when that comes first."""
    window, story = findings.window, Story(rows)
    until_ms = min(window.end_ms, to_ms(now))
    jumps = bool(rows.cycles) and all(row.facts.data_source == REPLAY for row in rows.cycles)
    stops = StopWatcher(findings, 0 if jumps else LIVE_GRACE_MS)
    cycles = CycleWatcher(findings, rows, settings, entries.limit)
    watchers = (entries, stops, cycles)
    begun = False
    for step in timeline(rows):
        if not begun and step.at_ms >= window.begin_ms:
            begun = True
            entries.carried(story)
        if step.at_ms >= until_ms:
            break
        story.take_in(step.at_ms)
        for watcher in watchers:
            watcher.before(step, story)
        story.apply(step)
        for watcher in watchers:
            watcher.after(step, story)
    stops.until(until_ms, story)
    cycles.finish()
    entries.carried(story)


def _gap(covered: Coverage, window: Window, now: datetime) -> str:
    if now < window.end:
        return "the day is not over"
    if not covered.cycles:
        return "no cycle ended on this day"
    if covered.covered < LEAST_COVERAGE * covered.expected:
        share = f"{covered.share:.1%}"
        return f"{covered.covered} of {covered.expected} expected cycles ({share}), {LEAST_COVERAGE:.0%} needed"
    return ""


EMPTY = Rows((), (), (), (), (), (), (), (), (), {})

"""A paper campaign: which days it has, which of them are checked, and the loop that keeps the bot running meanwhile.

What it knows is on disk after every step, so a campaign whose process or machine died goes on where it stood; the time
in between shows as gaps in the days' coverage.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Protocol

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.market import iso
from bn_ml.errors import StateError
from bn_ml.ports import Clock
from monitoring.dod import LEAST_COVERAGE, DayReport
from monitoring.dod_findings import Window
from monitoring.export_files import write_atomically

log = logging.getLogger(__name__)

DAY = timedelta(days=1)
BOOKED_BY = timedelta(seconds=30)
"""How long after midnight the day before is checked: its last cycle has ended by then."""

RETRY_EVERY = timedelta(minutes=10)
LOOK_EVERY = timedelta(seconds=1)
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class CampaignState:
    """What a campaign remembers. `checked` and `violated_on` are days as ISO dates, oldest first.

    `restarts` counts how often the bot had to be started again; `finished_at` is None while there are days left.
    """

    started_at: datetime
    days: int
    book: str
    checked: tuple[str, ...] = ()
    violated_on: tuple[str, ...] = ()
    restarts: int = 0
    finished_at: datetime | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def first_day(self) -> date:
        """The first day: the one it was started on when hardly any of that had passed, else the next."""
        day = self.started_at.date()
        missed = self.started_at - Window.of(day).begin
        return day if missed < (1 - LEAST_COVERAGE) * DAY else day + DAY

    @property
    def last_day(self) -> date:
        """The last day."""
        return self.first_day + (self.days - 1) * DAY

    @property
    def ends_at(self) -> datetime:
        """When the last day is over and can be checked."""
        return Window.of(self.last_day).end + BOOKED_BY

    def due(self, now: datetime) -> tuple[date, ...]:
        """Give the days that are over and not checked yet."""
        known = frozenset(self.checked)
        days = (self.first_day + offset * DAY for offset in range(self.days))
        return tuple(day for day in days if day.isoformat() not in known and Window.of(day).end + BOOKED_BY <= now)


class Supervised(Protocol):
    """The bot as a campaign sees it."""

    restarts: int

    def tend(self) -> str:
        """Start it when it is due and does not run; gives why it can never run, empty otherwise."""

    def stop(self) -> None:
        """End it in good order."""


class Outcome(Enum):
    """How a turn of a campaign ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    VIOLATED = "violated"
    CANNOT_RUN = "cannot run"


@dataclass(frozen=True, slots=True)
class Rules:
    """How days are checked and kept: `check` gives a day's report, `keep` writes it. `strict` ends at a violation.

    `at_end` is called while the bot still runs.
    """

    check: Callable[[date, datetime], DayReport]
    keep: Callable[[DayReport], object]
    strict: bool = False
    at_end: Callable[[], None] = lambda: None


class Campaign:
    """Keeps the bot running until the last day is checked, checking each day once it is over."""

    def __init__(self, file: Path, state: CampaignState, bot: Supervised, *, rules: Rules, clock: Clock) -> None:
        """Go on with a state that is kept in `file`."""
        self.state = state
        self._file = file
        self._bot = bot
        self._rules = rules
        self._clock = clock
        self._retry_at = state.started_at

    def run(self, stop: Callable[[], bool], *, look_every: timedelta = LOOK_EVERY) -> Outcome:
        """Run to the end, a stop or, when strict, a violation; the bot is ended in any case."""
        self._save()
        try:
            outcome = self._run(stop, look_every)
            self._rules.at_end()
            return outcome
        finally:
            self._bot.stop()
            self._save()

    def _run(self, stop: Callable[[], bool], look_every: timedelta) -> Outcome:
        while True:
            now = self._clock.now()
            self._check(now)
            if self._rules.strict and self.state.violated_on:
                log.error("campaign ends, rules were violated on %s", ", ".join(self.state.violated_on))
                return Outcome.VIOLATED
            if now >= self.state.ends_at:
                self.state = replace(self.state, finished_at=now)
                return Outcome.FINISHED
            if stop():
                return Outcome.STOPPED
            problem = self._bot.tend()
            if problem:
                log.error("the bot cannot run: %s", problem)
                return Outcome.CANNOT_RUN
            self._note_restarts()
            self._clock.sleep_until(now + look_every)

    def _check(self, now: datetime) -> None:
        """Check the days that are due, oldest first; one that cannot be checked or kept is tried again later."""
        if now < self._retry_at:
            return
        for day in self.state.due(now):
            name = day.isoformat()
            try:
                report = self._rules.check(day, now)
                self._rules.keep(report)
            except (StateError, OSError) as error:
                log.error("day not checked day=%s, next attempt in %s error=%s", name, RETRY_EVERY, error)
                self._retry_at = now + RETRY_EVERY
                return
            broken = (*self.state.violated_on, name) if report.found else self.state.violated_on
            self.state = replace(self.state, checked=(*self.state.checked, name), violated_on=broken)
            self._save()
            log.log(
                logging.WARNING if report.found else logging.INFO,
                "day checked day=%s status=%s violations=%s coverage=%.1f%%",
                day,
                report.status.value,
                len(report.found),
                report.figures.coverage.share * 100,
            )

    def _note_restarts(self) -> None:
        if self._bot.restarts:
            self.state = replace(self.state, restarts=self.state.restarts + self._bot.restarts)
            self._bot.restarts = 0
            self._save()

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file, json.dumps(to_plain(self.state), indent=1) + "\n")


def resumed(file: Path, *, book: str, days: int, now: datetime) -> CampaignState:
    """Give the campaign a file keeps when it is of this book and not over, else a new one that starts now.

    Another number of days makes it longer or shorter. Raises `StateError` for a file that cannot be read.
    """
    if file.exists():
        try:
            kept = from_plain(CampaignState, json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, StateError) as error:
            raise StateError(f"{file}: cannot be read ({error}); move it away to begin a new campaign") from error
        if kept.book == book and kept.finished_at is None:
            log.info("campaign goes on started=%s checked=%s of %s", iso(kept.started_at), len(kept.checked), days)
            return replace(kept, days=days)
    return CampaignState(started_at=now, days=days, book=book)

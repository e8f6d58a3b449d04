"""Thirty days of paper trading in accelerated replay: every full day passes, and what is cut out shows as a gap."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from monitoring.dod import DayReport, Status, check_day
from monitoring.dod_files import read_days, write_day
from monitoring.dod_findings import Window
from monitoring.dod_summary import Item, Shown, summarised
from scripts.dod_campaign import BOOKED_BY, Campaign, CampaignState, Outcome, Rules, resumed
from tests.fakes.dod_days import Month, replayed_month

SHOWN = {item: Shown(True, "shown") for item in Item}
LOOK = timedelta(hours=6)


class LivedThrough:
    """A bot whose whole life is in the book already."""

    def __init__(self) -> None:
        self.restarts = 0
        self.tended = 0
        self.stopped = 0

    def tend(self) -> str:
        self.tended += 1
        return ""

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    return replayed_month(tmp_path_factory.mktemp("month"))


def end_of(month: Month) -> datetime:
    return Window.of(month.first + timedelta(days=month.days - 1)).end


def span(month: Month) -> tuple[date, date]:
    return month.first, month.first + timedelta(days=month.days - 1)


def campaign(
    month: Month, folder: Path, now: datetime, **rules: object
) -> tuple[Campaign, SimulatedClock, LivedThrough]:
    """A campaign over the month that stands at an instant."""
    clock, bot, file = SimulatedClock(now), LivedThrough(), folder / "campaign.json"

    def check(day: date, at: datetime) -> DayReport:
        return check_day(month.book, day, month.settings, now=at)

    made = Rules(check, lambda report: write_day(report, folder / "daily"), **rules)  # type: ignore[arg-type]
    state = resumed(file, book=str(month.book), days=month.days, now=now)
    return Campaign(file, state, bot, rules=made, clock=clock), clock, bot


@pytest.fixture(scope="module")
def checked(month: Month, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a campaign that ran through the month, stopped once on its way and taken up again."""
    folder = tmp_path_factory.mktemp("campaign")
    begin = Window.of(month.first).begin
    first, clock, bot = campaign(month, folder, begin)
    halfway = begin + timedelta(days=12, hours=7)
    assert first.run(lambda: clock.now() >= halfway, look_every=LOOK) is Outcome.STOPPED
    assert (bot.stopped, len(first.state.checked)) == (1, 12)
    later, _, bot = campaign(month, folder, halfway + timedelta(hours=5))
    assert later.run(lambda: False, look_every=LOOK) is Outcome.FINISHED
    assert bot.stopped == 1
    return folder


def test_every_full_day_of_a_replayed_month_passes_across_a_restart_of_the_campaign(
    month: Month, checked: Path
) -> None:
    results, unreadable = read_days(checked / "daily")
    assert unreadable == ()
    assert [item.status for item in results] == [Status.PASS.value] * 30
    assert sum(item.sells for item in results) > 100

    state = json.loads((checked / "campaign.json").read_text(encoding="utf-8"))
    assert state["finished_at"] is not None
    summary = summarised(results, span(month), 30, shown=SHOWN, now=end_of(month))
    assert (summary.days_observed, summary.gaps, summary.violations) == (30, (), 0)
    assert summary.is_done


def test_days_cut_out_of_the_month_are_incomplete_and_counted_as_gaps(
    month: Month, checked: Path, tmp_path: Path
) -> None:
    lost, thin = month.first + timedelta(days=19), month.first + timedelta(days=24)
    book = copied(month.book, tmp_path)
    with closing(sqlite3.connect(book)) as connection, connection:
        connection.execute("DELETE FROM cycles WHERE ts LIKE ?", (f"{lost.isoformat()}%",))
        connection.execute(
            "DELETE FROM cycles WHERE id IN (SELECT id FROM cycles WHERE ts LIKE ? LIMIT 2)", (f"{thin.isoformat()}%",)
        )
    shutil.copytree(checked / "daily", tmp_path / "daily")
    run, _, _ = campaign(Month(book, month.settings, month.first, month.days), tmp_path, end_of(month) + BOOKED_BY)
    # As if the campaign had been off on both days and looked at them at the end.
    days = [month.first + timedelta(days=offset) for offset in range(month.days)]
    known = tuple(day.isoformat() for day in days if day not in (lost, thin))
    run.state = CampaignState(Window.of(month.first).begin, month.days, str(book), checked=known)

    assert run.run(lambda: False, look_every=LOOK) is Outcome.FINISHED

    results, _ = read_days(tmp_path / "daily")
    bad = {item.day: item.status for item in results if item.status != Status.PASS.value}
    assert bad == {lost: "INCOMPLETE", thin: "INCOMPLETE"}
    summary = summarised(results, span(month), 30, shown=SHOWN, now=end_of(month))
    assert [gap.day for gap in summary.gaps] == [lost, thin]
    assert summary.days_observed == 28
    assert not summary.checklist[Item.DURATION].passed


def test_a_strict_campaign_ends_at_the_first_violation_and_stays_ended(month: Month, tmp_path: Path) -> None:
    book = copied(month.book, tmp_path)
    third = month.first + timedelta(days=2)
    with closing(sqlite3.connect(book)) as connection, connection:
        connection.execute(
            "UPDATE cycles SET data_json = json_set(data_json, '$.data_source', 'synthetic') WHERE ts LIKE ?",
            (f"{third.isoformat()}%",),
        )
    spoiled = Month(book, month.settings, month.first, month.days)
    begin = Window.of(month.first).begin

    run, _, bot = campaign(spoiled, tmp_path, begin, strict=True)
    assert run.run(lambda: False, look_every=LOOK) is Outcome.VIOLATED
    assert run.state.checked[-1] == third.isoformat()
    assert bot.stopped == 1

    again, _, bot = campaign(spoiled, tmp_path, begin + timedelta(days=4), strict=True)
    assert again.run(lambda: False, look_every=LOOK) is Outcome.VIOLATED
    assert bot.tended == 0


def copied(book: Path, folder: Path) -> Path:
    """A copy of a book without the rules that keep its rows."""
    copy = folder / "copy.db"
    shutil.copy(book, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
    return copy

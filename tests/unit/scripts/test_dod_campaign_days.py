"""Which days a campaign has, when each is due, and what becomes of a day that cannot be checked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.errors import StateError
from bn_ml.settings import Settings
from monitoring.dod import EMPTY, DayReport, judged
from monitoring.dod_findings import Window
from scripts.dod_campaign import BOOKED_BY, RETRY_EVERY, Campaign, CampaignState, Outcome, Rules, resumed

DAY = date(2026, 3, 4)
BEGIN = Window.of(DAY).begin


class Idle:
    """A bot with nothing to do."""

    def __init__(self, problem: str = "") -> None:
        self.restarts, self.restarted = 0, 3
        self.problem = problem
        self.stopped = 0

    def tend(self) -> str:
        self.restarts, self.restarted = self.restarted, 0
        return self.problem

    def stop(self) -> None:
        self.stopped += 1


def empty_day(day: date, now: datetime) -> DayReport:
    return judged(EMPTY, day, Settings(), now=now)


def campaign(
    folder: Path, check: Callable[[date, datetime], DayReport], *, days: int = 2, bot: Idle | None = None
) -> tuple[Campaign, list[DayReport]]:
    kept: list[DayReport] = []
    rules = Rules(check, kept.append)
    state = CampaignState(BEGIN, days, "book")
    return Campaign(folder / "c.json", state, bot or Idle(), rules=rules, clock=SimulatedClock(BEGIN)), kept


@pytest.mark.parametrize(
    ("into_the_day", "first"),
    [(timedelta(), 0), (timedelta(minutes=71), 0), (timedelta(minutes=72), 1), (timedelta(hours=20), 1)],
)
def test_the_first_day_is_the_one_begun_on_while_enough_of_it_is_left(into_the_day: timedelta, first: int) -> None:
    state = CampaignState(BEGIN + into_the_day, 30, "book")

    assert state.first_day == DAY + timedelta(days=first)
    assert (state.last_day - state.first_day).days == 29


def test_a_day_is_due_once_it_is_over_and_its_last_cycle_booked() -> None:
    state = CampaignState(BEGIN, 2, "book")
    over = Window.of(DAY).end + BOOKED_BY

    assert state.due(over - timedelta(milliseconds=1)) == ()
    assert state.due(over) == (DAY,)
    assert state.due(over + timedelta(days=40)) == (DAY, DAY + timedelta(days=1))


def test_a_campaign_checks_each_day_once_and_counts_restarts(tmp_path: Path) -> None:
    bot = Idle()
    run, kept = campaign(tmp_path, empty_day, bot=bot)

    assert run.run(lambda: False, look_every=timedelta(hours=1)) is Outcome.FINISHED

    assert [report.day for report in kept] == [DAY, DAY + timedelta(days=1)]
    assert run.state.restarts == 3
    assert bot.stopped == 1
    assert resumed(tmp_path / "c.json", book="book", days=2, now=BEGIN + timedelta(days=9)).started_at > BEGIN


def test_a_day_that_cannot_be_checked_is_tried_again_and_never_lost(tmp_path: Path) -> None:
    asked: list[datetime] = []

    def check(day: date, now: datetime) -> DayReport:
        asked.append(now)
        if len(asked) < 3:
            raise StateError("the disk had a bad moment")
        return empty_day(day, now)

    run, kept = campaign(tmp_path, check)

    assert run.run(lambda: False, look_every=timedelta(minutes=5)) is Outcome.FINISHED

    assert [report.day for report in kept] == [DAY, DAY + timedelta(days=1)]
    assert asked[1] - asked[0] >= RETRY_EVERY
    assert asked[2] - asked[1] >= RETRY_EVERY


def test_a_bot_that_can_never_run_ends_the_campaign(tmp_path: Path) -> None:
    bot = Idle("its configuration was refused")
    run, _ = campaign(tmp_path, empty_day, bot=bot)

    assert run.run(lambda: False) is Outcome.CANNOT_RUN
    assert bot.stopped == 1


def test_a_stop_ends_the_bot_after_its_surroundings_were_looked_at(tmp_path: Path) -> None:
    bot, seen = Idle(), list[int]()
    rules = Rules(empty_day, lambda report: None, at_end=lambda: seen.append(bot.stopped))
    run = Campaign(tmp_path / "c.json", CampaignState(BEGIN, 2, "book"), bot, rules=rules, clock=SimulatedClock(BEGIN))

    assert run.run(lambda: True) is Outcome.STOPPED
    assert (seen, bot.stopped) == ([0], 1)


def test_another_book_begins_anew_and_another_length_goes_on(tmp_path: Path) -> None:
    run, _ = campaign(tmp_path, empty_day)
    run.run(lambda: True)
    later = BEGIN + timedelta(days=3)

    kept = resumed(tmp_path / "c.json", book="book", days=5, now=later)
    assert (kept.started_at, kept.days) == (BEGIN, 5)
    assert resumed(tmp_path / "c.json", book="other", days=5, now=later).started_at == later


def test_a_state_that_cannot_be_read_is_told_and_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text("{", encoding="utf-8")

    with pytest.raises(StateError, match="move it away"):
        resumed(file, book="book", days=5, now=BEGIN)
    assert file.read_text(encoding="utf-8") == "{"

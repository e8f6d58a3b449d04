"""Merging, grouping, ends and the hourly limit of alerts."""

from __future__ import annotations

import pytest

from monitoring.alert_book import OVERFLOW, AlertBook, Fate
from monitoring.alert_entries import Batch, Entry, Turn
from tests.fakes.alert_builders import CRITICAL, INFO, WARNING, an_alert, an_end, at


def a_book(dedupe_s: float = 300, max_per_hour: int = 20, min_level: int = 20) -> AlertBook:
    return AlertBook(dedupe_s=dedupe_s, max_per_hour=max_per_hour, min_level=min_level)


def batches(book: AlertBook, start_s: float, end_s: float, step_s: float = 1.0) -> list[Batch]:
    """Give what is due when the book is asked every `step_s`."""
    count = int((end_s - start_s) / step_s) + 1
    found = [book.due(at(start_s + step * step_s)) for step in range(count)]
    return [batch for batch in found if batch is not None]


def entries(book: AlertBook, start_s: float, end_s: float, step_s: float = 1.0) -> list[Entry]:
    return [entry for batch in batches(book, start_s, end_s, step_s) for entry in batch.entries]


def test_a_critical_alert_is_told_at_once() -> None:
    book = a_book()
    assert book.take(an_alert(level=CRITICAL), at(0)).fate is Fate.WAITS
    batch = book.due(at(0))
    assert batch is not None
    assert [entry.turn for entry in batch.entries] == [Turn.BEGINS]


@pytest.mark.parametrize(("after_s", "told"), [(0.9, 0), (1.0, 2), (1.1, 2)])
def test_other_alerts_wait_a_second_for_company(after_s: float, told: int) -> None:
    book = a_book()
    book.take(an_alert("one"), at(0))
    book.take(an_alert("two", INFO), at(0.5))
    batch = book.due(at(after_s))
    assert (len(batch.entries) if batch else 0) == told


@pytest.mark.parametrize(("again_s", "fate"), [(299, Fate.MERGED), (300, Fate.WAITS), (301, Fate.WAITS)])
def test_a_repeat_within_the_time_is_merged(again_s: float, fate: Fate) -> None:
    book = a_book()
    book.take(an_alert(level=CRITICAL), at(0))
    assert book.due(at(0)) is not None
    assert book.take(an_alert(level=CRITICAL), at(again_s)).fate is fate


def test_merged_repeats_are_told_with_their_count_when_the_time_is_over() -> None:
    book = a_book()
    book.take(an_alert(), at(0))
    assert len(entries(book, 0, 10)) == 1
    for second in range(20, 34):
        book.take(an_alert(title=f"title {second}"), at(second))
    assert entries(book, 34, 299) == []
    (again,) = entries(book, 300, 320)
    assert (again.turn, again.count, again.alert.title) == (Turn.AGAIN, 14, "title 33")


def test_an_end_closes_the_incident_under_its_id() -> None:
    book = a_book()
    opened = book.take(an_alert(level=CRITICAL), at(0))
    book.due(at(0))
    book.take(an_end(title="stop resting"), at(31))
    (ended,) = entries(book, 31, 40)
    assert (ended.turn, ended.id, ended.over_s, ended.alert.title) == (Turn.ENDS, opened.id, 31, "stop resting")


def test_an_end_of_nothing_is_not_told() -> None:
    book = a_book()
    assert book.take(an_end(), at(0)).fate is Fate.NOTHING_TO_END
    assert entries(book, 0, 100) == []


def test_what_begins_and_ends_before_it_is_told_is_told_as_both() -> None:
    book = a_book()
    book.take(an_alert(), at(0))
    book.take(an_end(), at(0.5))
    assert [entry.turn for entry in entries(book, 1, 3)] == [Turn.BEGINS, Turn.ENDS]


def test_what_gets_worse_is_told_at_once() -> None:
    book = a_book()
    book.take(an_alert(level=WARNING), at(0))
    book.due(at(1))
    book.take(an_alert(level=CRITICAL), at(5))
    batch = book.due(at(5))
    assert batch is not None
    assert batch.entries[0].is_critical


def test_a_milder_repeat_does_not_take_the_words_of_an_untold_critical_alert() -> None:
    book = a_book()
    book.take(an_alert(level=CRITICAL, title="grave"), at(0))
    book.take(an_alert(level=WARNING, title="mild"), at(0))
    (entry,) = entries(book, 0, 0)
    assert (entry.alert.title, entry.count, entry.is_critical) == ("grave", 2, True)


@pytest.mark.parametrize(("level", "fate"), [(INFO, Fate.BELOW_LEVEL), (WARNING, Fate.WAITS)])
def test_alerts_below_the_least_level_are_not_told(level: object, fate: Fate) -> None:
    assert a_book(min_level=30).take(an_alert(level=level), at(0)).fate is fate  # type: ignore[arg-type]


def test_the_hour_ends_at_its_limit_and_the_rest_is_told_as_a_number() -> None:
    book = a_book(max_per_hour=3)
    told = 0
    for number in range(10):
        book.take(an_alert(f"k{number}"), at(number * 60))
        told += len(batches(book, number * 60 + 1, number * 60 + 50))
    assert told == 3
    assert batches(book, 600, 3599) == []
    (summary,) = batches(book, 3600, 3700)
    assert (summary.entries, summary.suppressed) == ((), 7)


def test_critical_alerts_go_beyond_the_limit_and_carry_the_number_left_out() -> None:
    book = a_book(max_per_hour=1)
    book.take(an_alert("a"), at(0))
    assert len(batches(book, 0, 5)) == 1
    assert book.take(an_alert("b"), at(6)).fate is Fate.SUPPRESSED
    book.take(an_alert("c", CRITICAL), at(7))
    batch = book.due(at(7))
    assert batch is not None
    assert (batch.entries[0].alert.key, batch.suppressed) == ("c", 1)


def test_a_persistent_incident_is_told_ever_more_seldom() -> None:
    book, told = a_book(), 0
    for minute in range(24 * 60):
        book.take(an_alert(level=CRITICAL), at(minute * 60))
        told += len(batches(book, minute * 60, minute * 60 + 59, 30))
    assert 20 <= told <= 35


def test_remembered_incidents_end_after_a_restart() -> None:
    first, second = a_book(), a_book()
    opened = first.take(an_alert(level=CRITICAL), at(0))
    first.due(at(0))
    second.restore(first.open_incidents())
    second.take(an_end(), at(60))
    (ended,) = entries(second, 60, 70)
    assert ended.id == opened.id


def test_more_incidents_than_can_be_listed_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.alert_book.MOST_INCIDENTS", 3)
    book = a_book()
    keys = [book.take(an_alert(f"k{number}", CRITICAL), at(0)).key for number in range(6)]
    assert keys == ["k0", "k1", "k2", *[OVERFLOW] * 3]
    assert sum(entry.count for entry in entries(book, 0, 0)) == 6


def test_a_clock_set_back_by_a_day_stops_nothing() -> None:
    book = a_book(max_per_hour=5)
    for number in range(12):
        book.take(an_alert(f"k{number}", CRITICAL), at(number))
        book.due(at(number))
    book.take(an_alert("later", CRITICAL), at(-86_400))
    assert "later" in [entry.alert.key for entry in entries(book, -86_400, -86_390)]


def test_draining_gives_all_that_waits_whatever_the_pace() -> None:
    book = a_book()
    for number in range(8):
        book.take(an_alert(f"k{number}", CRITICAL), at(0))
        book.due(at(0))
    book.take(an_alert("k0", CRITICAL), at(1))
    assert {"k0", "k4", "k5", "k6", "k7"} <= {entry.alert.key for entry in book.drain(at(1)).entries}

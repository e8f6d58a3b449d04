"""Storms of alerts of any shape: few messages, nothing critical lost, every occurrence counted."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.alerts import AlertLevel
from monitoring.alert_book import AlertBook
from monitoring.alert_entries import Batch, Entry, Turn
from monitoring.alert_text import LONGEST_GROUP, message_of
from tests.fakes.alert_builders import an_alert, an_end, at

LEVELS = st.sampled_from(list(AlertLevel))
KEYS = st.integers(0, 30).map(lambda number: f"kind:{number}")
OFFERS = st.lists(st.tuples(KEYS, LEVELS, st.booleans(), st.floats(0, 120)), max_size=150)


def written(batch: Batch, now_s: float) -> list[str]:
    """Write a batch as a lane does: again and again until all that must be told is told."""
    texts, left = [], batch
    while left.entries or left.suppressed:
        message = message_of(left, "PAPER", at(now_s))
        texts.append(message.text)
        told = set(map(id, message.told))
        left = Batch(tuple(entry for entry in left.entries if id(entry) not in told))
    return texts


@settings(max_examples=60, deadline=None)
@given(OFFERS)
def test_every_critical_occurrence_is_told_or_counted_in_order(
    offers: list[tuple[str, AlertLevel, bool, float]],
) -> None:
    book = AlertBook(dedupe_s=300, max_per_hour=20, min_level=20)
    given_critical: Counter[str] = Counter()
    told: list[Entry] = []
    now_s = 0.0
    for key, level, ends, wait_s in offers:
        now_s += wait_s
        book.take(an_end(key) if ends else an_alert(key, level), at(now_s))
        given_critical[key] += level is AlertLevel.CRITICAL and not ends
        batch = book.due(at(now_s))
        told.extend(batch.entries if batch else ())
    for step in range(200):
        batch = book.due(at(now_s + step * 90))
        told.extend(batch.entries if batch else ())
    counted: Counter[str] = Counter()
    for entry in told:
        counted[entry.alert.key] += entry.count if entry.turn is not Turn.ENDS else 0
    for key, count in given_critical.items():
        assert counted[key] >= count
        assert not count or any(entry.is_critical for entry in told if entry.alert.key == key)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 1000), st.integers(0, 100), st.floats(0, 120), st.integers(1, 1000))
def test_a_storm_of_two_minutes_is_at_most_twenty_messages_within_the_hour(
    events: int, critical_of_100: int, length_s: float, distinct: int
) -> None:
    book = AlertBook(dedupe_s=300, max_per_hour=20, min_level=20)
    texts: list[str] = []
    named: set[str] = set()
    turn_s, offered = 5.0, 0
    for turn in range(int(3600 / turn_s)):
        while offered < events and offered * length_s / events <= turn * turn_s:
            level = AlertLevel.CRITICAL if offered * 37 % 100 < critical_of_100 else AlertLevel.WARNING
            title = f"trouble number {offered % distinct}"
            book.take(an_alert(f"storm:{offered % distinct}:{level}", level, title=title), at(turn * turn_s))
            named |= {title} if level is AlertLevel.CRITICAL else set()
            offered += 1
        batch = book.due(at(turn * turn_s))
        texts += written(batch, turn * turn_s) if batch else []
    assert len(texts) <= 20
    assert all(len(text) <= LONGEST_GROUP + 200 for text in texts)
    late = [written(batch, 0) for step in range(60) if (batch := book.due(at(3600) + timedelta(minutes=step)))]
    everything = "\n".join([*texts, *(text for some in late for text in some)])
    assert [title for title in named if title not in everything] == []

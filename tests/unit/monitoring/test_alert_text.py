"""The words of a message."""

from __future__ import annotations

import pytest

from monitoring.alert_entries import Batch, Entry, Turn
from monitoring.alert_text import LONGEST_GROUP, LONGEST_SINGLE, message_of
from tests.fakes.alert_builders import CRITICAL, INFO, WARNING, an_alert, an_end, at


def text_of(*entries: Entry, suppressed: int = 0, now_s: float = 0) -> str:
    return message_of(Batch(entries, suppressed), "LIVE", at(now_s)).text


def critical(number: int = 0, **fields: object) -> Entry:
    return Entry(an_alert(f"k{number}", CRITICAL, title=f"trouble {number}", **fields), "c41f")


def test_one_alert_says_mode_level_and_id_first_then_why_then_what_next() -> None:
    entry = Entry(an_alert(level=CRITICAL, title="unprotected", why="stop refused", next_action="look"), "c41f")
    assert text_of(entry) == "[LIVE] CRITICAL unprotected #c41f\nwhy: stop refused\nnext: look"


def test_an_information_needs_no_level_and_no_id() -> None:
    assert text_of(Entry(an_alert(level=INFO, title="BUY BTC/USDC"), "c41f")) == "[LIVE] BUY BTC/USDC"


def test_an_end_names_the_incident_and_how_long_it_lasted() -> None:
    ended = Entry(an_end(title="stop resting at 141.20"), "c41f", Turn.ENDS, over_s=31)
    assert text_of(ended) == "[LIVE] RESOLVED #c41f after 31 s: stop resting at 141.20"


def test_a_repeat_says_how_often() -> None:
    assert "(x14 in 5 min)" in text_of(Entry(an_alert(), "c41f", Turn.AGAIN, 14, 300))


@pytest.mark.parametrize(("age_s", "dated"), [(300, False), (301, True)])
def test_an_old_alert_says_when_it_was(age_s: float, dated: bool) -> None:
    assert ("at 03-02 10:00:00Z" in text_of(critical(), now_s=age_s)) is dated


def test_the_number_left_out_is_the_last_line() -> None:
    assert text_of(critical(), suppressed=63).splitlines()[-1].startswith("63 more suppressed")


@pytest.mark.parametrize("size", [0, 100, 10_000])
def test_one_alert_stays_short(size: int) -> None:
    long = "x" * size
    entry = Entry(an_alert(level=CRITICAL, title=f"t {long}"[:400], why=long, next_action=long), "c41f")
    assert len(text_of(entry)) <= LONGEST_SINGLE


def test_several_alerts_are_lines_with_the_critical_ones_first() -> None:
    lines = text_of(Entry(an_alert("mild"), "aaaa"), critical(1)).splitlines()
    assert lines[0].startswith("[LIVE] CRITICAL trouble 1")
    assert "and 1 more" in lines[0]
    assert ["trouble 1" in lines[1], "title of mild" in lines[2]] == [True, True]


@pytest.mark.parametrize("count", [2, 12, 13, 60, 61, 1000])
def test_every_critical_alert_is_named_however_many_messages_it_takes(count: int) -> None:
    left = tuple(critical(number, why="y" * 300) for number in range(count))
    texts = []
    while left:
        message = message_of(Batch(left), "LIVE", at(0))
        texts.append(message.text)
        told = set(map(id, message.told))
        left = tuple(entry for entry in left if id(entry) not in told)
    named = ", ".join(texts)
    assert [number for number in range(count) if f"trouble {number}" not in named] == []
    assert max(map(len, texts)) <= LONGEST_GROUP
    assert len(texts) <= 6


def test_other_alerts_of_a_crowd_are_a_number() -> None:
    message = message_of(Batch(tuple(Entry(an_alert(f"k{n}", WARNING), "aaaa") for n in range(100))), "LIVE", at(0))
    assert "and 100 more that are not critical" in message.text
    assert len(message.told) == 100

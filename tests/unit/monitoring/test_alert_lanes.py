"""One channel's queue: waits, the breaker, and what is given up."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from monitoring.alert_entries import Batch, Entry, Turn
from monitoring.alert_lanes import DEAD_AFTER, AlertLane, Health, joined
from monitoring.alert_text import Message, message_of
from monitoring.channel_failures import ChannelFailed
from tests.fakes.alert_builders import CRITICAL, WARNING, an_alert, at


@dataclass
class RecordingChannel:
    """Fails as often as it is told to, then accepts."""

    name: str = "webhook"
    failures: list[ChannelFailed] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def send(self, message: Message) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.texts.append(message.text)


def entry(key: str, critical: bool = True) -> Entry:
    return Entry(an_alert(key, CRITICAL if critical else WARNING), key[:4])


def a_lane(*failures: ChannelFailed) -> tuple[AlertLane, RecordingChannel]:
    channel = RecordingChannel(failures=list(failures))
    return AlertLane(channel), channel


def try_once(lane: AlertLane, now_s: float) -> Health:
    return lane.send(message_of(lane.batch(), "LIVE", at(now_s)), now_s).health


def test_waits_double_after_each_failure() -> None:
    lane, _ = a_lane(*[ChannelFailed("no")] * 3)
    lane.add(Batch((entry("fire"),)))
    due = [lane.is_due(0)]
    for now_s, wait_s in ((0, 2), (2, 4), (6, 8)):
        try_once(lane, now_s)
        due += [lane.is_due(now_s + wait_s - 0.1), lane.is_due(now_s + wait_s)]
    assert due == [True, *[False, True] * 3]


@pytest.mark.parametrize(("asked_s", "waits_s"), [(0, 2), (17, 17), (3000, 3000)])
def test_the_other_side_says_how_long_to_wait(asked_s: float, waits_s: float) -> None:
    lane, _ = a_lane(ChannelFailed("429", wait_s=asked_s))
    lane.add(Batch((entry("fire"),)))
    try_once(lane, 0)
    assert (lane.is_due(waits_s - 0.1), lane.is_due(waits_s)) == (False, True)


def test_a_channel_dies_and_recovers_once() -> None:
    lane, channel = a_lane(*[ChannelFailed("no")] * 5)
    lane.add(Batch((entry("fire"),)))
    news = [try_once(lane, number * 1000) for number in range(7)]
    expected = [Health.SAME] * (DEAD_AFTER - 1) + [Health.DIED] + [Health.SAME] * 2 + [Health.RECOVERED, Health.SAME]
    assert news == expected
    assert "title of fire" in channel.texts[0]


def test_a_refusal_for_good_is_dead_at_once_and_not_tried_soon() -> None:
    lane, _ = a_lane(ChannelFailed("token", refused=True))
    lane.add(Batch((entry("fire"),)))
    assert try_once(lane, 0) is Health.DIED
    assert (lane.is_due(299), lane.is_due(300)) == (False, True)


def test_a_dead_channel_keeps_critical_alerts_only_and_counts_the_others() -> None:
    lane, channel = a_lane(ChannelFailed("token", refused=True))
    lane.add(Batch((entry("fire"), entry("smoke", critical=False))))
    try_once(lane, 0)
    dropped = lane.add(Batch((entry("flood"), entry("rain", critical=False))))
    assert [item.alert.key for item in dropped] == ["rain"]
    try_once(lane, 1000)
    assert all(title in channel.texts[0] for title in ("title of fire", "title of flood", "2 more suppressed"))
    assert lane.is_empty


def test_an_error_nobody_foresaw_is_a_failure_too() -> None:
    class Broken(RecordingChannel):
        def send(self, message: Message) -> None:
            raise RuntimeError("a bug")

    lane = AlertLane(Broken())
    lane.add(Batch((entry("fire"),)))
    with pytest.raises(RuntimeError):
        try_once(lane, 0)
    assert (lane.failures, lane.is_due(1.9), lane.is_due(2)) == (1, False, True)


def test_what_does_not_fit_in_one_message_stays() -> None:
    lane, channel = a_lane()
    lane.add(Batch(tuple(entry(f"{number:04d} {'x' * 40}") for number in range(500))))
    while not lane.is_empty:
        try_once(lane, 0)
    assert 2 <= len(channel.texts) <= 10


def test_entries_of_one_incident_are_joined() -> None:
    alert = an_alert("fire", CRITICAL)
    first, again = Entry(alert, "c41f", kept=1), Entry(alert, "c41f", Turn.AGAIN, 3, 300, kept=4)
    other = Entry(an_alert("flood", CRITICAL), "c41f", kept=1)
    result = joined([first, again, other, again])
    assert [(item.alert.key, item.turn, item.count, item.kept) for item in result] == [
        ("fire", Turn.BEGINS, 1, 1),
        ("flood", Turn.BEGINS, 1, 1),
        ("fire", Turn.AGAIN, 6, 4),
    ]

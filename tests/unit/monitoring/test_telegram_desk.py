"""What the chat may do: ask, pause and kill; and what happens when it is late, foreign, or cannot be reached."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.domain.alerts import AlertLevel
from bn_ml.halting import HaltMarker, flattens
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from monitoring.telegram_answers import HELP
from monitoring.telegram_bot_api import BotApiDown, BotApiRefused, TooManyRequests
from monitoring.telegram_desk import FOLLOWED_S, MOST_ANSWERS, QUIET_S
from monitoring.telegram_updates import Other
from tests.fakes.book_builders import AT, BTC, a_story
from tests.fakes.telegram_chat import OURS, STRANGER, Chat, a_chat


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Chat, StateStore]]:
    with a_chat(tmp_path) as made:
        yield made


@pytest.fixture
def chat(opened: tuple[Chat, StateStore]) -> Chat:
    return opened[0]


def audit(chat: Chat) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in chat.audit.path.read_text().splitlines()]
    return [(row["what"], row["outcome"]) for row in rows]


def test_a_kill_is_asked_again_and_then_committed(chat: Chat) -> None:
    chat.write("/kill")
    assert chat.control().state is ControlState.NORMAL
    assert chat.line.buttons() == ["kill:t0"]
    chat.wait(29.9)
    chat.press("kill:t0")
    control = chat.control()
    assert (control.state, control.set_by) == (ControlState.HALTED, "telegram chat ..7890 @anna")
    assert flattens(control, BTC)
    assert chat.line.answered[0][0] == "press-1"
    assert audit(chat) == [("kill", "asked"), ("kill", "committed")]
    row = json.loads(chat.audit.path.read_text().splitlines()[-1])
    assert (row["who"], row["at"]) == ("telegram chat ..7890 @anna", "2023-06-10T12:00:29.900Z")
    assert chat.alerts.told == []


def test_a_pause_stops_entries_only(chat: Chat) -> None:
    chat.write("/pause")
    chat.press(chat.line.buttons()[0])
    control = chat.control()
    assert (control.state, control.reason) == (ControlState.REDUCE_ONLY, "paused")
    assert not flattens(control, BTC)
    told = StateReader(chat.book).events(kind="ControlChanged")
    assert [event.payload["set_by"] for event in told] == ["telegram chat ..7890 @anna"]


def test_what_a_button_does_is_what_was_asked_not_what_it_says(chat: Chat) -> None:
    chat.write("/pause")
    chat.press("kill:t0")
    assert chat.control().state is ControlState.REDUCE_ONLY


def test_a_press_that_is_late_or_repeated_does_nothing(chat: Chat) -> None:
    chat.write("/kill")
    chat.wait(30.0)
    chat.press("kill:t0")
    assert chat.control().state is ControlState.NORMAL
    assert "too late" in chat.line.answered[0][1]
    chat.write("/pause")
    chat.press("pause:t1")
    chat.press("pause:t1")
    assert chat.control().epoch == 2
    assert "used already" in chat.line.answered[2][1]
    assert audit(chat)[1] == ("press", "refused")


@pytest.mark.parametrize("word", ["/resume", "/buy BTC/USDC", "/start", "/unpause", "/normal", "/config", "/"])
def test_there_is_no_word_that_loosens_or_buys(chat: Chat, word: str) -> None:
    chat.write(word)
    assert chat.line.texts() == [HELP]
    assert chat.control().epoch == 1


def test_another_chat_is_ignored_counted_and_told_of_once(chat: Chat) -> None:
    for text in ("/kill", "/status", "/pause"):
        chat.write(text, STRANGER)
    chat.write("/kill")
    chat.press("kill:t0", STRANGER)
    chat.desk.handle([Other(99, STRANGER), Other(100)])
    assert chat.desk.strangers == 5
    assert chat.control().state is ControlState.NORMAL
    assert chat.alerts.names() == ["telegram_stranger"]
    assert {chat_id for chat_id, _, _ in chat.line.said} == {OURS.chat_id}
    assert audit(chat)[0] == ("message", "ignored")
    chat.press("kill:t0")
    assert chat.control().state is ControlState.HALTED


@pytest.mark.parametrize(("age_s", "asked"), [(59.0, True), (60.0, True), (60.001, False), (86_400.0, False)])
def test_commands_older_than_a_minute_are_dropped_after_an_absence(chat: Chat, age_s: float, *, asked: bool) -> None:
    chat.write("/kill", age_s=age_s, after_absence=True)
    assert bool(chat.line.buttons()) is asked
    assert chat.desk.dropped == int(not asked)
    assert asked or "dropped (/kill); send them again" in chat.line.texts()[0]
    assert audit(chat) == [("kill", "asked") if asked else ("/kill", "dropped")]


def test_late_commands_while_the_bot_was_there_are_carried_out(chat: Chat) -> None:
    chat.write("/kill", age_s=600)
    assert chat.line.buttons() == ["kill:t0"]


def test_a_press_comes_before_whatever_else_waits(chat: Chat) -> None:
    chat.write("/kill")
    chat.line.failures = [BotApiDown("hangs") for _ in range(50)]
    chat.press("kill:t0")
    assert chat.control().state is ControlState.HALTED
    assert chat.desk.is_busy


def test_a_chat_that_cannot_be_reached_is_left_alone_for_a_moment_and_told_later(chat: Chat) -> None:
    chat.write("/kill")
    chat.line.failures = [BotApiDown("hangs")]
    chat.press("kill:t0")
    assert chat.line.failures == []
    assert len(chat.line.said) == 1
    chat.wait(QUIET_S - 0.001)
    chat.desk.settle()
    assert len(chat.line.said) == 1
    chat.wait(0.001)
    chat.desk.settle()
    assert "HALTED: orders are cancelled" in chat.line.texts()[1]


def test_the_silence_a_chat_asks_for_is_kept(chat: Chat) -> None:
    chat.line.failures = [TooManyRequests(40.0)]
    chat.write("/help")
    chat.wait(39.9)
    chat.write("/help")
    assert chat.line.said == []
    chat.wait(0.1)
    chat.write("/help")
    assert len(chat.line.said) == 1


def test_a_message_refused_for_good_is_not_repeated(chat: Chat) -> None:
    chat.write("/kill")
    chat.line.failures = [BotApiRefused(403, "blocked"), BotApiRefused(403, "blocked")]
    chat.press("kill:t0")
    chat.desk.settle()
    assert chat.control().state is ControlState.HALTED
    assert len(chat.line.said) == 2
    assert "Flat" in chat.line.texts()[1]


def test_a_flood_of_questions_gets_few_answers(chat: Chat) -> None:
    chat.desk.handle([chat.command(f"/why S{number}") for number in range(100)])
    assert len(chat.line.said) == MOST_ANSWERS
    chat.desk.handle([chat.command("/status") for _ in range(100)])
    assert len(chat.line.said) == MOST_ANSWERS + 1


def test_a_locked_book_leaves_a_marker_and_the_kill_is_owed_until_it_is_committed(chat: Chat) -> None:
    chat.write("/kill")
    with closing(sqlite3.connect(chat.book, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        chat.press("kill:t0")
        assert chat.control().state is ControlState.NORMAL
        assert "kill_switch: telegram chat" in str(HaltMarker.beside(chat.book).reason())
        assert "NOT HALTED yet" in chat.line.texts()[1]
        assert [(alert.key, alert.level) for alert in chat.alerts.told] == [("remote_kill", AlertLevel.CRITICAL)]
        chat.desk.settle()
        assert chat.desk.is_busy
        writer.execute("ROLLBACK")
    chat.desk.settle()
    assert chat.control().state is ControlState.HALTED
    assert HaltMarker.beside(chat.book).reason() is None
    assert audit(chat)[1:] == [("kill", "NOT committed"), ("retry", "committed"), ("kill", "flat")]
    assert not chat.desk.is_busy


def test_a_kill_is_followed_until_the_bot_is_flat(opened: tuple[Chat, StateStore]) -> None:
    chat, store = opened
    a_story(store)
    chat.write("/kill")
    chat.press("kill:t0")
    for _ in range(3):
        chat.wait(10)
        chat.desk.settle()
    assert len(chat.line.said) == 2
    chat.wait(FOLLOWED_S - 30)
    chat.desk.settle()
    assert "NOT FLAT 120 s after the kill: 1 positions, 0 orders left" in chat.line.texts()[2]
    assert not chat.desk.is_busy


def test_a_book_that_is_gone_never_raises(chat: Chat, tmp_path: Path) -> None:
    lost = Chat(tmp_path / "nowhere")
    for text in ("/status", "/positions", "/profit", "/why", "/why BTC", "/models", "/health"):
        lost.write(text)
    assert all("no database yet" in text for text in lost.line.texts())
    lost.write("/kill")
    lost.press("kill:t0")
    assert "there is no book" in lost.line.texts()[-1]
    assert "The next start is HALTED in any case" in lost.line.texts()[-1]


def test_the_record_is_cut_off_nowhere(chat: Chat) -> None:
    chat.audit.path.write_bytes(b'{"at": "2023')
    chat.audit.note(AT, "x", "kill", "asked")
    lines = chat.audit.path.read_bytes().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["what"] == "kill"

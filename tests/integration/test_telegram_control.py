"""The control chat from end to end: the worker, a Bot API on loopback, and a book that its bot has open."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.database import reading
from bn_ml.domain.account import ControlState
from bn_ml.domain.alerts import Alert
from bn_ml.domain.market import to_ms
from bn_ml.domain.orders import IntentRecord, Purpose
from bn_ml.errors import ConfigError
from bn_ml.redaction import MASK
from bn_ml.state_reader import StateReader
from bn_ml.state_rows import intent_record
from bn_ml.state_store import StateStore
from monitoring.poll_troubles import Patience
from monitoring.telegram_control import TelegramControl
from scripts.remote_requests import OFFSET_FILE, open_telegram_control
from tests.fakes.book_builders import AT, a_story
from tests.fakes.bot_api_server import CHAT, TOKEN, BotApiServer, failure
from tests.fakes.money_world import AAA, BBB, NewWorld
from tests.fakes.stream_server import until
from tests.fakes.telegram_chat import Alerts

CLOCK = SystemClock()
QUICK = Patience(0.02, 0.1, 0.05, 0.1, outage_told_s=0.3, rival_settled_s=0.2)
ENVIRON = {"TELEGRAM_CONTROL": "true", "TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": str(CHAT)}


def soon(condition: Callable[[], bool]) -> None:
    """Wait for what takes milliseconds, however busy the machine and its disk are."""
    until(condition, within_s=20.0)


class Running:
    """A worker that listens, and what it can be asked about."""

    def __init__(self, folder: Path, server: BotApiServer) -> None:
        self.book = folder / "bn_ml.db"
        self.server = server
        self.alerts = Alerts()
        self.worker = self.new_worker()

    def new_worker(self) -> TelegramControl:
        made = open_telegram_control(
            ENVIRON, book=self.book, clock=CLOCK, alerts=self.alerts, url=self.server.url, patience=QUICK
        )
        assert made is not None
        return made

    def state(self) -> ControlState:
        return StateReader(self.book).control().state

    def write(self, text: str, *, age_s: float = 0.0) -> int:
        return self.server.write(text, now_s() - int(age_s))

    def audit(self) -> list[tuple[str, str]]:
        rows = [json.loads(line) for line in self.book.with_name("remote_control.jsonl").read_text().splitlines()]
        return [(row["what"], row["outcome"]) for row in rows]


def now_s() -> int:
    return to_ms(CLOCK.now()) // 1000


@contextmanager
def running(folder: Path, server: BotApiServer, *, wait: bool = True) -> Iterator[Running]:
    made = Running(folder, server)
    made.worker.start()
    try:
        if wait:
            soon(lambda: bool(server.polls) and server.polls[-1]["timeout"] > 0)
        yield made
    finally:
        made.worker.stop(20)
        assert not made.worker.is_alive()


@pytest.fixture
def server() -> Iterator[BotApiServer]:
    with BotApiServer() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    made = StateStore(tmp_path / "bn_ml.db")
    made.start_epoch(AT, "start")
    yield made
    made.close()


def test_a_confirmed_kill_is_in_the_book_at_once(tmp_path: Path, server: BotApiServer, store: StateStore) -> None:
    with running(tmp_path, server) as bot:
        bot.write("/kill")
        soon(lambda: bool(server.buttons()))
        assert bot.state() is ControlState.NORMAL
        pressed_s = CLOCK.monotonic()
        server.press(server.buttons()[0])
        soon(lambda: store.control().state is ControlState.HALTED)
        assert CLOCK.monotonic() - pressed_s < 3.0
        soon(lambda: bool(server.pressed))
        soon(lambda: "Flat" in server.texts())
        assert store.control().set_by == "telegram chat ..7890 @anna"
        assert bot.alerts.told == []


def test_questions_are_answered_from_the_book(tmp_path: Path, server: BotApiServer, store: StateStore) -> None:
    a_story(store)
    store.put("account_state", {"exchange_quote_asset": "USDC"}, AT)
    with running(tmp_path, server) as bot:
        for word in ("/status", "/positions", "/profit", "/why", "/why BTC", "/models", "/health", "/help"):
            bot.write(word)
        soon(lambda: len(server.sent) == 8)
        said = server.texts()
        assert "PAPER NORMAL since" in said
        assert "BTC/USDC 0.4995 at 26000, stop 25000, targets 27000 28000" in said
        assert "not known now" not in said
        assert {item.chat_id for item in server.sent} == {CHAT}


def test_a_replayed_kill_after_the_end_of_the_process_does_nothing(
    tmp_path: Path, server: BotApiServer, store: StateStore
) -> None:
    server.forgets_nothing = True
    with running(tmp_path, server) as bot:
        bot.write("/pause")
        soon(lambda: bool(server.buttons()))
        server.press(server.buttons()[0])
        soon(lambda: bot.state() is ControlState.REDUCE_ONLY)
        soon(lambda: "REDUCE_ONLY: no entries" in server.texts())
    store.set_control(ControlState.NORMAL, "resumed: test", "operator", AT)
    messages = len(server.sent)
    with running(tmp_path, server, wait=False) as bot:
        polls = len(server.polls)
        soon(lambda: len(server.polls) >= polls + 3)
        assert bot.state() is ControlState.NORMAL
    bot.book.with_name(OFFSET_FILE).write_text("garbage")
    with running(tmp_path, server, wait=False) as bot:
        soon(lambda: len(server.sent) > messages)
        soon(lambda: bool(server.pressed) and "not valid any more" in server.pressed[-1][1])
        assert bot.state() is ControlState.NORMAL


def test_commands_sent_while_the_bot_was_away_are_dropped_and_that_is_said(
    tmp_path: Path, server: BotApiServer, store: StateStore
) -> None:
    server.write("/kill", now_s() - 300)
    server.write("/status", now_s() - 5)
    with running(tmp_path, server) as bot:
        soon(lambda: len(server.sent) == 2)
        assert "1 commands sent while the bot was away were dropped (/kill)" in server.texts()
        assert server.buttons() == []
        assert bot.state() is ControlState.NORMAL
        bot.write("/kill", age_s=300)
        soon(lambda: bool(server.buttons()))


def test_a_second_poller_is_told_of_once_and_the_end_of_it(
    tmp_path: Path, server: BotApiServer, store: StateStore
) -> None:
    conflict = failure(409, "Conflict: terminated by other getUpdates request")
    server.troubles.extend([conflict] * 4)
    with running(tmp_path, server, wait=False) as bot:
        soon(lambda: not server.troubles)
        soon(lambda: bool(server.polls))
        soon(lambda: bot.alerts.names().count("telegram_second_poller") == 1)
        CLOCK.sleep_until(CLOCK.now() + timedelta(seconds=QUICK.rival_settled_s))
        bot.write("/status")
        soon(lambda: bot.alerts.names() == ["telegram_second_poller", "telegram_second_poller"])
        assert [alert.ends for alert in bot.alerts.told] == [False, True]
        soon(lambda: bool(server.sent))


def test_a_web_address_is_taken_away_so_that_the_chat_can_be_read(
    tmp_path: Path, server: BotApiServer, store: StateStore
) -> None:
    server.webhook = "https://example.org/hook"
    with running(tmp_path, server) as bot:
        assert server.webhook == ""
        assert bot.alerts.told == []


def test_garbage_keeps_nobody_from_being_heard(tmp_path: Path, server: BotApiServer, store: StateStore) -> None:
    for raw in ("x", None, 7, {"update_id": "seven"}, {"update_id": -1, "message": {}}, {"message": {"text": "/kill"}}):
        server.put_raw(raw)
    server.troubles.extend([(200, b"<html>"), (200, b"[" * 10_000), (200, b""), failure(500, "Internal"), (302, b"")])
    with running(tmp_path, server, wait=False) as bot:
        bot.write("/status")
        soon(lambda: "NORMAL since" in server.texts())
        polls = len(server.polls)
        CLOCK.sleep_until(CLOCK.now() + timedelta(seconds=0.3))
        assert len(server.polls) - polls < 30


def test_a_server_that_hangs_ends_with_the_worker_and_is_told_of(
    tmp_path: Path, server: BotApiServer, store: StateStore
) -> None:
    server.hangs = True
    with running(tmp_path, server, wait=False) as bot:
        began_s = CLOCK.monotonic()
        soon(lambda: bot.worker.beat_age_s() > 0.2)
        committed_s = CLOCK.monotonic()
        store.put("x", 1, AT)
        assert CLOCK.monotonic() - committed_s < 2.0
        bot.worker.stop(6)
        assert not bot.worker.is_alive()
        assert CLOCK.monotonic() - began_s < 8
        server.hangs = False
        bot.worker.start()
        bot.write("/status")
        soon(lambda: bool(server.sent))


def test_an_unexpected_error_ends_a_turn_and_not_the_thread(
    tmp_path: Path, server: BotApiServer, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(alert: Alert) -> None:
        raise RuntimeError(f"broken sink: {alert.key}")

    with running(tmp_path, server) as bot:
        monkeypatch.setattr(bot.alerts, "offer", broken)
        server.write("/kill", now_s(), chat=4711)
        soon(lambda: len(server.polls) > 2)
        bot.write("/status")
        soon(lambda: "NORMAL since" in server.texts())
        assert bot.worker.is_alive()


def test_a_refused_token_is_told_of_once(tmp_path: Path, server: BotApiServer, store: StateStore) -> None:
    server.troubles.extend([failure(401, "Unauthorized")] * 3)
    with running(tmp_path, server, wait=False) as bot:
        soon(lambda: bot.alerts.names() == ["telegram_token_refused", "telegram_token_refused"])
        assert [alert.ends for alert in bot.alerts.told] == [False, True]


def test_a_long_outage_is_told_of_once(tmp_path: Path, server: BotApiServer, store: StateStore) -> None:
    server.troubles.extend([failure(502, "Bad Gateway")] * 9)
    with running(tmp_path, server, wait=False) as bot:
        soon(lambda: bot.alerts.names() == ["telegram_down", "telegram_down"])


def test_the_worker_can_be_started_again(tmp_path: Path, server: BotApiServer, store: StateStore) -> None:
    with running(tmp_path, server) as bot:
        for _ in range(3):
            bot.worker.stop(10)
            assert not bot.worker.is_alive()
            bot.worker.stop(10)
            bot.worker.start()
            assert bot.worker.is_alive()
            assert bot.worker.beat_age_s() < 5
        bot.write("/status")
        soon(lambda: len(server.sent) == 1)


def test_a_superseded_thread_hands_over_nothing_and_counts_as_no_second_poller(
    tmp_path: Path, server: BotApiServer, store: StateStore
) -> None:
    with running(tmp_path, server) as bot:
        polls = len(server.polls)
        bot.worker.start()
        soon(lambda: len(server.polls) > polls + 1)
        bot.write("/kill")
        soon(lambda: bool(server.buttons()))
        server.press(server.buttons()[0])
        soon(lambda: bot.state() is ControlState.HALTED)
        soon(lambda: sum(thread.name == bot.worker.name for thread in threading.enumerate()) == 1)
        assert bot.alerts.told == []
        soon(lambda: bot.audit()[:2] == [("kill", "asked"), ("kill", "committed")])


def test_a_kill_by_chat_flattens_a_bot_at_full_speed(tmp_path: Path, server: BotApiServer, new_world: NewWorld) -> None:
    world = new_world(tmp_path)
    world.start()
    world.buy(AAA, BBB)
    assert len(world.bot.positions.open_positions()) == 2

    def press() -> None:
        soon(lambda: bool(server.buttons()))
        server.press(server.buttons()[0])

    with running(tmp_path, server) as bot:
        bot.write("/kill")
        pressing = threading.Thread(target=press)
        pressing.start()
        until_s = CLOCK.monotonic() + 20
        world.bot.engine.run(
            lambda: (bot.state() is ControlState.HALTED and not world.live()) or CLOCK.monotonic() > until_s
        )
        pressing.join()
        soon(lambda: "Flat" in server.texts())
    halted = world.bot.store.control()
    assert halted.state is ControlState.HALTED
    assert world.bot.positions.open_positions() == ()
    entries = [item for item in intents_of(world.path) if item.intent.purpose is Purpose.ENTRY]
    assert entries
    assert all(item.epoch < halted.epoch for item in entries)


def intents_of(book: Path) -> list[IntentRecord]:
    with reading(book) as connection:
        return [intent_record(row) for row in connection.execute("SELECT * FROM intent_records ORDER BY seq")]


def test_the_token_is_in_no_log_no_file_and_no_message(
    tmp_path: Path, server: BotApiServer, store: StateStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.troubles.extend(
        [
            failure(400, f"bad /bot{TOKEN}/getUpdates"),
            failure(409, f"webhook {TOKEN}"),
            (200, TOKEN.encode()),
            (200, b""),
        ]
    )
    with running(tmp_path, server, wait=False) as bot:
        bot.write(f"/why {TOKEN}")
        bot.write(f"/{TOKEN}")
        bot.write("/pause")
        soon(lambda: bool(server.buttons()))
        server.press(server.buttons()[0])
        soon(lambda: bot.state() is ControlState.REDUCE_ONLY)
        soon(lambda: bool(server.pressed))
    secret = TOKEN.partition(":")[2]
    assert secret not in caplog.text
    assert "telegram_token_refused" in bot.alerts.names()
    assert secret not in repr(bot.alerts.told)
    assert secret not in server.texts()
    assert str(CHAT) not in caplog.text + server.texts()
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"remote_control.jsonl", OFFSET_FILE, "bn_ml.db"}
    assert all(secret.encode() not in path.read_bytes() for path in files)


def test_secrets_that_got_into_the_book_do_not_get_into_the_chat(
    tmp_path: Path, server: BotApiServer, store: StateStore
) -> None:
    store.set_control(ControlState.REDUCE_ONLY, f"refused {TOKEN}", "engine", AT)
    with running(tmp_path, server) as bot:
        bot.write("/status")
        soon(lambda: f"reason: refused {MASK}" in server.texts())


@pytest.mark.parametrize("word", ["", "false", "0", "no", "OFF"])
def test_it_is_off_unless_switched_on(tmp_path: Path, word: str) -> None:
    environ = {**ENVIRON, "TELEGRAM_CONTROL": word}
    made = open_telegram_control(environ, book=tmp_path / "bn_ml.db", clock=CLOCK, alerts=Alerts())
    assert made is None


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"TELEGRAM_CONTROL": "perhaps"}, "TELEGRAM_CONTROL: 'perhaps' is not allowed"),
        ({"TELEGRAM_BOT_TOKEN": ""}, "needs TELEGRAM_BOT_TOKEN"),
        ({"TELEGRAM_BOT_TOKEN": "no-token"}, "TELEGRAM_BOT_TOKEN: not a bot token"),
        ({"TELEGRAM_CHAT_ID": ""}, "needs TELEGRAM_CHAT_ID as a number"),
        ({"TELEGRAM_CHAT_ID": "@channel"}, "needs TELEGRAM_CHAT_ID as a number"),
        ({"TELEGRAM_CHAT_ID": "--5"}, "needs TELEGRAM_CHAT_ID as a number"),
    ],
)
def test_a_half_switched_on_chat_refuses_to_start(tmp_path: Path, changed: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        open_telegram_control({**ENVIRON, **changed}, book=tmp_path / "bn_ml.db", clock=CLOCK, alerts=Alerts())

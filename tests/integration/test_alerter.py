"""The alerter as a whole: its thread, its file and real receivers on loopback."""

from __future__ import annotations

import json
import logging
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bn_ml.clock import ScaledClock, SystemClock
from bn_ml.domain.events import BreakerCleared, BreakerTripped, CycleFinished
from bn_ml.domain.market import Symbol
from monitoring.alert_channels import Opened
from monitoring.alerter import Alerter
from monitoring.channel_telegram import TelegramChannel
from monitoring.channel_webhook import WebhookChannel
from tests.fakes.alert_builders import CRITICAL, INFO, WARNING, HandClock, an_alert, an_alerter, an_end
from tests.fakes.alert_receivers import MailReceiver, WebReceiver
from tests.fakes.stream_server import until

CLOCK = SystemClock()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the thread turn more often and gather for a shorter time than it does for people."""
    monkeypatch.setattr("monitoring.alerter.TURN_S", 0.02)
    monkeypatch.setattr("monitoring.alert_book.GATHER_S", 0.05)
    monkeypatch.setattr("monitoring.alert_lanes.FIRST_WAIT_S", 0.05)


def webhook_settings() -> dict[str, object]:
    return {"webhook": {"enabled": True}}


@contextmanager
def running(alerter: Alerter, stop_s: float = 2.0) -> Iterator[Alerter]:
    alerter.start()
    try:
        yield alerter
    finally:
        alerter.stop(stop_s)


def hooked(folder: Path, receiver: WebReceiver, **changes: Any) -> Alerter:
    return an_alerter(folder, {"alert_webhook_url": f"{receiver.url}/hook"}, **{**webhook_settings(), **changes})


def now_alert(key: str, level: Any = CRITICAL, **fields: Any) -> Any:
    return an_alert(key, level, at=CLOCK.now(), **fields)


def test_a_critical_alert_arrives_at_once(tmp_path: Path) -> None:
    with WebReceiver() as receiver, running(hooked(tmp_path, receiver)) as alerter:
        alerter.offer(now_alert("fire"))
        until(lambda: len(receiver.posts) == 1)
        assert receiver.texts[0].startswith("[PAPER] CRITICAL title of fire #")


def test_facts_become_alerts_and_their_ends(tmp_path: Path) -> None:
    with WebReceiver() as receiver, running(hooked(tmp_path, receiver)) as alerter:
        alerter.emit(BreakerTripped(CLOCK.now(), "breaker_drawdown", 0.21, 0.2))
        until(lambda: len(receiver.posts) == 1)
        alerter.emit(BreakerCleared(CLOCK.now(), "breaker_drawdown"))
        until(lambda: len(receiver.posts) == 2)
        opened, closed = receiver.posts[0].json, receiver.posts[1].json
        assert opened["id"] == closed["id"]
        assert f"RESOLVED #{opened['id']} after" in closed["text"]


def test_nothing_is_sent_when_nothing_happened(tmp_path: Path) -> None:
    with WebReceiver() as receiver, running(hooked(tmp_path, receiver)) as alerter:
        for cycle in range(50):
            alerter.emit(CycleFinished(CLOCK.now(), cycle, Decimal(1000), 0, 0, 0))
        alerter.offer(an_end("never_began"))
    assert receiver.posts == []
    assert alerter.recent() == []


def test_every_alert_is_a_log_record_at_its_level(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    alerter = an_alerter(tmp_path)
    for level in (INFO, WARNING, CRITICAL):
        alerter.offer(an_alert(level.name, level, why="because"))
    told = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in told] == [20, 30, 50]
    assert all("why=because" in text for _, text in told)


@pytest.mark.parametrize(("least", "keys"), [("INFO", "abc"), ("WARNING", "bc"), ("ERROR", "c"), ("CRITICAL", "c")])
def test_only_the_least_level_and_above_is_sent(tmp_path: Path, least: str, keys: str) -> None:
    with WebReceiver() as receiver, running(hooked(tmp_path, receiver, min_level=least)) as alerter:
        for key, level in zip("abc", (INFO, WARNING, CRITICAL), strict=True):
            alerter.offer(now_alert(key, level))
        alerter.stop(2)
        sent = [alert["key"] for posted in receiver.posts for alert in posted.json["alerts"]]
    assert "".join(sorted(sent)) == keys


def test_all_channels_get_every_alert_and_say_so(tmp_path: Path) -> None:
    with WebReceiver() as web, MailReceiver() as mail:
        secrets = {
            "alert_webhook_url": f"{web.url}/hook",
            "email_smtp_host": "127.0.0.1",
            "email_smtp_port": mail.port,
        }
        email = {"enabled": True, "from": "bot@example.org", "to": ["me@example.org"], "use_tls": False}
        with running(an_alerter(tmp_path, secrets, **webhook_settings(), email=email)) as alerter:
            alerter.offer(now_alert("fire"))
            until(lambda: bool(web.posts and mail.mails))
            until(lambda: alerter.recent()[0]["channels"] == {"webhook": "sent", "email": "sent"})
            assert alerter.counts()["CRITICAL", "webhook", "sent"] == 1
            assert "title of fire" in mail.texts[0]


def test_a_test_message_tells_of_each_channel(tmp_path: Path) -> None:
    with WebReceiver() as web:
        alerter = an_alerter(tmp_path, {"alert_webhook_url": web.url}, **webhook_settings(), telegram={"enabled": True})
        outcomes = {outcome.channel: outcome for outcome in alerter.test()}
        assert "test message" in web.texts[0]
    assert (outcomes["webhook"].ok, outcomes["telegram"].ok) == (True, False)
    assert "TELEGRAM_BOT_TOKEN" in outcomes["telegram"].problem


def test_a_channel_that_cannot_be_used_is_told_over_the_others(tmp_path: Path) -> None:
    with WebReceiver() as receiver, running(hooked(tmp_path, receiver, telegram={"enabled": True})):
        until(lambda: len(receiver.posts) == 1)
        assert "alerts over telegram cannot be sent" in receiver.texts[0]


def test_a_failing_receiver_is_tried_again_until_it_accepts(tmp_path: Path) -> None:
    with WebReceiver(answers=[(500, b"", {})] * 2) as receiver, running(hooked(tmp_path, receiver)) as alerter:
        alerter.offer(now_alert("fire"))
        until(lambda: alerter.recent()[0]["channels"] == {"webhook": "sent"})
        assert len(receiver.posts) == 3


def test_a_dead_channel_is_told_over_the_others_and_gets_what_it_missed(tmp_path: Path) -> None:
    with WebReceiver() as well, WebReceiver(answers=[(500, b"", {})] * 4) as ill:
        channels = (
            WebhookChannel(well.url, CLOCK, timeout_s=1),
            TelegramChannel("1:token", "7", CLOCK, timeout_s=1, url=ill.url),
        )
        with running(an_alerter(tmp_path, opened=Opened(channels), dedupe_sec=0)) as alerter:
            for number in range(3):
                alerter.offer(now_alert(f"fire {number}"))
            until(lambda: any("alerts over telegram fail" in text for text in well.texts))
            until(lambda: any("arrive again" in text for text in well.texts), 10)
            heard = "\n".join(posted.text for posted in ill.posts[4:])
            assert all(f"title of fire {number}" in heard for number in range(3))


def test_telegram_is_left_alone_as_long_as_it_asks(tmp_path: Path) -> None:
    body = json.dumps({"parameters": {"retry_after": 1}}).encode()
    with WebReceiver(answers=[(429, body, {})]) as receiver:
        channel = TelegramChannel("1:token", "7", CLOCK, timeout_s=1, url=receiver.url)
        with running(an_alerter(tmp_path, opened=Opened((channel,)))) as alerter:
            began_s = CLOCK.monotonic()
            alerter.offer(now_alert("fire"))
            until(lambda: len(receiver.posts) == 2)
            assert CLOCK.monotonic() - began_s >= 0.95


def test_offering_never_waits_for_a_hanging_receiver(tmp_path: Path) -> None:
    with WebReceiver() as receiver:
        receiver.hangs.set()
        with running(hooked(tmp_path, receiver, timeout_sec=20), 0.1) as alerter:
            alerter.offer(now_alert("first"))
            longest_s = 0.0
            for number in range(300):
                began_s = CLOCK.monotonic()
                alerter.offer(now_alert(f"fire {number}"))
                longest_s = max(longest_s, CLOCK.monotonic() - began_s)
            assert longest_s < 2


def test_a_hanging_receiver_keeps_the_others_waiting_for_its_time_only(tmp_path: Path) -> None:
    with WebReceiver() as well, WebReceiver() as hanging:
        hanging.hangs.set()
        channels = (
            TelegramChannel("1:token", "7", CLOCK, timeout_s=0.3, url=hanging.url),
            WebhookChannel(well.url, CLOCK, timeout_s=0.3),
        )
        with running(an_alerter(tmp_path, opened=Opened(channels))) as alerter:
            began_s = CLOCK.monotonic()
            alerter.offer(now_alert("fire"))
            until(lambda: len(well.posts) == 1)
            assert CLOCK.monotonic() - began_s < 4
            assert alerter.beat_age_s() < 2


def test_a_storm_of_a_thousand_is_at_most_twenty_messages_and_names_every_critical_one(tmp_path: Path) -> None:
    clock = HandClock()
    with WebReceiver() as receiver:
        alerter = an_alerter(
            tmp_path, {"alert_webhook_url": receiver.url}, clock=clock, **webhook_settings(), daily_digest="23:59"
        )
        with running(alerter):
            for number in range(1000):
                level = (CRITICAL, WARNING, INFO, CRITICAL)[number % 4]
                alerter.offer(an_alert(f"storm:{number}", level, title=f"trouble {number}", at=clock.now()))
            critical = [number for number in range(1000) if number % 4 in (0, 3)]
            clock.pass_by(minutes=20)
        everything = ", ".join(receiver.texts) + ","
    assert [number for number in critical if f"trouble {number}" not in everything] == []
    assert len(receiver.posts) <= 20


def test_stopping_sends_what_waits(tmp_path: Path) -> None:
    with WebReceiver() as receiver:
        with running(hooked(tmp_path, receiver)) as alerter:
            alerter.offer(now_alert("bot stopped", INFO))
        assert "title of bot stopped" in receiver.texts[0]


def test_stopping_ends_in_time_though_a_receiver_hangs(tmp_path: Path) -> None:
    with WebReceiver() as receiver:
        receiver.hangs.set()
        alerter = hooked(tmp_path, receiver, timeout_sec=5)
        alerter.start()
        alerter.offer(now_alert("fire"))
        began_s = CLOCK.monotonic()
        alerter.stop(0.3)
        assert CLOCK.monotonic() - began_s < 3


def test_what_was_not_sent_is_sent_by_the_next_run_once_to_each_channel(tmp_path: Path) -> None:
    with WebReceiver(answers=[(500, b"", {})] * 50) as receiver:
        with running(hooked(tmp_path, receiver), 0.2) as first:
            first.offer(now_alert("fire"))
            first.offer(now_alert("fire"))
            first.offer(now_alert("smoke", WARNING))
            until(lambda: len(receiver.posts) >= 1)
        receiver.answers.clear()
        receiver.posts.clear()
        with running(hooked(tmp_path, receiver)):
            until(lambda: len(receiver.posts) == 1)
        with running(hooked(tmp_path, receiver)):
            pass
        (text,) = receiver.texts
    assert "CRITICAL title of fire (x2 in" in text


def test_an_incident_of_an_earlier_run_ends_under_its_id(tmp_path: Path) -> None:
    with WebReceiver() as receiver:
        with running(hooked(tmp_path, receiver)) as first:
            first.offer(now_alert("fire"))
            until(lambda: len(receiver.posts) == 1)
        with running(hooked(tmp_path, receiver)) as second:
            second.offer(an_end("fire", "it is out"))
            until(lambda: len(receiver.posts) == 2)
        assert receiver.posts[0].json["id"] == receiver.posts[1].json["id"]


def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    with WebReceiver() as receiver, running(hooked(tmp_path, receiver)) as alerter:
        alerter.offer(now_alert("fire"))
        assert stat.S_IMODE((tmp_path / "alerts.db").stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_loses_no_alert_of_this_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "alerts.db").mkdir()
    with WebReceiver() as receiver, running(hooked(tmp_path, receiver)) as alerter:
        alerter.offer(now_alert("fire"))
        until(lambda: len(receiver.posts) == 1)
    assert "not kept over a restart" in caplog.text


def test_the_digest_is_sent_at_its_time_also_on_a_quiet_day(tmp_path: Path) -> None:
    clock = ScaledClock(CLOCK.now().replace(hour=6, minute=58, second=0), 600)
    with WebReceiver() as receiver:
        alerter = an_alerter(
            tmp_path, {"alert_webhook_url": receiver.url}, clock=clock, watches=True, **webhook_settings()
        )
        alerter.digest_notes = lambda: ("tradable 3/7",)
        with running(alerter):
            alerter.emit(CycleFinished(clock.now(), 1, Decimal("1003.42"), 0, 0, 0))
            until(lambda: len(receiver.posts) == 1)
            assert "equity 1003.42" in receiver.texts[0]
            assert "tradable 3/7" in receiver.texts[0]


def test_no_secret_is_told_anywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    names = ("binance_api_key", "binance_api_secret", "telegram_bot_token", "email_password", "api_token", "upload_url")
    planted = {name: f"planted-{name}-0123456789" for name in names}
    texts = [*planted.values(), "signature=plantedsignature", "/bot77:plantedtoken/sendMessage"]
    with WebReceiver(answers=[(500, b"", {})]) as receiver:
        secrets = {**planted, "alert_webhook_url": f"{receiver.url}/planted-hook"}
        with running(an_alerter(tmp_path, secrets, **webhook_settings())) as alerter:
            for number, text in enumerate(texts):
                spread = {"title": f"got {text}", "why": f"x {text} y", "next_action": text, "symbol": Symbol("A/B")}
                alerter.offer(now_alert(f"{number} {text}", **spread))
            alerter.offer(now_alert("long", why="z " * 9_995 + planted["api_token"] * 500))
            until(lambda: len(receiver.posts) > 1)
            alerter.stop(2)
            assert len({alert["key"] for posted in receiver.posts for alert in posted.json["alerts"]}) > len(texts)
            said = json.dumps(alerter.recent()) + "".join(receiver.texts) + caplog.text
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert "planted" not in said
    assert b"planted" not in stored


def test_alerts_are_taken_from_many_threads_at_once(tmp_path: Path) -> None:
    with WebReceiver() as receiver, running(hooked(tmp_path, receiver)) as alerter:

        def offer(part: int) -> None:
            for number in range(50):
                alerter.offer(now_alert(f"fire {part} {number}"))

        threads = [threading.Thread(target=offer, args=(part,)) for part in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert alerter.counts()["CRITICAL", "log", "sent"] == 400


def test_without_channels_alerts_are_in_the_log_and_no_file_is_made(tmp_path: Path) -> None:
    with running(an_alerter(tmp_path)) as alerter:
        alerter.offer(now_alert("fire"))
        assert alerter.test() == ()
        assert [row["title"] for row in alerter.take_recent() or []] == ["title of fire"]
        assert alerter.take_recent() is None
    assert list(tmp_path.iterdir()) == []


def test_it_can_be_stopped_and_started_again(tmp_path: Path) -> None:
    with WebReceiver() as receiver:
        alerter = hooked(tmp_path, receiver)
        for number in range(3):
            with running(alerter):
                assert alerter.is_alive()
                alerter.offer(now_alert(f"fire {number}"))
                until(lambda wanted=number + 1: len(receiver.posts) == wanted)  # type: ignore[misc]
            assert not alerter.is_alive()

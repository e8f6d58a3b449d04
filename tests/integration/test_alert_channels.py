"""Webhook, Telegram and email against real receivers on loopback."""

from __future__ import annotations

import json
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bn_ml.clock import SystemClock
from bn_ml.env import Secrets
from monitoring.alert_channels import open_channels, tried_out
from monitoring.alert_entries import Batch, Entry
from monitoring.alert_text import Message, message_of
from monitoring.channel_email import EmailChannel, Mailbox
from monitoring.channel_failures import ChannelFailed
from monitoring.channel_telegram import TelegramChannel
from monitoring.channel_webhook import WebhookChannel
from tests.fakes.alert_builders import CRITICAL, alerting, an_alert, at
from tests.fakes.alert_receivers import Answer, MailReceiver, WebReceiver, own_certificate

CLOCK = SystemClock()
TOKEN = "123456:AA-planted-token"


def a_message(**fields: Any) -> Message:
    alert = an_alert(level=CRITICAL, title="unprotected BTC/USDC", why="stop refused", **fields)
    return message_of(Batch((Entry(alert, "c41f"),)), "LIVE", at(0))


def a_mailbox(receiver: MailReceiver, **changes: Any) -> Mailbox:
    box = Mailbox(
        host="127.0.0.1",
        port=receiver.port,
        username="",
        sender="bot@example.org",
        recipients=("me@example.org", "you@example.org"),
        subject_prefix="[BN-ML]",
        use_tls=False,
    )
    return replace(box, **changes)


def test_a_webhook_gets_text_and_fields() -> None:
    with WebReceiver() as receiver:
        WebhookChannel(f"{receiver.url}/hook/secret", CLOCK, timeout_s=2).send(a_message())
        content = receiver.posts[0].json
    assert content["text"].startswith("[LIVE] CRITICAL unprotected BTC/USDC #c41f\nwhy: stop refused")
    expected = {"mode": "LIVE", "level": "CRITICAL", "id": "c41f", "key": "thing", "why": "stop refused", "count": 1}
    assert {name: content[name] for name in expected} == expected
    assert [alert["id"] for alert in content["alerts"]] == ["c41f"]


@pytest.mark.parametrize(
    ("answer", "wait_s", "refused"),
    [
        ((500, b"", {}), None, False),
        ((503, b"", {"Retry-After": "7"}), 7, False),
        ((429, b"", {"Retry-After": "9"}), 9, False),
        ((429, b"", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), None, False),
        ((302, b"", {"Location": "http://10.0.0.1/"}), None, True),
        ((404, b"", {}), None, True),
    ],
)
def test_a_webhook_that_does_not_accept_says_when_to_try_again(
    answer: Answer, wait_s: float | None, refused: bool
) -> None:
    with WebReceiver(answers=[answer]) as receiver:
        with pytest.raises(ChannelFailed) as caught:
            WebhookChannel(f"{receiver.url}/secret", CLOCK, timeout_s=2).send(a_message())
    assert (caught.value.wait_s, caught.value.refused) == (wait_s, refused)
    assert "secret" not in str(caught.value)


def a_bot(receiver: WebReceiver) -> TelegramChannel:
    return TelegramChannel(TOKEN, "-100200", CLOCK, timeout_s=2, url=receiver.url)


def test_telegram_gets_plain_text_for_the_chat() -> None:
    with WebReceiver() as receiver:
        a_bot(receiver).send(a_message())
        (posted,) = receiver.posts
    assert posted.path == f"/bot{TOKEN}/sendMessage"
    assert (posted.json["chat_id"], "parse_mode" in posted.json) == ("-100200", False)
    assert posted.text == a_message().text


def test_telegram_is_left_alone_as_long_as_it_asks() -> None:
    body = json.dumps({"ok": False, "error_code": 429, "parameters": {"retry_after": 17}}).encode()
    with WebReceiver(answers=[(429, body, {})]) as receiver:
        with pytest.raises(ChannelFailed) as caught:
            a_bot(receiver).send(a_message())
    assert (caught.value.wait_s, caught.value.refused) == (17, False)


@pytest.mark.parametrize(
    ("status", "word"), [(401, "BOT_TOKEN"), (404, "BOT_TOKEN"), (400, "CHAT_ID"), (403, "unblock")]
)
def test_telegram_refusals_name_what_to_check_and_no_token(status: int, word: str) -> None:
    with WebReceiver(answers=[(status, b"{}", {})]) as receiver:
        with pytest.raises(ChannelFailed, match=word) as caught:
            a_bot(receiver).send(a_message())
    assert caught.value.refused
    assert "planted" not in str(caught.value)


def test_a_mail_reaches_the_server_as_it_was_written() -> None:
    with MailReceiver() as receiver:
        EmailChannel(a_mailbox(receiver), timeout_s=2).send(a_message())
        (mail,) = receiver.mails
    assert mail["Subject"] == "[BN-ML] [LIVE] CRITICAL unprotected BTC/USDC #c41f"
    assert (mail["From"], mail["To"]) == ("bot@example.org", "me@example.org, you@example.org")
    assert str(mail.get_content()).rstrip() == a_message().text


@pytest.mark.parametrize("title", ["naïve résumé €", "line\nbreak: x", "." * 10, "a" * 300])
def test_any_text_can_be_mailed(title: str) -> None:
    entry = Entry(an_alert(level=CRITICAL, title=title), "c41f")
    message = message_of(Batch((entry,)), "LIVE", at(0))
    with MailReceiver() as receiver:
        EmailChannel(a_mailbox(receiver), timeout_s=2).send(message)
        assert str(receiver.mails[0].get_content()).rstrip() == message.text


@pytest.mark.parametrize("at_once", [False, True])
def test_a_mail_travels_encrypted_with_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    server, trusting = own_certificate(tmp_path)
    login = ("me", "planted-password")
    with MailReceiver(tls=server, tls_at_once=at_once, login=login) as receiver:
        if at_once:
            monkeypatch.setattr("monitoring.channel_email.TLS_PORT", receiver.port)
        box = a_mailbox(receiver, use_tls=True, username=login[0], password=login[1])
        EmailChannel(box, timeout_s=2, trust=trusting).send(a_message())
        assert len(receiver.mails) == 1
        assert ("STARTTLS" in receiver.verbs) is not at_once


def test_a_server_without_encryption_gets_no_mail() -> None:
    with MailReceiver() as receiver:
        with pytest.raises(ChannelFailed, match="STARTTLS"):
            EmailChannel(a_mailbox(receiver, use_tls=True), timeout_s=2).send(a_message())
        assert receiver.mails == []


def test_a_mail_server_nobody_vouches_for_gets_no_mail(tmp_path: Path) -> None:
    server, _ = own_certificate(tmp_path)
    with MailReceiver(tls=server) as receiver:
        channel = EmailChannel(a_mailbox(receiver, use_tls=True), timeout_s=2, trust=ssl.create_default_context())
        with pytest.raises(ChannelFailed, match="certificate"):
            channel.send(a_message())
        assert receiver.mails == []


def test_a_wrong_login_is_told_without_the_password() -> None:
    with MailReceiver(login=("me", "right")) as receiver:
        box = a_mailbox(receiver, username="me", password="planted-password")
        with pytest.raises(ChannelFailed, match="EMAIL_PASSWORD") as caught:
            EmailChannel(box, timeout_s=2).send(a_message())
    assert caught.value.refused
    assert "planted" not in f"{caught.value} {box!r}"


@pytest.mark.parametrize(("reply", "refused"), [("450 later", False), ("550 unknown", True)])
def test_a_greylisted_mail_is_tried_again_and_a_refused_one_not_soon(reply: str, refused: bool) -> None:
    with MailReceiver(replies={"RCPT": reply}) as receiver:
        with pytest.raises(ChannelFailed) as caught:
            EmailChannel(a_mailbox(receiver), timeout_s=2).send(a_message())
    assert caught.value.refused is refused


@pytest.mark.parametrize("drips", [False, True])
def test_a_mail_server_that_hangs_is_left_in_time(drips: bool) -> None:
    with MailReceiver(drips=drips) as receiver:
        if not drips:
            receiver.hangs.set()
        began_s = CLOCK.monotonic()
        with pytest.raises(ChannelFailed):
            EmailChannel(a_mailbox(receiver), timeout_s=0.3).send(a_message())
        assert CLOCK.monotonic() - began_s < 5


def test_channels_without_their_secrets_are_named() -> None:
    on = {"enabled": True}
    settings = alerting(webhook=on, telegram=on, email={"enabled": True, "to": ["me@example.org"], "from": "a@b.c"})
    opened = open_channels(settings, Secrets(), CLOCK)
    assert opened.channels == ()
    said = dict(opened.problems)
    assert "BNML_ALERT_WEBHOOK_URL" in said["webhook"]
    assert "TELEGRAM_BOT_TOKEN, TELEGRAM_CHAT_ID" in said["telegram"]
    assert "EMAIL_SMTP_HOST" in said["email"]
    assert [outcome.ok for outcome in tried_out(opened, a_message())] == [False] * 3


def test_a_webhook_into_a_private_network_is_named_at_the_start() -> None:
    opened = open_channels(alerting(webhook={"enabled": True}), Secrets(alert_webhook_url="http://10.0.0.1/x"), CLOCK)
    assert "https://" in dict(opened.problems)["webhook"]


def test_a_password_is_not_sent_in_the_open() -> None:
    email = {"enabled": True, "to": ["me@example.org"], "from": "a@b.c", "use_tls": False}
    secrets = Secrets(email_smtp_host="mail.example.org", email_username="me", email_password="planted-password")
    opened = open_channels(alerting(email=email), secrets, CLOCK)
    assert "use_tls" in dict(opened.problems)["email"]


def test_nothing_is_opened_when_alerting_is_off() -> None:
    opened = open_channels(alerting(enabled=False, webhook={"enabled": True}), Secrets(), CLOCK)
    assert (opened.channels, opened.problems) == ((), ())

"""The ways out to people, as the settings and the environment ask for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bn_ml.env import Secrets
from bn_ml.errors import BnMlError
from bn_ml.ports import Clock
from bn_ml.settings_ops import AlertingSettings
from monitoring.alert_text import Message
from monitoring.channel_apprise import AppriseChannel, PackageMissing, ServiceRefused
from monitoring.channel_email import EmailChannel, Mailbox
from monitoring.channel_failures import ChannelFailed
from monitoring.channel_telegram import TELEGRAM_URL, TelegramChannel
from monitoring.channel_webhook import WebhookChannel
from monitoring.outgoing_address import AddressRefused


class Channel(Protocol):
    """One way out; `send` is called by one thread at a time."""

    @property
    def name(self) -> str:
        """The channel's name, as the settings write it."""

    def send(self, message: Message) -> None:
        """Send one message, once; raises `ChannelFailed`."""


class ChannelUnusable(BnMlError):
    """A channel is asked for but cannot be opened; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The channels that can be used, and why each other one that is asked for cannot, by name."""

    channels: tuple[Channel, ...]
    problems: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelTest:
    """What came of a test message through one channel."""

    channel: str
    ok: bool
    problem: str = ""


def open_channels(
    settings: AlertingSettings, secrets: Secrets, clock: Clock, *, telegram_url: str = TELEGRAM_URL
) -> Opened:
    """Open every channel that is enabled, and Apprise when it is given addresses; nothing is sent."""
    if not settings.enabled:
        return Opened(())
    makers: dict[str, tuple[bool, Callable[[], Channel]]] = {
        "webhook": (settings.webhook.enabled, lambda: _webhook(settings, secrets, clock)),
        "telegram": (settings.telegram.enabled, lambda: _telegram(settings, secrets, clock, telegram_url)),
        "email": (settings.email.enabled, lambda: _email(settings, secrets)),
        "apprise": (bool(secrets.apprise_urls), lambda: _apprise(settings, secrets)),
    }
    channels: list[Channel] = []
    problems: list[tuple[str, str]] = []
    for name, (wanted, make) in makers.items():
        if not wanted:
            continue
        try:
            channels.append(make())
        except (ChannelUnusable, AddressRefused, PackageMissing, ServiceRefused) as error:
            problems.append((name, str(error)))
    return Opened(tuple(channels), tuple(problems))


def tried_out(opened: Opened, message: Message) -> tuple[ChannelTest, ...]:
    """Send a message through every channel at once and tell what came of each, those that cannot be used included."""
    outcomes = [ChannelTest(name, ok=False, problem=problem) for name, problem in opened.problems]
    for channel in opened.channels:
        try:
            channel.send(message)
        except ChannelFailed as error:
            outcomes.append(ChannelTest(channel.name, ok=False, problem=str(error)))
        else:
            outcomes.append(ChannelTest(channel.name, ok=True))
    return tuple(outcomes)


def _webhook(settings: AlertingSettings, secrets: Secrets, clock: Clock) -> Channel:
    _require(BNML_ALERT_WEBHOOK_URL=secrets.alert_webhook_url)
    return WebhookChannel(secrets.alert_webhook_url, clock, timeout_s=settings.timeout_sec)


def _telegram(settings: AlertingSettings, secrets: Secrets, clock: Clock, url: str) -> Channel:
    _require(TELEGRAM_BOT_TOKEN=secrets.telegram_bot_token, TELEGRAM_CHAT_ID=secrets.telegram_chat_id)
    token, chat = secrets.telegram_bot_token, secrets.telegram_chat_id
    return TelegramChannel(token, chat, clock, timeout_s=settings.timeout_sec, url=url)


def _email(settings: AlertingSettings, secrets: Secrets) -> Channel:
    _require(EMAIL_SMTP_HOST=secrets.email_smtp_host)
    email = settings.email
    sender = email.sender or secrets.email_username
    if not sender or not email.to:
        missing = "monitoring.alerting.email.to" if sender else "monitoring.alerting.email.from"
        raise ChannelUnusable(f"{missing} is empty; set it in the configuration")
    box = Mailbox(
        host=secrets.email_smtp_host,
        port=secrets.email_smtp_port,
        username=secrets.email_username,
        password=secrets.email_password,
        sender=sender,
        recipients=tuple(email.to),
        use_tls=email.use_tls,
        subject_prefix=email.subject_prefix,
    )
    if box.would_show_password:
        raise ChannelUnusable("monitoring.alerting.email.use_tls is false: the password would travel in the open")
    return EmailChannel(box, timeout_s=settings.timeout_sec)


def _apprise(settings: AlertingSettings, secrets: Secrets) -> Channel:
    return AppriseChannel(secrets.apprise_urls.split(), timeout_s=settings.timeout_sec)


def _require(**values: str) -> None:
    """Raise `ChannelUnusable` naming the variables that are empty."""
    absent = [name for name, value in values.items() if not value]
    if absent:
        raise ChannelUnusable(f"{', '.join(absent)} not set; add to .env or the environment")

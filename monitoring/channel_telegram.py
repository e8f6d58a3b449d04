"""Alerts through a Telegram bot: `sendMessage` in plain text, which no symbol's `_` can break."""

from __future__ import annotations

import json

from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.ports import Clock
from monitoring.alert_text import Message
from monitoring.channel_failures import ChannelFailed, asked_wait_s
from monitoring.channel_webhook import require_accepted
from monitoring.outgoing_address import AddressRefused
from monitoring.outgoing_http import OutgoingHttp

TELEGRAM_URL = "https://api.telegram.org"
LONGEST_TEXT = 4096
_HEADERS = {"Content-Type": "application/json"}
_MEANINGS = {
    401: "the token is not accepted; check TELEGRAM_BOT_TOKEN",
    404: "the token is not accepted; check TELEGRAM_BOT_TOKEN",
    400: "the chat is not known to the bot; check TELEGRAM_CHAT_ID and write to the bot once",
    403: "the bot may not write to the chat; unblock it or add it to the group",
}


class TelegramChannel:
    """Writes into one chat."""

    name = "telegram"

    def __init__(self, token: str, chat: str, clock: Clock, *, timeout_s: float, url: str = TELEGRAM_URL) -> None:
        """Raises `AddressRefused` for an address that must not be used."""
        self._http = OutgoingHttp(url, clock, timeout_s=timeout_s)
        self._path = f"/bot{token}/sendMessage"
        self._chat = chat

    def send(self, message: Message) -> None:
        """Write one message; raises `ChannelFailed`, with the time Telegram asks to wait."""
        text = message.text[:LONGEST_TEXT]
        body = json.dumps({"chat_id": self._chat, "text": text, "disable_web_page_preview": True}).encode()
        try:
            answer = self._http.request("POST", self._path, body, headers=_HEADERS)
        except AddressRefused as error:
            raise ChannelFailed(str(error), refused=True) from None
        except NoAnswer as error:
            raise ChannelFailed(str(error)) from None
        _judge(answer, self._http.target.host)


def _judge(answer: HttpAnswer, host: str) -> None:
    if answer.status == 429:
        wait_s = retry_after_s(answer)
        raise ChannelFailed(f"{host} answered 429: too many messages", wait_s=wait_s)
    if answer.status in _MEANINGS:
        raise ChannelFailed(f"{host} answered {answer.status}: {_MEANINGS[answer.status]}", refused=True)
    require_accepted(answer, host)


def retry_after_s(answer: HttpAnswer) -> float | None:
    """Give the seconds a 429 asks to wait: Telegram's own field, else the header, else None."""
    try:
        content = json.loads(answer.body)
        asked = content["parameters"]["retry_after"]
    except (ValueError, KeyError, TypeError, RecursionError):
        asked = answer.headers.get("retry-after", "")
    return asked_wait_s(str(asked))

"""A small client of the Telegram Bot API: long polling, messages with one button, and errors named by what to do.

BotApiError
|- BotApiDown          no complete answer, or one that makes no sense: try again later
|- TooManyRequests     wait `wait_s` seconds first
|- SecondPoller        another program reads the updates of the same bot
|- WebhookSet          updates go to a web address: take it away, then poll
`- BotApiRefused       asked wrongly, or with a token that is not accepted; `code` says which

No text of these errors holds the token.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

from bn_ml.errors import BnMlError, ConfigError
from bn_ml.ports import Clock
from bn_ml.redaction import Redactor

API_URL = "https://api.telegram.org"
LONGEST_TEXT = 4000
LONGEST_BODY = 4 * 1024 * 1024
PIECE = 65_536
WANTED = ("message", "callback_query")
_TOKEN_LETTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-")


class BotApiError(BnMlError):
    """The Bot API did not do what was asked."""


class BotApiDown(BotApiError):
    """No complete answer arrived, or it made no sense."""


class TooManyRequests(BotApiError):
    """The Bot API asks for `wait_s` seconds of silence."""

    def __init__(self, wait_s: float) -> None:
        """Keep how long to wait."""
        super().__init__(f"too many requests, wait {wait_s:g} s")
        self.wait_s = wait_s


class SecondPoller(BotApiError):
    """Another program polls with the same token."""


class WebhookSet(BotApiError):
    """The bot's updates go to a web address, so they cannot be polled."""


class BotApiRefused(BotApiError):
    """The request was refused for good; `code` is the HTTP status."""

    def __init__(self, code: int, description: str) -> None:
        """Keep the code beside what was said."""
        super().__init__(f"refused ({code}): {description}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Button:
    """A button under a message; `data` (64 bytes at most) comes back when it is pressed."""

    label: str
    data: str


def bot_id(token: str) -> str:
    """Give the public number of a bot; raises `ConfigError` for a text that is no bot token.

    >>> bot_id("123456:AAbb-cc_dd")
    '123456'
    """
    number, colon, rest = token.partition(":")
    if not (colon and number.isascii() and number.isdigit() and rest and set(rest) <= _TOKEN_LETTERS):
        raise ConfigError(["TELEGRAM_BOT_TOKEN: not a bot token; copy it from BotFather: digits, a colon, letters"])
    return number


class TelegramBotApi:
    """Asks the Bot API, each request on a connection of its own; every method may be called from any thread."""

    def __init__(self, token: str, clock: Clock, *, url: str = API_URL, timeout_s: float = 10.0) -> None:
        """Nothing is sent yet; `timeout_s` is the longest silence accepted. Raises `ConfigError` for a bad token."""
        bot_id(token)
        self._address = urlsplit(url)
        self._path = f"{self._address.path.rstrip('/')}/bot{token}/"
        self._clean = Redactor((token,)).clean
        self._clock = clock
        self._timeout_s = timeout_s
        self._on_their_way: set[HTTPConnection] = set()

    def updates(self, offset: int | None, wait_s: float) -> Sequence[object]:
        """Give the updates from `offset` on, waiting up to `wait_s` seconds for one; those below are then forgotten."""
        asked: dict[str, object] = {"timeout": int(wait_s), "limit": 100, "allowed_updates": WANTED}
        if offset is not None:
            asked["offset"] = offset
        found = self._ask("getUpdates", asked, wait_s=wait_s)
        if not isinstance(found, list):
            raise BotApiDown("the answer holds no list of updates")
        return found

    def send(self, chat_id: int, text: str, *, button: Button | None = None) -> None:
        """Write plain text, cut where it is too long, into a chat."""
        asked: dict[str, object] = {"chat_id": chat_id, "text": text[:LONGEST_TEXT], "disable_web_page_preview": True}
        if button is not None:
            asked["reply_markup"] = {"inline_keyboard": [[{"text": button.label, "callback_data": button.data}]]}
        self._ask("sendMessage", asked)

    def answer_press(self, press_id: str, text: str) -> None:
        """Tell whoever pressed a button what came of it, so that it stops turning."""
        self._ask("answerCallbackQuery", {"callback_query_id": press_id, "text": text[:200]})

    def forget_webhook(self) -> None:
        """Take the web address away; updates that wait are kept."""
        self._ask("deleteWebhook", {"drop_pending_updates": False})

    def abort(self) -> None:
        """End the requests on their way, if any; each then raises `BotApiDown`."""
        for connection in tuple(self._on_their_way):
            line = connection.sock
            if line is not None:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

    def _ask(self, method: str, asked: Mapping[str, object], *, wait_s: float = 0.0) -> object:
        body = json.dumps(asked).encode()
        try:
            with closing(self._opened(wait_s)) as connection:
                self._on_their_way.add(connection)
                try:
                    status, said = self._sent(connection, self._path + method, body, wait_s)
                finally:
                    self._on_their_way.discard(connection)
        except (OSError, HTTPException, ValueError) as error:
            # The error's own text may hold the address, and with it the token.
            raise BotApiDown(f"no complete answer: {type(error).__name__}") from None
        return self._result(status, said)

    def _sent(self, connection: HTTPConnection, path: str, body: bytes, wait_s: float) -> tuple[int, bytes]:
        until_s = self._clock.monotonic() + wait_s + 2 * self._timeout_s
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, self._whole_body(response, until_s)

    def _opened(self, wait_s: float) -> HTTPConnection:
        host, port, timeout_s = self._address.hostname or "", self._address.port, wait_s + self._timeout_s
        if self._address.scheme == "https":
            return HTTPSConnection(host, port, timeout=timeout_s, context=_trusted())
        return HTTPConnection(host, port, timeout=timeout_s)

    def _whole_body(self, response: HTTPResponse, until_s: float) -> bytes:
        body = b""
        while piece := response.read1(PIECE):
            body += piece
            if len(body) > LONGEST_BODY or self._clock.monotonic() > until_s:
                raise OSError("the answer is too long or takes too long")
        if response.length:
            raise ConnectionError("the answer was cut off")
        return body

    def _result(self, status: int, body: bytes) -> object:
        """Give what was asked for; raises the error an answer stands for."""
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise BotApiDown(f"status {status} without a JSON answer") from None
        if not isinstance(answer, dict):
            raise BotApiDown(f"status {status} without a JSON object")
        if status == 200 and answer.get("ok") is True:
            return answer.get("result")
        raise _error(status, answer, self._clean(str(answer.get("description", "")))[:200])


def _error(status: int, answer: Mapping[str, object], description: str) -> BotApiError:
    code = answer.get("error_code", status)
    if code == 429:
        return TooManyRequests(_wait_s(answer.get("parameters")))
    if code == 409:
        return WebhookSet(description) if "webhook" in description.lower() else SecondPoller(description)
    if isinstance(code, int) and 400 <= code < 500:
        return BotApiRefused(code, description)
    return BotApiDown(f"status {status}: {description}")


def _wait_s(parameters: object) -> float:
    told = parameters.get("retry_after") if isinstance(parameters, dict) else None
    known = isinstance(told, int) and not isinstance(told, bool) and told > 0
    return min(float(told), 3600.0) if known and isinstance(told, int) else 5.0


def _trusted() -> ssl.SSLContext:
    import certifi

    return ssl.create_default_context(cafile=certifi.where())

"""What a chat sent, read from raw updates: commands, pressed buttons, and everything else, which means nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from bn_ml.domain.market import from_ms

LARGEST_ID = 2**53
LARGEST_UPDATE_ID = 2**31
_LAST_SECOND = 4_102_444_800
_USER_NAME = re.compile(r"[A-Za-z0-9_]{1,32}")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who wrote or pressed, and in which chat; neither is shown in full."""

    chat_id: int
    user: str

    @property
    def chat(self) -> str:
        """The last four digits of the chat's number.

        >>> Sender(-100123456789, "@anna").chat
        '..6789'
        """
        return f"..{abs(self.chat_id) % 10_000:04d}"

    def __str__(self) -> str:
        """Name both, without a comma: the book lists causes with commas between."""
        return f"telegram chat {self.chat} {self.user}"


@dataclass(frozen=True, slots=True)
class Command:
    """A message that begins with a slash: `name` in lower case, `argument` what follows; sent `at`."""

    update_id: int
    sender: Sender
    name: str
    argument: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Press:
    """A pressed button; `data` is what the button carried."""

    update_id: int
    sender: Sender
    press_id: str
    data: str


@dataclass(frozen=True, slots=True)
class Other:
    """An update that asks for nothing; `sender` is None when it does not say."""

    update_id: int
    sender: Sender | None = None


Update = Command | Press | Other


def read_update(raw: object) -> Update | None:
    """Give what an update means, None for something that is no update at all; never raises."""
    if not isinstance(raw, dict):
        return None
    update_id = _whole(raw.get("update_id"))
    if update_id is None or not 0 <= update_id < LARGEST_UPDATE_ID:
        return None
    message, press = raw.get("message"), raw.get("callback_query")
    if isinstance(message, dict):
        return _message(update_id, message)
    if isinstance(press, dict):
        return _press(update_id, press)
    return Other(update_id)


def _message(update_id: int, message: dict[str, object]) -> Update:
    sender = _sender(message.get("chat"), message.get("from"))
    text, sent_s = message.get("text"), _whole(message.get("date"))
    is_dated = sent_s is not None and 0 <= sent_s < _LAST_SECOND
    if sender is None or sent_s is None or not is_dated or not isinstance(text, str) or not text.startswith("/"):
        return Other(update_id, sender)
    head, _, argument = text[:200].strip().partition(" ")
    name = head[1:].partition("@")[0].lower()
    return Command(update_id, sender, name, argument.strip(), from_ms(sent_s * 1000))


def _press(update_id: int, press: dict[str, object]) -> Update:
    message = press.get("message")
    chat = message.get("chat") if isinstance(message, dict) else None
    sender = _sender(chat, press.get("from"))
    press_id, data = press.get("id"), press.get("data")
    if sender is None or not isinstance(press_id, str) or not isinstance(data, str):
        return Other(update_id, sender)
    return Press(update_id, sender, press_id[:100], data[:100])


def _sender(chat: object, user: object) -> Sender | None:
    chat_id = _whole(chat.get("id")) if isinstance(chat, dict) else None
    return None if chat_id is None else Sender(chat_id, _user(user))


def _user(user: object) -> str:
    """Name a user by letters that can do no harm wherever they are shown."""
    if not isinstance(user, dict):
        return "unknown user"
    name, number = user.get("username"), _whole(user.get("id"))
    if isinstance(name, str) and _USER_NAME.fullmatch(name):
        return f"@{name}"
    return "unknown user" if number is None else f"user ..{abs(number) % 10_000:04d}"


def _whole(value: object) -> int | None:
    return value if type(value) is int and abs(value) < LARGEST_ID else None

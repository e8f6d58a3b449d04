"""A request exactly as received, a response exactly as sent, and the parameters read with the venue's refusals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import unquote_plus

from bn_ml.venue.errors import VenueError, illegal, missing
from bn_ml.venue.filters import CLIENT_ID, NUMBER

_CLIENT_ID = re.compile(r"[a-zA-Z0-9\-_]{1,36}")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_WHOLE = re.compile(r"[0-9]{1,20}")
WHOLE = "^[0-9]{1,20}$"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: `query` without `?` and `body` still percent-encoded; header names in any case.

    `address` is the sender, by which request weight is counted.
    """

    method: str
    path: str
    query: str = ""
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"

    def header(self, name: str) -> str | None:
        """Give a header by its name in any case."""
        wanted = name.lower()
        return next((text for key, text in self.headers.items() if key.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: str


class Parameters:
    """The parameters of a request. A name sent twice counts once: the query wins over the body.

    Each reader marks its name as read; `done` refuses what nothing has read.
    """

    def __init__(self, query: str, body: str = "") -> None:
        """Decode query and body."""
        self._values = {**dict(_pairs(body)), **dict(_pairs(query))}
        self._read: set[str] = set()

    def sent(self, name: str) -> bool:
        """Whether a parameter came along, empty or not."""
        return name in self._values

    def text(self, name: str) -> str | None:
        """Give a parameter as it is, None when absent; raises `VenueError` -1105 when it came empty."""
        self._read.add(name)
        value = self._values.get(name)
        if value == "":
            raise VenueError(-1105, f"Parameter '{name}' was empty.")
        return value

    def pass_over(self, *names: str) -> None:
        """Count parameters as read without looking at them."""
        self._read.update(names)

    def needed(self, name: str) -> str:
        """Give a mandatory parameter; raises `VenueError` -1102."""
        self._read.add(name)
        value = self._values.get(name)
        if not value:
            raise missing(name)
        return value

    def number(self, name: str) -> Decimal | None:
        """Give a decimal; raises `VenueError` -1100 on anything but plain digits."""
        value = self._matching(name, _NUMBER, NUMBER)
        return None if value is None else Decimal(value)

    def whole(self, name: str) -> int | None:
        """Give a whole number; raises `VenueError` -1100 on anything but digits."""
        value = self._matching(name, _WHOLE, WHOLE)
        return None if value is None else int(value)

    def client_id(self, name: str) -> str | None:
        """Give an id of the client's; raises `VenueError` -1100 on anything but letters, digits, `-` and `_`."""
        return self._matching(name, _CLIENT_ID, CLIENT_ID)

    def flag(self, name: str) -> bool:
        """Give whether `true` was sent; raises `VenueError` -1130 on anything but `true` and `false`."""
        value = (self.text(name) or "false").lower()
        if value not in ("true", "false"):
            raise invalid(name)
        return value == "true"

    def choice(self, name: str, allowed: Iterable[str], refusal: VenueError | None = None) -> str | None:
        """Give one of a closed set of words; raises `refusal` (else -1130) on any other."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise refusal or invalid(name)
        return value

    def limit(self, default: int, maximum: int) -> int:
        """Give the parameter `limit`, cut to its maximum; raises `VenueError` -1130 on zero."""
        wanted = self.whole("limit")
        if wanted == 0:
            raise invalid("limit")
        return default if wanted is None else min(wanted, maximum)

    def done(self) -> None:
        """Refuse parameters nothing has read; raises `VenueError` -1104."""
        read = len(self._read & self._values.keys())
        if read < len(self._values):
            raise VenueError(
                -1104,
                f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(self._values)}'.",
            )

    def _matching(self, name: str, pattern: re.Pattern[str], legal: str) -> str | None:
        value = self.text(name)
        if value is not None and not pattern.fullmatch(value):
            raise illegal(name, legal)
        return value


def invalid(name: str) -> VenueError:
    """Give the refusal of a parameter whose value makes no sense."""
    return VenueError(-1130, f"Data sent for parameter '{name}' is not valid.")


def _pairs(encoded: str) -> list[tuple[str, str]]:
    found = []
    for part in encoded.split("&"):
        name, _, value = part.partition("=")
        if name:
            found.append((unquote_plus(name), unquote_plus(value)))
    return found

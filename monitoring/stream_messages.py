"""What the venue says on a price stream, read from JSON text that may be anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

LONGEST_TEXT = 40


@dataclass(frozen=True, slots=True)
class BookUpdate:
    """Best bid and ask of a symbol by the venue's name, in the order of `update_id`."""

    name: str
    bid: Decimal
    ask: Decimal
    update_id: int


@dataclass(frozen=True, slots=True)
class LastPrice:
    """The last traded price of a symbol, true at `event_ms`."""

    name: str
    last: Decimal
    event_ms: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A request was carried out."""

    request_id: int


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A request was not carried out; without an id the venue does not say which."""

    request_id: int | None
    text: str


@dataclass(frozen=True, slots=True)
class ShuttingDown:
    """The venue is about to close the connection."""


Message = BookUpdate | LastPrice | Acknowledged | RequestRefused | ShuttingDown


def read_message(text: str) -> Message:
    """Read one message, with or without the envelope of combined streams; raises `ValueError` for anything else.

    >>> read_message('{"stream":"btcusdt@bookTicker","data":{"u":7,"s":"BTCUSDT","b":"1","B":"9","a":"2","A":"9"}}')
    BookUpdate(name='BTCUSDT', bid=Decimal('1'), ask=Decimal('2'), update_id=7)
    """
    try:
        found: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    body = _object(found)
    if "stream" in body and "data" in body:
        body = _object(body["data"])
    match body.get("e"):
        case "24hrMiniTicker":
            return LastPrice(_text(body, "s"), _price(body, "c"), _whole(body, "E"))
        case "trade":
            return LastPrice(_text(body, "s"), _price(body, "p"), _whole(body, "E"))
        case "serverShutdown":
            return ShuttingDown()
        case None | "bookTicker" if "u" in body:
            return BookUpdate(_text(body, "s"), _price(body, "b"), _price(body, "a"), _whole(body, "u"))
        case None:
            return _answer(body)
    raise ValueError("an event that was not asked for")


def _answer(body: Mapping[str, object]) -> Acknowledged | RequestRefused:
    if "error" in body or "code" in body:
        told, number = _object(body.get("error", body)), body.get("id")
        code, text = told.get("code"), told.get("msg")
        cause = f"{code if type(code) is int else 0} {text[:100]!r}" if isinstance(text, str) else "without a text"
        return RequestRefused(number if type(number) is int else None, cause)
    if "result" in body:
        return Acknowledged(_whole(body, "id"))
    raise ValueError("neither an event nor an answer")


def _object(found: object) -> Mapping[str, object]:
    if not isinstance(found, dict):
        raise ValueError(f"an object was expected, got {type(found).__name__}")
    return found


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
        raise ValueError(f"{name}: not a short text")
    return value


def _price(body: Mapping[str, object], name: str) -> Decimal:
    try:
        return Decimal(_text(body, name))
    except InvalidOperation as error:
        raise ValueError(f"{name}: not a number") from error


def _whole(body: Mapping[str, object], name: str) -> int:
    value = body.get(name)
    if type(value) is not int:
        raise ValueError(f"{name}: not a whole number")
    return value

"""Reads JSON answers strictly: every field that matters must be there, of its type, and make sense."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NoReturn

from bn_ml.domain.market import EPOCH

Record = Mapping[str, object]
_AMOUNT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_LAST_MS = 4_102_444_800_000
"""The year 2100: an instant beyond it is no instant of an order."""


class Garbled(ValueError):
    """The answer cannot be read or contradicts itself."""


def parsed(body: str) -> object:
    """Read a JSON text; raises `Garbled` when it is none, names a key twice or holds NaN or infinities."""
    try:
        return json.loads(body, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise Garbled(f"no clean JSON ({error}): {body[:120]!r}") from error


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one JSON object; every reader raises `Garbled` naming the field and what stood there."""

    record: Record

    @classmethod
    def of(cls, value: object) -> Fields:
        """Take a JSON value that must be an object."""
        if not isinstance(value, Mapping):
            raise Garbled(f"an object was expected, got {_short(value)}")
        return cls(value)

    def __contains__(self, name: str) -> bool:
        return name in self.record

    def text(self, name: str) -> str:
        """Give a text that is not empty."""
        value = self.record.get(name)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, "a text")
        return value

    def whole(self, name: str) -> int:
        """Give a whole number, of either sign."""
        value = self.record.get(name)
        # True and False are whole numbers to Python, not to the venue.
        if type(value) is not int:
            raise self._wrong(name, "a whole number")
        return value

    def count(self, name: str) -> int:
        """Give a whole number >= 0."""
        value = self.whole(name)
        if value < 0:
            raise self._wrong(name, "a number >= 0")
        return value

    def flag(self, name: str) -> bool:
        """Give a truth value."""
        value = self.record.get(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def amount(self, name: str) -> Decimal:
        """Give an amount >= 0, which the venue writes as a text of plain digits."""
        value = self.record.get(name)
        if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
            raise self._wrong(name, "an amount")
        return Decimal(value)

    def instant(self, name: str) -> datetime:
        """Give an instant, written in milliseconds since 1970."""
        value = self.count(name)
        if value > _LAST_MS:
            raise self._wrong(name, "an instant in ms")
        return EPOCH + timedelta(milliseconds=value)

    def object(self, name: str) -> Fields:
        """Give the fields of an object inside this one."""
        value = self.record.get(name)
        if not isinstance(value, Mapping):
            raise self._wrong(name, "an object")
        return Fields(value)

    def objects(self, name: str) -> tuple[Fields, ...]:
        """Give a list of objects."""
        value = self.record.get(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return objects(value)

    def _wrong(self, name: str, expected: str) -> Garbled:
        return Garbled(f"{name} must be {expected}, got {_short(self.record.get(name, 'nothing'))}")


def objects(value: object) -> tuple[Fields, ...]:
    """Take a JSON value that must be a list of objects."""
    if not isinstance(value, list):
        raise Garbled(f"a list was expected, got {_short(value)}")
    return tuple(Fields.of(item) for item in value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return record


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _short(value: object) -> str:
    return repr(value)[:80]

"""Judges what the venue answers to questions about the market: readable, worth asking again, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn

from bn_ml.errors import MarketDataError, Transient
from bn_ml.http_answers import HttpAnswer
from bn_ml.order_answers import STAY_AWAY, read, venue_refusal

UNKNOWN_SYMBOL = -1121
Json = Mapping[str, object]


def public_object(answer: HttpAnswer) -> Json:
    """Give the JSON object of a read.

    Raises `Unreachable` when the venue asks to stay away, `Transient` when asking again may help, `MarketDataError`
    for a symbol it does not know, else `ExchangeError`.
    """
    value = _value(answer)
    if not isinstance(value, Mapping):
        raise Transient(f"the answer is no object: {str(value)[:80]!r}")
    return value


def public_list(answer: HttpAnswer) -> list[object]:
    """Give the JSON list of a read; raises as `public_object` does."""
    value = _value(answer)
    if not isinstance(value, list):
        raise Transient(f"the answer is no list: {str(value)[:80]!r}")
    return value


def _value(answer: HttpAnswer) -> object:
    """Read a body, without the care amounts of an account deserve: what comes here may be megabytes."""
    if answer.status == 200:
        try:
            return json.loads(answer.body, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise Transient(f"no clean JSON ({error}): {answer.body[:120]!r}") from error
    refusal = None if answer.status in STAY_AWAY else venue_refusal(answer)
    if refusal is not None and answer.status == 400 and refusal.code == UNKNOWN_SYMBOL:
        raise MarketDataError(f"the exchange does not know the symbol: {refusal}", "data_unavailable")
    return read(answer)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")

"""Ways an answer may be damaged: bits, cuts, lost, doubled and swapped fields, other types, another answer.

Damage never writes a state that would be as true of an order at rest (NEW for CANCELED): that is another answer, and
nobody who reads it could tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from bn_ml.http_answers import HttpAnswer

_STATUSES = (100, 200, 201, 204, 301, 400, 401, 403, 404, 409, 418, 429, 451, 500, 502, 503, 504)
_ODD: tuple[Any, ...] = (
    "", " ", "0", "-1", "1e5", "NaN", "Infinity", "0x10", "1,5", "٣", "1." + "0" * 30, "9" * 25, 0, 1, -1, 10**30,
    0.5, 1e308, True, False, None, [], {}, [[]], "FILLED", "BUY", "SELL", "SUCCESS", "FAILURE", "LIMIT",
)  # fmt: skip
Rng = np.random.Generator
Place = tuple[Any, Any]


def damaged(rng: Rng, reply: HttpAnswer, others: Sequence[HttpAnswer]) -> HttpAnswer:
    """Give the answer with one damage, drawn from the generator; `others` are answers about other orders."""
    kind = int(rng.integers(12))
    if kind == 0:
        return HttpAnswer(int(rng.choice(_STATUSES)), reply.body, reply.headers)
    if kind == 1 and others:
        return others[int(rng.integers(len(others)))]
    if kind <= 4:
        body = _TEXTUAL[int(rng.integers(len(_TEXTUAL)))](rng, reply.body)
    else:
        body = _STRUCTURAL[int(rng.integers(len(_STRUCTURAL)))](rng, json.loads(reply.body))
    return HttpAnswer(reply.status, body, reply.headers)


def _flip(rng: Rng, body: str) -> str:
    raw = bytearray(body.encode())
    for _ in range(int(rng.integers(1, 3))):
        raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
    return raw.decode("utf-8", "replace")


def _digit(rng: Rng, body: str) -> str:
    places = [place for place, character in enumerate(body) if character.isdigit()]
    if not places:
        return ""
    place = int(rng.choice(places))
    return body[:place] + str(rng.integers(10)) + body[place + 1 :]


def _cut(rng: Rng, body: str) -> str:
    return body[: int(rng.integers(len(body)))]


def _hole(rng: Rng, body: str) -> str:
    start = int(rng.integers(len(body)))
    return body[:start] + body[start + int(rng.integers(1, 20)) :]


def _doubled(rng: Rng, body: str) -> str:
    start = int(rng.integers(len(body)))
    end = start + int(rng.integers(1, 40))
    return body[:end] + body[start:end] + body[end:]


def _places(value: Any) -> Iterator[Place]:
    """Give every object or list with each key or index it has."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from _places(item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _places(item)


def _some(rng: Rng, value: Any) -> Place | None:
    places = list(_places(value))
    return places[int(rng.integers(len(places)))] if places else None


def _without(rng: Rng, value: Any) -> str:
    place = _some(rng, value)
    if place is not None:
        del place[0][place[1]]
    return json.dumps(value)


def _odd(rng: Rng, value: Any) -> str:
    place = _some(rng, value)
    if place is not None:
        place[0][place[1]] = deepcopy(_ODD[int(rng.integers(len(_ODD)))])
    return json.dumps(value)


def _other_type(rng: Rng, value: Any) -> str:
    place = _some(rng, value)
    if place is None:
        return "null"
    holder, key = place
    item = holder[key]
    changes: tuple[Callable[[], Any], ...] = (
        lambda: str(item),
        lambda: [item],
        lambda: {"value": item},
        lambda: None,
        lambda: float(item) if str(item).replace(".", "").isdigit() else bool(item),
    )
    holder[key] = changes[int(rng.integers(len(changes)))]()
    return json.dumps(value)


def _swapped(rng: Rng, value: Any) -> str:
    one, other = _some(rng, value), _some(rng, value)
    if one is None or other is None:
        return json.dumps(value)
    first, second = deepcopy(one[0][one[1]]), deepcopy(other[0][other[1]])
    one[0][one[1]], other[0][other[1]] = second, first
    return json.dumps(value)


def _moved(rng: Rng, value: Any) -> str:
    """Copy one value over another: an amount of one fill or leg becomes that of the next."""
    one, other = _some(rng, value), _some(rng, value)
    if one is not None and other is not None:
        one[0][one[1]] = deepcopy(other[0][other[1]])
    return json.dumps(value)


def _twice(rng: Rng, value: Any) -> str:
    """Write a key of an object, or an item of a list, a second time, perhaps with another value."""
    place = _some(rng, value)
    if place is None:
        return json.dumps(value)
    holder, key = place
    if isinstance(holder, list):
        holder.insert(key, deepcopy(holder[key]))
        return json.dumps(value)
    again = holder[key] if rng.integers(2) else _ODD[int(rng.integers(len(_ODD)))]
    holder["\x00"] = deepcopy(again)
    return json.dumps(value).replace('"\\u0000"', json.dumps(key))


_TEXTUAL = (_flip, _digit, _cut, _hole, _doubled)
_STRUCTURAL = (_without, _odd, _other_type, _swapped, _moved, _twice)

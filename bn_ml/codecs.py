"""The crossings between domain values and what a database keeps: JSON text and integer units.

Exact text: `to_json` and `from_json` are driven by the type hints of the dataclasses. `Decimal` becomes a string, an
instant ISO 8601 with microseconds, an enum its value, a mapping whose keys are not names a list of pairs. Reading
ignores unknown fields and gives missing ones their default.

Text for reading: `display_json` turns `Decimal` into a number and NaN into null; it is never read back as money.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, Inexact
from enum import Enum
from functools import cache
from numbers import Integral, Real
from typing import TypeVar, cast

from bn_ml.domain.market import from_iso, iso, require_utc
from bn_ml.errors import StateError

T = TypeVar("T")
UNITS_PER_ONE = 10**8
MAX_UNITS = 2**62
_PLAIN = frozenset({str, int, bool, type(None)})
_EXACT = Context(prec=60, traps=[Inexact])


def to_units(amount: Decimal) -> int:
    """Give an amount in integer units of 1e-8.

    Raises `StateError` on more than 8 decimals, on a non-finite amount and beyond 2^62 units.

    >>> to_units(Decimal("1.5"))
    150000000
    """
    if not amount.is_finite():
        raise StateError(f"amount must be finite, got {amount}")
    try:
        scaled = _EXACT.multiply(amount, Decimal(UNITS_PER_ONE))
    except Inexact:
        raise StateError(f"amount must have at most 8 decimals, got {amount}") from None
    if abs(scaled) > MAX_UNITS:
        raise StateError(f"amount must not exceed {from_units(MAX_UNITS)}, got {amount}")
    units = int(scaled)
    if units != scaled:
        raise StateError(f"amount must have at most 8 decimals, got {amount}")
    return units


def from_units(units: int) -> Decimal:
    """Give the amount of integer units of 1e-8.

    >>> from_units(150000000)
    Decimal('1.5')
    """
    whole, rest = divmod(abs(units), UNITS_PER_ONE)
    text = f"{whole}.{rest:08d}".rstrip("0").rstrip(".")
    return Decimal(f"-{text}" if units < 0 else text)


def round_to_units(amount: Decimal, *, up: bool) -> Decimal:
    """Round a finite amount to 8 decimals, towards +infinity if `up`, else towards -infinity."""
    if not amount.is_finite():
        raise StateError(f"amount must be finite, got {amount}")
    return amount.quantize(Decimal("1E-8"), ROUND_CEILING if up else ROUND_FLOOR, Context(prec=60))


def to_json(value: object) -> str:
    """Write a value as canonical JSON text (sorted keys, no spaces) that `from_json` reads back exactly.

    Raises `StateError` on a type or number JSON cannot carry.
    """
    return _dump(to_plain(value))


def from_json(kind: type[T], text: str) -> T:
    """Read a value of type `kind` from text written by `to_json`; raises `StateError` when it does not fit."""
    try:
        plain = json.loads(text)
    except ValueError as error:
        raise StateError(f"{kind.__name__}: not JSON ({error}): {text[:80]!r}") from None
    return from_plain(kind, plain)


def to_plain(value: object) -> object:
    """Give a value as nested lists, objects, strings and numbers; raises `StateError` on an unknown type."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return _instant_text(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return _scalar(value)


def from_plain(kind: type[T], plain: object) -> T:
    """Build a value of type `kind` from what `to_plain` gave; raises `StateError` when it does not fit."""
    try:
        return cast(T, _build(kind, plain))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise StateError(f"{getattr(kind, '__name__', kind)}: cannot be read: {error}") from error


def display_json(value: object) -> str:
    """Write a value for people: `Decimal` as a number, instants as ISO, NaN and infinities as null, keys sorted."""
    return _dump(_display(value))


def _dump(plain: object) -> str:
    # Escaped to ASCII: text from outside may hold lone surrogates, which a database cannot store.
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _instant_text(instant: datetime) -> str:
    require_utc(instant)
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain_mapping(mapping: Mapping[object, object]) -> object:
    if all(isinstance(key, str | Enum) for key in mapping):
        return {_name(key): to_plain(item) for key, item in mapping.items()}
    return [[to_plain(key), to_plain(item)] for key, item in mapping.items()]


def _name(key: object) -> str:
    return str(key.value if isinstance(key, Enum) else key)


def _scalar(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise StateError(f"number must be finite, got {value}")
        return float(value)
    raise StateError(f"cannot be written as JSON: {type(value).__name__} {value!r}")


def _build(kind: object, plain: object) -> object:
    origin = typing.get_origin(kind)
    if origin is not None:
        return _build_generic(origin, typing.get_args(kind), plain)
    if kind is object:
        return plain
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, plain)
    if isinstance(kind, type):
        return _build_scalar(kind, plain)
    raise TypeError(f"type {kind} is not supported")


def _build_dataclass(kind: type, plain: object) -> object:
    if not isinstance(plain, Mapping):
        raise TypeError(f"{kind.__name__} needs an object, got {plain!r}")
    hints = _hints(kind)
    given = {name: _build(hint, plain[name]) for name, hint in hints.items() if name in plain}
    return kind(**given)


@cache
def _hints(kind: type) -> Mapping[str, object]:
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def _build_generic(origin: object, arguments: Sequence[object], plain: object) -> object:
    if origin in (typing.Union, types.UnionType):
        return _build_optional(arguments, plain)
    if origin is tuple:
        return _build_tuple(arguments, plain)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _build_mapping(arguments, plain)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return [_build(arguments[0], item) for item in _items(plain)]
    raise TypeError(f"type {origin} is not supported")


def _build_optional(arguments: Sequence[object], plain: object) -> object:
    if plain is None:
        return None
    (kind,) = (item for item in arguments if item is not type(None))
    return _build(kind, plain)


def _build_tuple(arguments: Sequence[object], plain: object) -> object:
    items = _items(plain)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_build(arguments[0], item) for item in items)
    return tuple(_build(kind, item) for kind, item in zip(arguments, items, strict=True))


def _build_mapping(arguments: Sequence[object], plain: object) -> object:
    key_kind, item_kind = arguments
    pairs = plain.items() if isinstance(plain, Mapping) else [_items(pair) for pair in _items(plain)]
    return {_build(key_kind, key): _build(item_kind, item) for key, item in pairs}


def _items(plain: object) -> list[object]:
    if not isinstance(plain, list):
        raise TypeError(f"expected a list, got {plain!r}")
    return plain


def _build_scalar(kind: type, plain: object) -> object:
    if kind is float:
        return float(_expect(plain, int, float))
    if kind in (bool, int):
        return _expect(plain, kind)
    if kind is Decimal:
        return Decimal(_expect(plain, str))
    if kind is datetime:
        return from_iso(_expect(plain, str))
    if issubclass(kind, Enum):
        return kind(plain)
    if issubclass(kind, str):
        return kind(_expect(plain, str))
    raise TypeError(f"type {kind} is not supported")


def _expect(plain: object, *kinds: type[T]) -> T:
    if not isinstance(plain, kinds) or (isinstance(plain, bool) and bool not in kinds):
        raise TypeError(f"expected {'/'.join(item.__name__ for item in kinds)}, got {plain!r}")
    return plain


def _display(value: object) -> object:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(cast(float, value)) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _display(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key if type(key) is str else _name(key): _display(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_display(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return iso(value)
    return _display_number(value)


def _display_number(value: object) -> object:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real | Decimal):
        number = float(value)
        return number if math.isfinite(number) else None
    raise StateError(f"cannot be written as JSON: {type(value).__name__} {value!r}")

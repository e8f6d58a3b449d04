"""What every settings section is made of: strict frozen models whose keys carry meaning, unit and range."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal, TypeVar, cast, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from bn_ml.domain.market import Symbol, from_iso, iso

T = TypeVar("T")

FRACTION = "fraction"
QUOTE_MARK = "<quote>"


@dataclass(frozen=True, slots=True)
class Span:
    """An allowed numeric interval; `above` makes the lower end exclusive, `also` admits one value outside."""

    low: float | None = None
    high: float | None = None
    above: bool = False
    also: float | None = None

    def holds(self, value: float) -> bool:
        """Tell whether the value is allowed."""
        if self.also is not None and value == self.also:
            return True
        if self.low is not None and (value < self.low or (self.above and value == self.low)):
            return False
        return self.high is None or value <= self.high

    def __str__(self) -> str:
        """Write the interval the way the reference does.

        >>> str(between(1, 50)), str(more_than(0)), str(Span(0, 1, above=True))
        ('1-50', '> 0', 'above 0, up to 1')
        """
        if self.high is None:
            text = f"{'>' if self.above else '>='} {_plain(self.low or 0)}"
        elif self.above:
            text = f"above {_plain(self.low or 0)}, up to {_plain(self.high)}"
        else:
            text = f"{_plain(self.low or 0)}-{_plain(self.high)}"
            text = f"{_plain(self.low or 0)} to {_plain(self.high)}" if (self.low or 0) < 0 else text
        return text if self.also is None else f"{_plain(self.also)} or {text}"


def between(low: float, high: float, *, also: float | None = None) -> Span:
    """Give a closed interval."""
    return Span(low, high, also=also)


def at_least(low: float, *, also: float | None = None) -> Span:
    """Give an interval open to the top."""
    return Span(low, also=also)


def more_than(low: float) -> Span:
    """Give an interval open to the top that leaves out its lower end."""
    return Span(low, above=True)


SHARE = Span(0, 1, above=True)


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What a key says about itself; an empty `allowed` means: any value of the type."""

    meaning: str
    unit: str
    span: Span | None
    allowed: str


def key(
    default: T, meaning: str, span: Span | None = None, unit: str = "", *, allowed: str = "", alias: str | None = None
) -> T:
    """Declare one settings key; `allowed` overrides the words made from the span or the choices.

    `alias` is the name users write where it is not a Python name.
    """
    extra = cast("JsonDict", {"unit": unit, "span": span, "allowed": allowed})
    return Field(default, alias=alias, description=meaning, json_schema_extra=extra)


class Section(BaseModel):
    """A frozen, strict section: unknown keys, silent conversions, NaN and infinities are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
        hide_input_in_errors=True,
    )

    @field_validator("*", mode="after")
    @classmethod
    def _within_span(cls, value: T, info: ValidationInfo) -> T:
        """Refuse a number outside its key's interval."""
        span = _span_of(cls.model_fields[info.field_name or ""])
        if (
            span is not None
            and isinstance(value, (int, float))
            and not isinstance(value, bool)
            and not span.holds(value)
        ):
            raise ValueError("out of range")
        return value


def facts_of(field: FieldInfo) -> KeyFacts:
    """Give what a key was declared with."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
    span = _span_of(field)
    stated = str(extra.get("allowed", ""))
    return KeyFacts(field.description or "", str(extra.get("unit", "")), span, stated or _allowed_words(field, span))


def section_type(field: FieldInfo) -> type[Section] | None:
    """Give the section class a field holds, None when it is a plain key."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def mapped_section(field: FieldInfo) -> type[Section] | None:
    """Give the section class a key maps names to, None for any other key."""
    kinds = [kind for kind in get_args(field.annotation) if isinstance(kind, type) and issubclass(kind, Section)]
    return kinds[0] if kinds else None


def walk_keys(section: type[Section], prefix: str = "") -> list[tuple[str, FieldInfo]]:
    """List all plain keys below a section as (dotted key, field), in declaration order."""
    found: list[tuple[str, FieldInfo]] = []
    for name, field in section.model_fields.items():
        below = section_type(field)
        path = f"{prefix}{field.alias or name}"
        found += walk_keys(below, f"{path}.") if below else [(path, field)]
    return found


def _span_of(field: FieldInfo) -> Span | None:
    extra = field.json_schema_extra
    return cast("Span | None", extra.get("span")) if isinstance(extra, Mapping) else None


def _allowed_words(field: FieldInfo, span: Span | None) -> str:
    """Say in words what a key accepts, from its type and interval."""
    words = _type_words(field.annotation, span)
    return ", ".join(dict.fromkeys(words))


def _type_words(kind: object, span: Span | None) -> list[str]:
    if get_origin(kind) is Annotated:
        return _type_words(get_args(kind)[0], span)
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    if kind in (int, float):
        number = "whole number" if kind is int else "number"
        return [f"{number} {span}" if span else number]
    simple = {bool: "true, false", str: "text", Path: "path", type(None): "null", datetime: "ISO 8601 time"}
    if isinstance(kind, type) and kind in simple:
        return [simple[kind]]
    if get_origin(kind) is tuple:
        return ["list of " + " | ".join(_type_words(get_args(kind)[0], None))]
    if isinstance(get_origin(kind), type) and issubclass(cast(type, get_origin(kind)), Mapping):
        return ["mapping"]
    return [word for part in get_args(kind) for word in _type_words(part, span)]


def _plain(number: float) -> str:
    return f"{number:.10g}"


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _as_path(value: object) -> object:
    return Path(value) if isinstance(value, str) and value.strip() else value


def _as_symbol(value: object) -> object:
    return Symbol(value) if isinstance(value, str) else value


def _as_symbols(value: object) -> object:
    return tuple(_as_symbol(item) for item in value) if isinstance(value, (list, tuple)) else value


def _as_upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _as_level(value: object) -> object:
    level = _as_upper(value)
    return "WARNING" if level == "WARN" else level


def _as_instant(value: object) -> object:
    if isinstance(value, str):
        return from_iso(value).astimezone(timezone.utc)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return value


def _day_time(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError("not HH:MM")
    return value


def _asset(value: str) -> str:
    if not is_asset(value):
        raise ValueError("not an asset code")
    return value


def is_asset(text: str) -> bool:
    """Tell whether a text can be an asset code."""
    return re.fullmatch(r"[A-Z0-9]{2,12}", text) is not None


def plain_value(value: object) -> object:
    """Give a settings value in plain YAML and JSON types."""
    if isinstance(value, Section):
        fields = type(value).model_fields
        return {field.alias or name: plain_value(getattr(value, name)) for name, field in fields.items()}
    if isinstance(value, Mapping):
        return {str(name): plain_value(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, datetime):
        return iso(value)
    return str(value) if isinstance(value, (Path, Symbol)) else value


FilePath = Annotated[Path, BeforeValidator(_as_path)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Symbols = Annotated[tuple[str, ...], BeforeValidator(_as_symbols)]
SymbolText = Annotated[str, BeforeValidator(_as_symbol)]
Asset = Annotated[str, BeforeValidator(_as_upper), AfterValidator(_asset)]
Assets = Annotated[tuple[Asset, ...], BeforeValidator(_as_tuple)]
Instant = Annotated[datetime, BeforeValidator(_as_instant)]
DayTime = Annotated[str, AfterValidator(_day_time)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_as_level)]

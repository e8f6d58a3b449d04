"""What all answers share: their age, their lists, and how they are made of values another process has written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

M = TypeVar("M", bound="Answer")


class Answer(BaseModel):
    """A part of an answer; amounts in the quote asset, fields named `_pct` are fractions, instants ISO 8601 UTC."""

    model_config = ConfigDict(frozen=True, protected_namespaces=(), ser_json_inf_nan="null")


class Open(Answer):
    """A part that may carry more fields than are described."""

    model_config = ConfigDict(frozen=True, protected_namespaces=(), extra="allow", ser_json_inf_nan="null")
    __pydantic_extra__: dict[str, JsonValue]


class Aged(Answer):
    """An answer that tells how old its data is."""

    generated_at: str = Field(description="instant of the answer")
    data_at: str | None = Field(description="instant of the data, null when there is none yet")
    age_sec: float | None = Field(description="seconds from data_at to generated_at, null when there is no data yet")
    stale: bool = Field(description="whether the data is older than it should be, as when the bot is stopped")


class Listed(Aged):
    """One page of a list."""

    total_rows: int = Field(description="rows that fit the question")
    returned_rows: int = Field(description="rows in this answer")
    next_offset: int | None = Field(description="offset of the next page, null after the last")


class Signals(Answer):
    """How many symbols of the whole scan show each action."""

    BUY: int = 0
    HOLD: int = 0
    SELL: int = 0


def fitted(kind: type[M], values: Mapping[str, object]) -> M:
    """Build a part from values another process wrote, perhaps of another version: what does not fit is left out.

    Raises `ValidationError` when a required field is missing or wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        odd = {item["loc"][0] for item in error.errors() if item["loc"]}
        return kind.model_validate({name: value for name, value in values.items() if name not in odd})

"""Exact text, integer units and text for reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import TypeVar, cast

import pytest

from bn_ml.codecs import display_json, from_json, from_plain, from_units, round_to_units, to_json, to_plain, to_units
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Side
from bn_ml.domain.positions import Tranche
from bn_ml.domain.signals import ScanReport
from bn_ml.errors import StateError

AT = datetime(2023, 6, 10, 12, 0, 0, 123456, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    amount: Decimal
    at: datetime | None = None
    pair: tuple[int, str] = (1, "a")
    sides: Mapping[Side, float] = field(default_factory=dict)
    links: Mapping[tuple[Symbol, Symbol], float] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    anything: object = None
    flag: bool = False


@pytest.mark.parametrize(
    ("amount", "units"),
    [("0", 0), ("0.00000001", 1), ("-1.5", -150_000_000), ("1E+2", 10**10), ("46116860184.27387904", 2**62)],
)
def test_amounts_of_at_most_eight_decimals_become_units(amount: str, units: int) -> None:
    assert to_units(Decimal(amount)) == units
    assert from_units(units) == Decimal(amount)


@pytest.mark.parametrize(
    "amount", ["0.000000001", "1E-999", "NaN", "Infinity", "46116860184.27387905", "1E+999999", "1." + "1" * 80]
)
def test_amounts_that_do_not_fit_are_refused(amount: str) -> None:
    with pytest.raises(StateError, match="amount must"):
        to_units(Decimal(amount))


def test_rounding_to_units_goes_the_way_asked_for() -> None:
    assert round_to_units(Decimal("1.000000001"), up=True) == Decimal("1.00000001")
    assert round_to_units(Decimal("1.000000009"), up=False) == 1
    with pytest.raises(StateError):
        round_to_units(Decimal("NaN"), up=True)


def test_a_value_with_every_kind_of_field_survives_the_round_trip() -> None:
    symbols = (Symbol("BTC/USDC"), Symbol("ETH/USDC"))
    value = Sample(
        "x", Decimal("1.10"), AT, (2, "b"), {Side.BUY: 0.1}, {symbols: 0.5}, ["w"], {"free": [1, None, "t"]}, True
    )
    again = from_json(Sample, to_json(value))
    assert again == value
    assert str(again.amount) == "1.10"
    assert isinstance(next(iter(again.links))[0], Symbol)


def test_unknown_fields_are_ignored_and_missing_ones_take_their_default() -> None:
    assert from_json(Sample, '{"name":"x","amount":"1","later":5}') == Sample("x", Decimal(1))


@pytest.mark.parametrize(
    "text",
    [
        '{"amount":"1"}',
        '{"name":"x","amount":1.5}',
        '{"name":"x","amount":"one"}',
        '{"name":5,"amount":"1"}',
        '{"name":"x","amount":"1","pair":[1]}',
        '{"name":"x","amount":"1","pair":"ab"}',
        '{"name":"x","amount":"1","flag":1}',
        '{"name":"x","amount":"1","pair":[true,"a"]}',
        '{"name":"x","amount":"1","sides":{"UP":1}}',
        "[]",
        "{",
    ],
)
def test_text_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(StateError):
        from_json(Sample, text)


def test_an_impossible_value_is_refused_by_its_own_invariant() -> None:
    with pytest.raises(StateError, match="must be positive"):
        from_json(Tranche, '{"label":"tp1","quantity":"0","stop_price":"1"}')


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), datetime(2023, 1, 1), {1, 2}])  # noqa: DTZ001
def test_what_exact_text_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises((StateError, ValueError)):
        to_json(value)


def test_unsupported_hints_are_refused() -> None:
    kinds: tuple[type, ...] = (complex, frozenset[int], bytes, cast(type, TypeVar("Anything")))
    for kind in kinds:
        with pytest.raises(StateError, match="not supported"):
            from_plain(kind, [1])


def test_a_scan_with_pairs_as_keys_survives() -> None:
    pair = (Symbol("BTC/USDC"), Symbol("ETH/USDC"))
    report = ScanReport(AT, (), (), {pair: 0.25}, funnel={"no_bundle": 3})
    assert from_json(ScanReport, to_json(report)) == report


def test_text_for_reading_shows_numbers_and_hides_nan() -> None:
    class Level(Enum):
        HIGH = "high"

    value = {"b": Decimal("1.5"), "a": float("nan"), "at": AT, "level": Level.HIGH, "list": (1, True), "t": None}
    assert json.loads(display_json(value)) == {
        "a": None,
        "at": "2023-06-10T12:00:00.123Z",
        "b": 1.5,
        "level": "high",
        "list": [1, True],
        "t": None,
    }
    assert json.loads(display_json(Sample("x", Decimal(2))))["amount"] == 2
    with pytest.raises(StateError):
        display_json(object())


def test_plain_values_of_enum_keys_use_their_values() -> None:
    assert to_plain({Side.BUY: Decimal("0.10")}) == {"BUY": "0.10"}

"""The reference of reason codes: every code the program gives is in it, none it does not give, all keys exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bn_ml.domain.positions import ExitReason
from bn_ml.settings import Settings
from bn_ml.settings_base import walk_keys
from scripts import generate_reference
from scripts.explain_words import ADVICE, MEANINGS
from scripts.reason_words import BREAKERS, CAUSES, EXITS, GROUPS, RISK, Group, remedy_of
from trader.engine import PASSING_CAUSES
from trader.risk_manager import RULES_AFTER_BREAKERS, RULES_BEFORE_BREAKERS

ROOT = Path(__file__).resolve().parents[3]
GIVERS = {"RuleVerdict", "GateVerdict", "BreakerStatus", "_above", "_flag", "MarketDataError", "ModelError", "hold"}
CODE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
PACKAGES = ("bn_ml", "data_manager", "ml_engine", "scanner", "trader")
# Words that stand where a code stands but tell who asked or what kind of order it is.
NOT_CODES = {"signal"}
DOTTED = [name for name, _ in walk_keys(Settings)]
KEYS = {".".join(name.split(".")[:depth]) for name in DOTTED for depth in range(1, name.count(".") + 2)}
TOLD = {code for group in GROUPS for code in group.codes}


def given_codes() -> Iterator[str]:
    """Every literal that stands where a code is given in the program."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield from _codes_of(node)


def _codes_of(call: ast.Call) -> Iterator[str]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    given = [word.value for word in call.keywords if word.arg == "reason"]
    given += call.args if name in GIVERS else []
    for value in given:
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and CODE.fullmatch(value.value):
            yield value.value


def test_every_code_the_program_gives_is_explained() -> None:
    assert set(given_codes()) - TOLD - NOT_CODES == set()


def test_every_code_explained_stands_in_the_program() -> None:
    text = "".join(path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    assert [code for code in sorted(TOLD) if f'"{code}"' not in text] == []


def test_rules_of_risk_are_told_in_the_order_they_are_judged() -> None:
    judged = [rule.__name__ for rule in (*RULES_BEFORE_BREAKERS, *RULES_AFTER_BREAKERS)]
    assert list(RISK.codes) == judged


def test_exits_are_the_ones_a_position_knows() -> None:
    assert set(EXITS.codes) == {reason.value for reason in ExitReason}


def test_breakers_and_causes_are_told_apart_by_their_names() -> None:
    assert all(code.startswith("breaker_") for code in BREAKERS.codes)
    assert not any(code.startswith("breaker_") for code in CAUSES.codes)
    assert {code for code, told in CAUSES.codes.items() if "*passes*" in told.remedy} == PASSING_CAUSES


def test_what_the_doctor_explains_is_in_the_reference() -> None:
    assert set(ADVICE) | set(MEANINGS) <= TOLD


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.title)
def test_every_code_says_when_and_names_only_keys_that_exist(group: Group) -> None:
    for code, told in group.codes.items():
        assert told.when, code
        for word in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)*)`", f"{told.when} {remedy_of(code, told)}"):
            assert word in KEYS, (code, word)


def test_the_file_is_current() -> None:
    name = Path("docs/reason_codes.md")
    assert (ROOT / name).read_text(encoding="utf-8") == generate_reference.generated()[name]
